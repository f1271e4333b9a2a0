from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flashmd.ops import BasisForm, Edges, FilterForm, FilterWeights, flash_cfconv, flash_tiles
from flashmd.ops.testing import check_determinism, check_op

from .conftest import graphs

FORMS = {
    "expnormal": FilterForm(BasisForm("expnormal", 0.0, 1.5, "cosine", alpha=3.3), "cosine", "tanh"),
    "gaussian": FilterForm(BasisForm("gaussian", 0.0, 1.5, "identity"), "cosine", "ssp"),
    "bump": FilterForm(BasisForm("expnormal", 0.2, 1.5, "cosine", alpha=3.8), "cosine", "silu"),
    "gaussian_identity": FilterForm(BasisForm("gaussian", 0.0, 1.5, "cosine"), "identity", "tanh"),
}
FLOAT32_OF_SECOND_DERIVATIVES = 2e-5
"""Exponents of the basis reach -60 and its second derivatives are differences of numbers ten times their size."""


@pytest.fixture(params=list(FORMS))
def form(request):
    return FORMS[request.param]


def make_inputs(form, n_atoms, n_pairs, n_filters, n_basis, generator):
    """Features, distances on both sides of the cutoff and weights of the size that networks have."""

    def numbers(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    distance = 0.2 + 1.4 * torch.rand(n_pairs, generator=generator, dtype=torch.float64)
    centres = torch.linspace(0.1, 1.0, n_basis, dtype=torch.float64)
    widths = (0.25 * n_basis**2) * (1.0 + 0.1 * torch.rand(n_basis, generator=generator, dtype=torch.float64))
    weight_in = numbers(n_filters, n_basis) / n_basis**0.5
    return [
        numbers(n_atoms, n_filters),
        distance,
        centres,
        widths,
        weight_in,
        0.3 * numbers(n_filters),
        numbers(n_filters, n_filters) / n_filters**0.5,
    ]


def call(form, edges, backend="kernel"):
    return lambda x, d, *weights: flash_cfconv(x, d, FilterWeights(*weights), form, edges, backend=backend)


@pytest.mark.parametrize("graph", list(graphs()))
def test_battery(form, graph, generator, device):
    edges = graphs()[graph].to(device)
    inputs = [each.to(device) for each in make_inputs(form, edges.n_atoms, edges.n_edges, 3, 2, generator)]
    check_op(
        call(form, edges),
        call(form, edges, "reference"),
        inputs,
        opcheck=(torch.ops.flashmd.flash_cfconv.default, *edges.index, *form.numbers) if device == "cpu" else (),
        highest_order=2,
    )


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("flags", [(True, True, True, True), (False, True, False, False), (True, False, False, True)])
def test_tiles_of_a_gpu(form, order, flags, generator, monkeypatch):
    """The loop over tiles takes the arguments of the compiled operators and gives their results."""
    monkeypatch.setattr(flash_tiles, "PAIRS_OF_TILE", 7)
    edges = random_half(9, 31, generator)
    inputs = make_inputs(form, 9, 31, 5, 4, generator)
    ways = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in inputs]
    parts = [flags[i] for i in (0, 1, 2, 2, 3, 3, 3)]
    ways = [way if part else way.new_zeros(0) for way, part in zip(ways, parts, strict=True)]
    ways[:2] = [way if way.numel() else torch.zeros_like(x) for way, x in zip(ways[:2], inputs[:2], strict=True)]
    grad, tail, numbers = torch.randn(9, 5, generator=generator).double(), (*inputs, *edges.index), form.numbers
    if order == 1:
        arguments, function, name = (grad, *tail, *flags, *numbers), flash_tiles.gradient, "flash_cfconv_backward"
    else:
        arguments, function = (*ways, grad, *tail, *flags[1:], *numbers), flash_tiles.curvature
        name = "flash_cfconv_double_backward"
    for one, other in zip(function(*arguments), getattr(torch.ops.flashmd, name)(*arguments), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12 * (1 + float(other.abs().sum())))


