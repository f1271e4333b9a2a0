"""Convolution with tabulated filters: kernels against the reference, derivatives to second order, determinism."""

from __future__ import annotations

import itertools
import sys

import pytest
import torch

from flashmd.ops import Edges, sort_pairs, spline_conv
from flashmd.ops.testing import FLOAT32_TOLERANCE, check_determinism, check_op

CUTOFF = 1.0
OPS = torch.ops.flashmd


def convolve(edges, n_intervals, backend="kernel"):
    def run(features, distance, values, slopes):
        pairs = sort_pairs(distance, edges, n_intervals=n_intervals, cutoff=CUTOFF, backend=backend)
        return spline_conv(features, values, slopes, pairs=pairs, backend=backend)

    return run


def inputs_of(edges, numbers, generator, n_channels=3, n_intervals=5):
    """Features, distances of which some lie beyond the cutoff, values and slopes of a table."""
    distance = 1.2 * torch.rand(edges.n_edges, generator=generator, dtype=torch.float64)
    table = [numbers(n_intervals + 1, n_channels) for _ in range(2)]
    return [numbers(edges.n_atoms, n_channels), distance, *table]


def random_half(n_atoms, n_edges, generator):
    ends = torch.randint(0, n_atoms, (2, n_edges), generator=generator).sort(0).values
    return Edges.from_pairs(ends[0], ends[1], n_atoms)


def instruction_sets():
    found = []
    for level in range(3):
        try:
            OPS.spline_conv(torch.ones(1, 1), torch.ones(0), *[torch.ones(2, 1)] * 2, *no_pairs(), 1.0, level)
        except RuntimeError:
            break
        found.append(level)
    return found


def no_pairs():
    none = torch.zeros(0, dtype=torch.int64)
    return OPS.spline_sort(torch.zeros(0), none, none, 1, 1, CUTOFF)


def test_battery(edges, numbers, generator):
    check_op(convolve(edges, 5), convolve(edges, 5, "reference"), inputs_of(edges, numbers, generator), highest_order=2)


def test_opcheck_of_the_family(numbers, generator):
    edges = random_half(7, 20, generator)
    features, distance, *table = inputs_of(edges, numbers, generator)
    pairs = sort_pairs(distance, edges, n_intervals=5, cutoff=CUTOFF)
    values = [features, pairs.fraction, *table]
    grad, rest = numbers(7, 3), (pairs.index, pairs.groups, pairs.spacing)

    def leaves(*tensors):
        return [each.clone().requires_grad_() for each in tensors]

    torch.library.opcheck(OPS.spline_sort.default, (distance, edges.receiver, edges.sender, 7, 5, CUTOFF))
    torch.library.opcheck(OPS.spline_conv.default, (*leaves(*values), *rest))
    for wanted in ((True, True, True), (True, True, False)):
        torch.library.opcheck(OPS.spline_conv_backward.default, (*leaves(grad, *values), *rest, *wanted))
    # Its own derivative raises, so it is checked without one.
    for dots in (values, (features, None, None, None)):
        torch.library.opcheck(OPS.spline_conv_double_backward.default, (grad, *values, *dots, *rest, True))


@pytest.mark.parametrize("n_channels", [1, 30, 33, 96, 128, 160, 256])
def test_channel_counts_and_instruction_sets(n_channels, numbers, generator):
    edges = random_half(11, 40, generator)
    values = inputs_of(edges, numbers, generator, n_channels)
    cotangent, expected = numbers(11, n_channels), {}
    for backend in ("reference", "kernel"):
        expected[backend] = second_order(convolve(edges, 5, backend), values, cotangent)
    for found, wanted in zip(expected["kernel"], expected["reference"], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13 * max(1.0, float(wanted.abs().max())))


