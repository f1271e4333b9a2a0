from __future__ import annotations

import itertools

import pytest
import torch

from flashmd.ops import segment_expand, segment_sum
from flashmd.ops.testing import check_determinism, check_op

SEGMENTS = {
    "ragged": [0, 3, 3, 4, 9],
    "one_row": [0, 1],
    "empty_segments": [0, 0, 0],
    "no_segments": [0],
}


@pytest.fixture(params=list(SEGMENTS))
def ptr(request, device):
    return torch.tensor(SEGMENTS[request.param], device=device)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_sum_battery(ptr, shape, numbers, device):
    check_op(
        lambda values: segment_sum(values, ptr),
        lambda values: segment_sum(values, ptr, backend="reference"),
        [numbers(int(ptr[-1]), *shape).to(device)],
        opcheck=(torch.ops.flashmd.segment_sum.default, ptr),
    )


@pytest.mark.parametrize("shape", [(), (2,)])
def test_expand_battery(ptr, shape, numbers, device):
    n_rows = int(ptr[-1])
    check_op(
        lambda values: segment_expand(values, ptr, n_rows),
        lambda values: segment_expand(values, ptr, n_rows, backend="reference"),
        [numbers(len(ptr) - 1, *shape).to(device)],
        opcheck=(torch.ops.flashmd.segment_expand.default, ptr, n_rows),
    )


def test_sums_do_not_depend_on_threads(numbers):
    ptr = torch.arange(0, 20001, 10)
    check_determinism(lambda values: segment_sum(values, ptr), [numbers(20000, 4)])


def test_float64_sums_keep_float64(numbers):
    values = torch.cat([torch.tensor([1e6], dtype=torch.float64), torch.full((1000,), 1e-6, dtype=torch.float64)])
    total = segment_sum(values, torch.tensor([0, 1001]))
    assert total.dtype == torch.float64
    assert float(total) - 1e6 == pytest.approx(1e-3, rel=1e-3)


def test_batch_equals_loop_over_segments(numbers):
    values, ptr = numbers(9, 3), torch.tensor([0, 3, 3, 4, 9])
    whole = segment_sum(values, ptr)
    for segment, (begin, end) in enumerate(itertools.pairwise(ptr)):
        alone = segment_sum(values[begin:end], torch.tensor([0, int(end - begin)]))
        assert torch.equal(whole[segment : segment + 1], alone)


def test_matches_torch_scatter(numbers):
    scatter = pytest.importorskip("torch_scatter", reason="torch-scatter, the independent reference, is not installed")
    values, ptr = numbers(9, 3), torch.tensor([0, 3, 3, 4, 9])
    torch.testing.assert_close(segment_sum(values, ptr), scatter.segment_csr(values, ptr), rtol=0, atol=1e-13)


def both_orders(function, values):
    """Value, gradient and gradient of the gradient of a nonlinear function of the sums."""
    leaf = values.clone().requires_grad_()
    sums = function(leaf)
    (first,) = torch.autograd.grad(sums.sin().sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), leaf)
    return sums, first, second


@pytest.mark.parametrize("segments", list(SEGMENTS))
def test_sums_and_gradients_match_torch_segment_reduce(segments, numbers):
    ptr = torch.tensor(SEGMENTS[segments])
    values = numbers(int(ptr[-1]), 3)
    leaves = [values.clone().requires_grad_() for _ in range(2)]
    sums = [segment_sum(leaves[0], ptr), torch.segment_reduce(leaves[1], "sum", offsets=ptr, axis=0, initial=0.0)]
    torch.testing.assert_close(sums[0], sums[1], rtol=0, atol=1e-13)
    grad = numbers(len(ptr) - 1, 3)
    found, expected = (torch.autograd.grad(each, leaf, grad)[0] for each, leaf in zip(sums, leaves, strict=True))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_sums_and_two_derivatives_match_segment_csr(numbers):
    scatter = pytest.importorskip("torch_scatter", reason="torch-scatter, the independent reference, is not installed")
    values, ptr = numbers(9, 3), torch.tensor([0, 3, 3, 4, 9])
    found = both_orders(lambda leaf: segment_sum(leaf, ptr), values)
    expected = both_orders(lambda leaf: scatter.segment_csr(leaf, ptr), values)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)
    rows = numbers(4, 3)
    torch.testing.assert_close(segment_expand(rows, ptr, 9), scatter.gather_csr(rows, ptr), rtol=0, atol=0)


@pytest.mark.parametrize("ptr", [[0, 3], [1, 4], [0, 3, 2, 4], [0, 5]])
def test_wrong_offsets(ptr, numbers):
    text = "`ptr`: expected offsets that ascend from 0 to the number of rows, got others. To fix it, pass the `ptr`"
    with pytest.raises(RuntimeError, match=text):
        segment_sum(numbers(4), torch.tensor(ptr))
    with pytest.raises(RuntimeError, match=text):
        segment_expand(numbers(len(ptr) - 1), torch.tensor(ptr), 4)


def test_other_wrong_arguments(numbers):
    with pytest.raises(RuntimeError, match="`ptr`: expected n_segments \\+ 1 offsets, got none"):
        segment_sum(numbers(0), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="`values`: expected one row for each segment, got another number"):
        segment_expand(numbers(3), torch.tensor([0, 4]), 4)