def random_half(n_atoms, n_pairs, generator):
    ends = torch.randint(0, n_atoms, (2, n_pairs), generator=generator).sort(0).values
    return Edges.from_pairs(ends[0], ends[1], n_atoms)


def all_derivatives(form, edges, inputs, ways, backend):
    """Value, gradient of a weighted sum of it, and gradient of the gradient's product with a direction."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    value = call(form, edges, backend)(*leaves)
    first = torch.autograd.grad((value * torch.cos(value.detach())).sum(), leaves, create_graph=True)
    along = sum((each * way).sum() for each, way in zip(first, ways, strict=True))
    second = torch.autograd.grad(along, leaves, materialize_grads=True)
    return [each.detach() for each in (value, *first, *second)]


@pytest.mark.parametrize("n_filters", [96, 128, 160, 256])
@pytest.mark.parametrize("n_basis", [30, 33, 50, 64])
@pytest.mark.parametrize("kind", ["expnormal", "gaussian"])
def test_sizes(kind, n_filters, n_basis, generator):
    form, edges = FORMS[kind], random_half(9, 31, generator)
    inputs = make_inputs(form, 9, 31, n_filters, n_basis, generator)
    ways = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in inputs]
    expected = all_derivatives(form, edges, inputs, ways, "reference")
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, FLOAT32_OF_SECOND_DERIVATIVES)):
        arguments = [each.to(dtype) for each in inputs], [each.to(dtype) for each in ways]
        for found, wanted in zip(all_derivatives(form, edges, *arguments, "kernel"), expected, strict=True):
            torch.testing.assert_close(found.double(), wanted, rtol=0.0, atol=tolerance * float(wanted.abs().max()))


def test_instruction_sets(form, instruction_set, generator):
    """More pairs than exist at one time, with channels that fill no vector."""
    edges = random_half(40, 2000, generator)
    inputs = make_inputs(form, 40, 2000, 20, 9, generator)
    ways = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in inputs]
    grad, operators = torch.randn(40, 20, generator=generator, dtype=torch.float64), torch.ops.flashmd
    tail = (*inputs, *edges.index)

    def run(level):
        settings = (*form.numbers, level)
        value = operators.flash_cfconv(*tail, *settings)
        first = operators.flash_cfconv_backward(grad, *tail, True, True, True, True, *settings)
        return [value, *first, *operators.flash_cfconv_double_backward(*ways, grad, *tail, True, True, True, *settings)]

    for found, expected in zip(run(instruction_set), run(-1), strict=True):
        torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-12 * float(expected.abs().max()))


def test_many_pairs(form, generator):
    edges = random_half(60, 4000, generator)
    inputs = make_inputs(form, 60, 4000, 16, 8, generator)
    ways = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in inputs]
    expected = all_derivatives(form, edges, inputs, ways, "reference")
    for found, wanted in zip(all_derivatives(form, edges, inputs, ways, "kernel"), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-12 * float(wanted.abs().max()))
    check_determinism(call(form, edges), inputs)


def test_parts_that_are_not_wanted_are_left_out(generator):
    form, edges = FORMS["expnormal"], random_half(5, 9, generator)
    inputs = make_inputs(form, 5, 9, 4, 3, generator)
    operators, tail = torch.ops.flashmd, (*inputs, *edges.index)
    whole = operators.flash_cfconv_backward(inputs[0], *tail, True, True, True, True, *form.numbers)
    for wanted in itertools.product([False, True], repeat=4):
        found = operators.flash_cfconv_backward(inputs[0], *tail, *wanted, *form.numbers)
        kept = [wanted[i] for i in (0, 1, 2, 2, 3, 3, 3)]
        for part, full, keep in zip(found, whole, kept, strict=True):
            assert torch.equal(part, full) if keep else part.numel() == 0


def test_force_matching_computes_only_what_it_asks_for(generator, monkeypatch):
    """The pass that makes forces computes no gradients of weights, the one that trains none of distances."""
    form, edges = FORMS["expnormal"], Edges.from_pairs(*torch.triu_indices(5, 5, 1), 5)
    positions = torch.randn(5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    x, _, centres, widths, *weights = make_inputs(form, 5, 10, 4, 3, generator)
    leaves = [each.requires_grad_() for each in weights]
    calls = record_calls(monkeypatch)
    distance = torch.linalg.vector_norm(positions[edges.receiver] - positions[edges.sender], dim=1)
    energy = call(form, edges)(x, distance, centres, widths, *leaves).sin().sum()
    (force,) = torch.autograd.grad(energy, positions, create_graph=True)
    torch.autograd.grad(force.square().sum(), leaves)
    assert calls["_BACKWARD"] == [(False, True, False, False), (False, False, False, True)]
    assert calls["_DOUBLE_BACKWARD"] == [(False, False, True)]


def record_calls(monkeypatch):
    """Note which gradients the compiled operators are asked for."""
    module, calls = importlib.import_module("flashmd.ops.flash_cfconv"), {}
    for name in ("_BACKWARD", "_DOUBLE_BACKWARD"):
        operator = getattr(module, name)

        def recorded(*arguments, name=name, operator=operator):
            calls.setdefault(name, []).append(tuple(each for each in arguments if isinstance(each, bool)))
            return operator(*arguments)

        monkeypatch.setattr(module, name, recorded)
    return calls


def test_memory_grows_with_pairs_and_atoms_alone(tmp_path):
    """Filters of 200,000 pairs would fill 100 MB, and 51 MB the basis; the kernels stay far below in all orders."""
    program = tmp_path / "peak.py"
    program.write_text(PEAK)
    found = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert float(found.stdout) < 40.0


PEAK = """
import resource
import torch
from flashmd.ops import BasisForm, Edges, FilterForm, FilterWeights, flash_cfconv, flash_tiles