def second_order(function, values, cotangent):
    """Output, gradients and the gradients of their squares."""
    leaves = [each.clone().requires_grad_() for each in values]
    out = function(*leaves)
    first = torch.autograd.grad(out, leaves, cotangent, create_graph=True)
    second = torch.autograd.grad(sum((each * each).sum() for each in first), leaves)
    return [each.detach() for each in (out, *first, *second)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_channels", [20, 32])
def test_instruction_sets_agree(dtype, n_channels, numbers, generator):
    edges = random_half(40, 300, generator)
    features, distance, *table = inputs_of(edges, numbers, generator, n_channels, 9)
    pairs = sort_pairs(distance, edges, n_intervals=9, cutoff=CUTOFF)
    values = [each.to(dtype) for each in (numbers(40, n_channels), features, pairs.fraction, *table)]
    dots = [torch.ones_like(each) for each in values[1:]]
    index = (pairs.index, pairs.groups, pairs.spacing)
    results = []
    for level in instruction_sets():
        out = [OPS.spline_conv(*values[1:], *index, level)]
        for wanted in itertools.product((False, True), repeat=3):
            out += OPS.spline_conv_backward(*values, *index, *wanted, level)
        for given, want_fraction in ((dots, True), (dots, False), ([dots[0], None, None, None], False)):
            out += OPS.spline_conv_double_backward(*values, *given, *index, want_fraction, level)
        results.append(out)
    tolerance = FLOAT32_TOLERANCE if dtype == torch.float32 else 1e-13
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            scale = float(first.abs().max()) if first.numel() else 1.0
            torch.testing.assert_close(second, first, rtol=0.0, atol=tolerance * scale)


def test_wanted_gradients_are_the_same_alone_and_together(numbers, generator):
    edges = random_half(20, 90, generator)
    features, distance, *table = inputs_of(edges, numbers, generator, 18)
    pairs = sort_pairs(distance, edges, n_intervals=5, cutoff=CUTOFF)
    arguments = (numbers(20, 18), features, pairs.fraction, *table, pairs.index, pairs.groups, pairs.spacing)
    everything = OPS.spline_conv_backward(*arguments, True, True, True)
    for wanted in itertools.product((False, True), repeat=3):
        found = OPS.spline_conv_backward(*arguments, *wanted)
        for want, one, whole in zip((*wanted, wanted[-1]), found, everything, strict=True):
            assert torch.equal(one, whole) if want else one.numel() == 0


def test_many_pairs_do_not_depend_on_threads(numbers, generator):
    edges = random_half(300, 6000, generator)
    values = inputs_of(edges, numbers, generator, 64, 40)
    check_determinism(convolve(edges, 40), values)
    check_determinism(lambda *v: second_order_sum(convolve(edges, 40), v), values)


def second_order_sum(function, values):
    return sum(each.square().sum() for each in torch.autograd.grad(function(*values).sum(), values, create_graph=True))


def test_the_passes_of_force_matching_compute_what_they_use(numbers, generator, monkeypatch):
    module = sys.modules["flashmd.ops.spline_conv"]  # the package exports the function of the same name
    edges, calls = random_half(9, 30, generator), []
    features, distance, values, slopes = inputs_of(edges, numbers, generator)
    backward = module._BACKWARD
    monkeypatch.setattr(module, "_BACKWARD", lambda *args: calls.append(args[-3:]) or backward(*args))
    double = module._DOUBLE_BACKWARD
    monkeypatch.setattr(module, "_DOUBLE_BACKWARD", lambda *args: calls.append(args[-1]) or double(*args))
    positions, weight = distance.requires_grad_(), torch.ones((), dtype=torch.float64, requires_grad=True)
    energy = torch.tanh(convolve(edges, 5)(features * weight, positions * 1.0, values * weight, slopes * weight)).sum()
    (slope,) = torch.autograd.grad(energy, positions, create_graph=True)
    assert calls == [(False, True, False)]
    torch.autograd.backward(slope.square().sum(), inputs=[weight])
    assert calls[1:] == [False, (True, False, True)]


def test_literal_values():
    edges = Edges.from_pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), 3)
    pairs = sort_pairs(torch.tensor([0.5, 0.25, 1.0]), edges, n_intervals=2, cutoff=1.0)
    values, slopes = torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([[8.0], [0.0], [5.0]])
    # W(0.5) = 3 is the second knot, W(0.25) = (1 + 3)/2 + 8 * 0.5/8 half-way to it; the last pair is at the cutoff.
    features = torch.tensor([[1.0], [10.0], [100.0]])
    found = spline_conv(features, values, slopes, pairs=pairs)
    assert found[:, 0].tolist() == [280.0, 3.0, 2.5]
    assert pairs.index.tolist() == [[0, 0, 1], [2, 1, 2], [0, 1, 2], [1, 0, 2]]


