"""The convolution with tables in training by the CUDA kernels, run by the host, against plain PyTorch."""

from __future__ import annotations

import pytest
import torch

from flashmd.nn import half_edges
from flashmd.ops import Edges, neighbor_list
from flashmd.ops.spline_conv import SortedPairs, _reference, _sort_by_atom, sort_pairs
from flashmd.system import System

CUTOFF, N_INTERVALS = 0.8, 11
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6}


def problem(dtype, n_channels, n_atoms=19, *, pbc=False):
    """Features, pairs with some of them beyond the cutoff, and a table."""
    generator = torch.Generator().manual_seed(n_channels)

    def numbers(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    x = torch.rand(n_atoms, 3, generator=generator, dtype=torch.float64)
    system = System.single(x, torch.ones(n_atoms), cell=0.7 * torch.eye(3) if pbc else None, pbc=pbc)
    edges = half_edges(neighbor_list(system, 1.1 * CUTOFF))
    shift = (edges.shift.double() @ system.cell[0]) if pbc else 0.0
    distance = (x[edges.sender] - x[edges.receiver] + shift).norm(dim=1).to(dtype)
    arguments = (edges.receiver, edges.sender, n_atoms, N_INTERVALS, CUTOFF)
    index, groups = _sort_by_atom(distance, *arguments)
    fraction = distance[index[3].long()] * (N_INTERVALS / CUTOFF) - index[2]
    pairs = SortedPairs(fraction, index, groups, N_INTERVALS, CUTOFF / N_INTERVALS)
    shape = (N_INTERVALS + 1, n_channels)
    return [numbers(n_atoms, n_channels), fraction, numbers(*shape), numbers(*shape)], pairs, numbers


def reference(pairs):
    """The convolution as a function of features, fractions, values and slopes."""

    def function(features, fraction, values, slopes):
        moved = SortedPairs(fraction, pairs.index[:4], pairs.groups, pairs.n_intervals, pairs.spacing)
        return _reference(features, values, slopes, moved)

    return function


def assert_close(found, expected, dtype):
    scale = max(float(expected.abs().max()), 1.0) if expected.numel() else 1.0
    assert float((found.double() - expected).abs().max() if expected.numel() else 0.0) <= TOLERANCE[dtype] * scale


@pytest.fixture(params=[(torch.float64, 3, False), (torch.float64, 65, True), (torch.float32, 32, False)], ids=str)
def case(request):
    dtype, n_channels, pbc = request.param
    return problem(dtype, n_channels, pbc=pbc)


def test_value_and_first_derivatives(case, emulated, in_both_orders):
    inputs, pairs, numbers = case
    rest, dtype = (pairs.index, pairs.groups, pairs.spacing), inputs[0].dtype
    leaves = [each.double().clone().requires_grad_() for each in inputs]
    expected = reference(pairs)(*leaves)
    assert_close(in_both_orders(lambda: emulated.spline_conv(*inputs, *rest)), expected.detach(), dtype)
    grad = numbers(*expected.shape)
    gradients = torch.autograd.grad(expected, leaves, grad.double())
    found = in_both_orders(lambda: emulated.spline_conv_backward(grad, *inputs, *rest, True, True, True))
    for one, other in zip(found, gradients, strict=True):
        assert_close(one, other, dtype)
    wanted = emulated.spline_conv_backward(grad, *inputs, *rest, False, True, False)
    assert [each.numel() for each in wanted] == [0, inputs[1].numel(), 0, 0]


@pytest.mark.parametrize("given", [(1, 1, 1, 1), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 1)])
def test_second_derivatives(given, case, emulated, in_both_orders):
    inputs, pairs, numbers = case
    rest, dtype = (pairs.index, pairs.groups, pairs.spacing), inputs[0].dtype
    grad = numbers(*inputs[0].shape)
    dots = [numbers(*each.shape) if there else None for each, there in zip(inputs, given, strict=True)]
    leaves = [each.double().clone().requires_grad_() for each in (grad, *inputs)]
    first = torch.autograd.grad(reference(pairs)(*leaves[1:]), leaves[1:], leaves[0], create_graph=True)
    chosen = [(one, dot.double()) for one, dot in zip(first, dots, strict=True) if dot is not None]
    value = sum((one * dot).sum() for one, dot in chosen)
    expected = torch.autograd.grad(value, leaves, materialize_grads=True)
    found = in_both_orders(lambda: emulated.spline_conv_double_backward(grad, *inputs, *dots, *rest, True))
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, dtype)
    assert emulated.spline_conv_double_backward(grad, *inputs, *dots, *rest, False)[2].numel() == 0


def test_no_pairs(emulated):
    inputs, pairs, _ = problem(torch.float64, 4, n_atoms=1)
    rest = (pairs.index, pairs.groups, pairs.spacing)
    assert emulated.spline_conv(*inputs, *rest).tolist() == [[0.0] * 4]
    found = emulated.spline_conv_backward(inputs[0], *inputs, *rest, True, True, True)
    assert float(sum(each.abs().sum() for each in found)) == 0.0


def test_sorting_for_the_kernels_lists_every_end_once():
    edges = Edges.from_pairs(torch.tensor([0, 0, 2, 2]), torch.tensor([1, 2, 3, 2]), 5)
    distance = torch.tensor([0.7, 0.1, 0.9, 0.3])
    index, groups = _sort_by_atom(distance, edges.receiver, edges.sender, 5, N_INTERVALS, CUTOFF)
    plain = sort_pairs(distance, edges, n_intervals=N_INTERVALS, cutoff=CUTOFF, backend="reference")
    assert torch.equal(index[:4], plain.index)
    places, bounds = index[4:].flatten().tolist(), groups[0].tolist()
    for atom in range(5):
        own = places[bounds[atom] : bounds[atom + 1]]
        ends = [(index[0] == atom).nonzero()[:, 0].tolist(), (index[1] == atom).nonzero()[:, 0].tolist()]
        assert sorted(own) == sorted(ends[0] + ends[1])


def test_messages(emulated):
    inputs, pairs, _ = problem(torch.float64, 4)
    with pytest.raises(RuntimeError, match="expected features .* and pairs sorted for a GPU, got others"):
        emulated.spline_conv(*inputs, pairs.index[:4].contiguous(), pairs.groups, pairs.spacing)
    with pytest.raises(RuntimeError, match="sorted pairs: expected contiguous int32 tensors on the GPU, got others"):
        emulated.spline_conv(*inputs, pairs.index.long(), pairs.groups, pairs.spacing)
    with pytest.raises(RuntimeError, match="values: expected tensors of one dtype and device, got different ones"):
        emulated.spline_conv(inputs[0], inputs[1].float(), *inputs[2:], pairs.index, pairs.groups, pairs.spacing)
    dots = (None, None, inputs[2], None)
    with pytest.raises(RuntimeError, match="cotangents: expected those of values and slopes together, got one"):
        emulated.spline_conv_double_backward(inputs[0], *inputs, *dots, pairs.index, pairs.groups, pairs.spacing, True)