torch.set_num_threads(1)
form = FilterForm(BasisForm("gaussian", 0.0, 1.5, "cosine"), "cosine", "tanh")

def step(n_pairs):
    edges = Edges.from_pairs(torch.arange(n_pairs) % 300, (torch.arange(n_pairs) * 7 + 1) % 300, 300)
    x, d = torch.rand(300, 128, requires_grad=True), torch.rand(n_pairs, requires_grad=True)
    shapes = ((64,), (64,), (128, 64), (128,), (128, 128))
    weights = FilterWeights(*(torch.rand(shape, requires_grad=True) for shape in shapes))
    (slope,) = torch.autograd.grad(flash_cfconv(x, d, weights, form, edges).sum(), d, create_graph=True)
    torch.autograd.grad(slope.square().sum(), [x, *weights])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

small = step(2000)
print(step(200000) - small)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}


def test_pairs_beyond_the_cutoff_change_nothing(form, generator):
    edges = random_half(9, 31, generator)
    x, d, *weights = make_inputs(form, 9, 31, 5, 4, generator)
    d[::2] += 2.0
    leaves = [x.requires_grad_(), d.requires_grad_()]
    out = call(form, edges)(x, d, *weights)
    first = torch.autograd.grad(out.sin().sum(), leaves, create_graph=True)
    (second,) = torch.autograd.grad(first[1].square().sum(), d)
    assert first[1][::2].tolist() == second[::2].tolist() == [0.0] * 16
    near = Edges.from_pairs(edges.receiver[1::2], edges.sender[1::2], 9)
    assert torch.equal(out, call(form, near)(x, d[1::2], *weights))


def test_batch_equals_loop_over_systems(form, generator):
    parts = [(4, 11), (1, 0), (7, 30)]
    edges = [random_half(*part, generator) for part in parts]
    inputs = [make_inputs(form, *part, 6, 5, generator) for part in parts]
    weights = inputs[0][2:]
    offsets = [0, 4, 5]
    whole = Edges.from_pairs(
        torch.cat([each.receiver + offset for each, offset in zip(edges, offsets, strict=True)]),
        torch.cat([each.sender + offset for each, offset in zip(edges, offsets, strict=True)]),
        12,
    )
    together = call(form, whole)(torch.cat([x for x, *_ in inputs]), torch.cat([d for _, d, *_ in inputs]), *weights)
    alone = [call(form, part)(x, d, *weights) for part, (x, d, *_) in zip(edges, inputs, strict=True)]
    assert torch.equal(together, torch.cat(alone))