def test_batch_equals_loop_over_systems_and_groups_follow_them(numbers, generator):
    parts = [random_half(n, 40 * n, generator) for n in (4, 1, 7, 5)]
    offsets = [0, *itertools.accumulate(part.n_atoms for part in parts)]
    whole = Edges.from_pairs(
        torch.cat([part.receiver + offset for part, offset in zip(parts, offsets, strict=False)]),
        torch.cat([part.sender + offset for part, offset in zip(parts, offsets, strict=False)]),
        offsets[-1],
    )
    table = [numbers(6, 6), numbers(6, 6)]
    inputs = [inputs_of(part, numbers, generator, 6) for part in parts]
    features, distance = (torch.cat([each[k] for each in inputs]) for k in range(2))
    pairs = sort_pairs(distance, whole, n_intervals=5, cutoff=CUTOFF)
    together = spline_conv(features, *table, pairs=pairs)
    alone = [convolve(part, 5)(each[0], each[1], *table) for part, each in zip(parts, inputs, strict=True)]
    assert torch.equal(together, torch.cat(alone))
    # Eight pairs for each interval make a group; the second system has as many and the third more.
    assert pairs.groups[0].unique().tolist() == [0, 4, 5, 12, 17]
    gradient = second_order(convolve(whole, 5), [features, distance, *table], torch.ones_like(features))
    expected = second_order(convolve(whole, 5, "reference"), [features, distance, *table], torch.ones_like(features))
    for found, wanted in zip(gradient, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-9)


def test_permuted_atoms(numbers, generator):
    edges = random_half(9, 31, generator)
    features, distance, *table = inputs_of(edges, numbers, generator, 4)
    order = torch.randperm(9, generator=generator)
    rank = torch.argsort(order)
    permuted = Edges.from_pairs(rank[edges.receiver], rank[edges.sender], 9)
    moved = torch.argsort(rank[edges.receiver] * 9 + rank[edges.sender], stable=True)
    found = convolve(permuted, 5)(features[order], distance[moved], *table)
    torch.testing.assert_close(found, convolve(edges, 5)(features, distance, *table)[order], rtol=0, atol=1e-13)


def test_third_derivative_raises(numbers, generator):
    edges = random_half(5, 9, generator)
    leaves = [each.requires_grad_() for each in inputs_of(edges, numbers, generator)]
    value = convolve(edges, 5)(*leaves).square().sum()
    for _ in range(2):
        value = torch.autograd.grad(value, leaves[1], create_graph=True)[0].square().sum()
    with pytest.raises(NotImplementedError, match="derivatives of `spline_conv`: expected first and second ones"):
        torch.autograd.grad(value, leaves[1])