def test_permuted_atoms(form, generator):
    edges = random_half(9, 31, generator)
    x, d, *weights = make_inputs(form, 9, 31, 6, 5, generator)
    order = torch.randperm(9, generator=generator)
    rank = torch.argsort(order)
    receiver, sender = rank[edges.receiver], rank[edges.sender]
    moved = torch.argsort(receiver * 9 + sender, stable=True)
    found = call(form, Edges.from_pairs(receiver, sender, 9))(x[order], d[moved], *weights)
    torch.testing.assert_close(found, call(form, edges)(x, d, *weights)[order], rtol=0, atol=1e-13)


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_messages(backend, generator):
    form, edges = FORMS["expnormal"], random_half(5, 9, generator)
    x, d, *weights = make_inputs(form, 5, 9, 4, 3, generator)
    with pytest.raises(ValueError, match=r"`features`: expected shape \(5, 4\), got \(4, 4\)\. To fix it, match the"):
        call(form, edges, backend)(x[:4], d, *weights)
    with pytest.raises(ValueError, match=r"`distance`: expected shape \(9,\), got \(8,\)"):
        call(form, edges, backend)(x, d[:8], *weights)
    with pytest.raises(ValueError, match=r"`weight_out`: expected shape \(4, 4\), got \(4, 3\)"):
        call(form, edges, backend)(x, d, *weights[:4], weights[4][:, :3])
    with pytest.raises(TypeError, match=r"`bias_in`: expected torch.float64, got torch.float32"):
        call(form, edges, backend)(x, d, *weights[:3], weights[3].float(), weights[4])


def test_unknown_choices():
    basis = BasisForm("gaussian", 0.0, 1.0, "cosine")
    with pytest.raises(ValueError, match="`activation`: expected one of 'tanh', 'ssp', 'silu', got 'relu'"):
        FilterForm(basis, "cosine", "relu")
    with pytest.raises(ValueError, match="`envelope`: expected one of 'identity', 'cosine', got 'step'"):
        FilterForm(basis, "step", "tanh")


def test_third_derivative_raises(form, generator):
    edges = random_half(5, 9, generator)
    x, d, *weights = make_inputs(form, 5, 9, 4, 3, generator)
    value = call(form, edges)(x, d.requires_grad_(), *weights).sum()
    for _ in range(2):
        value = torch.autograd.grad(value, d, create_graph=True)[0].sum()
    with pytest.raises(NotImplementedError, match="derivatives of `flash_cfconv`: expected first and second ones"):
        torch.autograd.grad(value, d)


def test_kernels_refuse_forged_arguments(generator):
    form, edges = FORMS["expnormal"], random_half(5, 9, generator)
    x, d, *weights = make_inputs(form, 5, 9, 4, 3, generator)
    operators, tail = torch.ops.flashmd, (*edges.index, *form.numbers)
    with pytest.raises(RuntimeError, match="flash_cfconv: expected tensors of one dtype and of matching sizes"):
        operators.flash_cfconv(x, d[:3], *weights, *tail)
    with pytest.raises(RuntimeError, match="flash_cfconv: expected tensors of one dtype and of matching sizes"):
        operators.flash_cfconv(x, d, *weights[:4], weights[4].float(), *tail)
    empty, flags = d[:0], (False, False, False)
    with pytest.raises(RuntimeError, match="expected a direction of the sizes of features and distances"):
        operators.flash_cfconv_double_backward(
            x, d[:2], *[empty] * 5, x, x, d, *weights, *edges.index, *flags, *form.numbers
        )