def test_compiles_without_graph_break(numbers, generator):
    edges = random_half(9, 31, generator)
    features, distance, *table = inputs_of(edges, numbers, generator, 2)
    pairs = sort_pairs(distance, edges, n_intervals=5, cutoff=CUTOFF)
    features.requires_grad_()

    def loss(x):
        return spline_conv(x, *table, pairs=pairs).square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(features), features)
    (expected,) = torch.autograd.grad(loss(features), features)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_messages(backend):
    edges = Edges.from_pairs(torch.tensor([0]), torch.tensor([1]), 2)
    pairs = sort_pairs(torch.tensor([0.5]), edges, n_intervals=2, cutoff=1.0, backend=backend)
    x, v = torch.ones(2, 3), torch.ones(3, 3)
    with pytest.raises(ValueError, match=r"`features`: expected shape \(2, n_channels\), got \(3, 3\)"):
        spline_conv(torch.ones(3, 3), v, v, pairs=pairs, backend=backend)
    with pytest.raises(ValueError, match=r"`values`: expected shape \(3, 3\), got \(1, 3\)"):
        spline_conv(x, v[:1], v, pairs=pairs, backend=backend)
    with pytest.raises(ValueError, match=r"`slopes`: expected shape \(3, 3\), got \(3, 2\)"):
        spline_conv(x, v, v[:, :2], pairs=pairs, backend=backend)
    with pytest.raises(TypeError, match=r"`slopes`: expected torch.float32, got torch.float64"):
        spline_conv(x, v, v.double(), pairs=pairs, backend=backend)
    with pytest.raises(TypeError, match=r"`distance`: expected torch.float64, got torch.float32"):
        spline_conv(x.double(), v.double(), v.double(), pairs=pairs, backend=backend)
    with pytest.raises(ValueError, match=r"`distance`: expected shape \(1,\), got \(2,\)"):
        sort_pairs(torch.ones(2), edges, n_intervals=2, cutoff=1.0, backend=backend)
    with pytest.raises(ValueError, match=r"table: expected at least one interval and a positive cutoff, got n_inter"):
        sort_pairs(torch.ones(1), edges, n_intervals=0, cutoff=1.0, backend=backend)


def test_kernels_refuse_forged_arguments():
    edges = Edges.from_pairs(torch.tensor([0]), torch.tensor([1]), 2)
    pairs = sort_pairs(torch.tensor([0.5]), edges, n_intervals=2, cutoff=1.0)
    x, v = torch.ones(2, 3), torch.ones(3, 3)
    index = (pairs.index, pairs.groups, pairs.spacing)
    with pytest.raises(RuntimeError, match="spline convolution: expected features"):
        OPS.spline_conv(x, pairs.fraction, v, v[:, :2], *index)
    with pytest.raises(RuntimeError, match="values: expected tensors of one dtype"):
        OPS.spline_conv(x, pairs.fraction, v, v.double(), *index)
    with pytest.raises(RuntimeError, match="sorted pairs: expected those of the same atoms"):
        OPS.spline_conv(torch.ones(3, 3), pairs.fraction, v, v, *index)
    with pytest.raises(RuntimeError, match="sorted pairs: expected contiguous int32 tensors"):
        OPS.spline_conv(x, pairs.fraction, v, v, pairs.index.long(), *index[1:])
    with pytest.raises(RuntimeError, match="cotangents: expected the shapes and the dtype"):
        OPS.spline_conv_double_backward(x, x, pairs.fraction, v, v, x[:1], None, None, None, *index, False)
    with pytest.raises(RuntimeError, match="cotangents: expected those of values and slopes together"):
        OPS.spline_conv_double_backward(x, x, pairs.fraction, v, v, x, None, v, None, *index, False)
    with pytest.raises(RuntimeError, match="`distance`: expected one distance for each"):
        OPS.spline_sort(torch.ones(2), edges.receiver, edges.sender, 2, 2, 1.0)
    with pytest.raises(RuntimeError, match="table: expected at least one interval"):
        OPS.spline_sort(torch.ones(1), edges.receiver, edges.sender, 2, 0, 1.0)


def test_slope_of_a_table_alone(numbers, generator):
    edges = random_half(9, 30, generator)
    leaves = inputs_of(edges, numbers, generator)
    slopes = leaves[3].requires_grad_()
    found = []
    for backend in ("kernel", "reference"):
        value = torch.sin(convolve(edges, 5, backend)(*leaves)).sum()
        (first,) = torch.autograd.grad(value, slopes, create_graph=True)
        found.append([first, *torch.autograd.grad(torch.sin(first).sum(), slopes)])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


def test_functional_derivatives(numbers, generator):
    edges = random_half(9, 30, generator)
    features, distance, *table = inputs_of(edges, numbers, generator)

    def second(backend):
        def first(x):
            run = convolve(edges, 5, backend)
            return torch.func.grad(lambda y: torch.sin(run(y, distance, *table)).sum())(x).square().sum()

        return torch.func.grad(first)(features)

    torch.testing.assert_close(second("kernel"), second("reference"), rtol=0, atol=1e-11)
