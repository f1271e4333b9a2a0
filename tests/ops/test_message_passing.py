from __future__ import annotations

import itertools

import pytest
import torch

from flashmd.ops import Edges, cfconv, cfconv_transposed, edge_product
from flashmd.ops.testing import check_determinism, check_op

FAMILY = {"cfconv": cfconv, "cfconv_transposed": cfconv_transposed, "edge_product": edge_product}


@pytest.fixture(params=list(FAMILY))
def name(request):
    return request.param


def inputs_of(name, edges, numbers, n_channels):
    second_rows = edges.n_atoms if name == "edge_product" else edges.n_edges
    return [numbers(edges.n_atoms, n_channels), numbers(second_rows, n_channels)]


def test_battery(name, edges, numbers, device):
    operator = FAMILY[name]
    check_op(
        lambda a, b: operator(a, b, edges),
        lambda a, b: operator(a, b, edges, backend="reference"),
        [each.to(device) for each in inputs_of(name, edges, numbers, 3)],
        opcheck=(getattr(torch.ops.flashmd, name).default, *edges.index),
    )


@pytest.mark.parametrize("n_channels", [1, 30, 33, 96, 128, 160, 256])
def test_channel_counts(name, n_channels, numbers, generator):
    edges = Edges.from_pairs(*torch.randint(0, 11, (2, 40), generator=generator), 11)
    arguments = inputs_of(name, edges, numbers, n_channels)
    expected = FAMILY[name](*arguments, edges, backend="reference")
    torch.testing.assert_close(FAMILY[name](*arguments, edges), expected, rtol=0, atol=1e-13)


def test_many_edges_do_not_depend_on_threads(name, numbers, generator):
    edges = Edges.from_pairs(*torch.randint(0, 500, (2, 6000), generator=generator), 500)
    check_determinism(lambda a, b: FAMILY[name](a, b, edges), inputs_of(name, edges, numbers, 64))


def test_literal_values():
    edges = Edges.from_pairs(torch.tensor([0, 0, 2]), torch.tensor([1, 2, 0]), 3)
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    filters = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    assert cfconv(features, filters, edges).tolist() == [[13.0, 160.0], [0.0, 0.0], [3.0, 60.0]]
    assert cfconv_transposed(features, filters, edges).tolist() == [[15.0, 180.0], [1.0, 20.0], [2.0, 40.0]]
    assert edge_product(features, features, edges).tolist() == [[3.0, 8.0], [5.0, 12.0], [5.0, 12.0]]


def test_cfconv_transposed_is_the_adjoint(numbers, generator):
    edges = Edges.from_pairs(*torch.randint(0, 9, (2, 31), generator=generator), 9)
    x, y, w = numbers(9, 5), numbers(9, 5), numbers(31, 5)
    forward, backward = (y * cfconv(x, w, edges)).sum(), (x * cfconv_transposed(y, w, edges)).sum()
    torch.testing.assert_close(forward, backward, rtol=1e-13, atol=0)
    torch.testing.assert_close(forward, (edge_product(y, x, edges) * w).sum(), rtol=1e-13, atol=0)


def test_permuted_atoms(name, numbers, generator):
    edges = Edges.from_pairs(*torch.randint(0, 9, (2, 31), generator=generator), 9)
    order = torch.randperm(9, generator=generator)
    rank = torch.argsort(order)
    permuted = Edges.from_pairs(rank[edges.receiver], rank[edges.sender], 9)
    # The edge list is sorted anew, so filters follow their edges through the same sort.
    moved = torch.argsort(rank[edges.receiver] * 9 + rank[edges.sender], stable=True)
    first, second = inputs_of(name, edges, numbers, 4)
    expected = FAMILY[name](first, second, edges)
    if name == "edge_product":
        found = FAMILY[name](first[order], second[order], permuted)
        torch.testing.assert_close(found, expected[moved], rtol=0, atol=1e-13)
    else:
        found = FAMILY[name](first[order], second[moved], permuted)
        torch.testing.assert_close(found, expected[order], rtol=0, atol=1e-13)


def test_batch_equals_loop_over_systems(name, numbers, generator):
    parts = [Edges.from_pairs(*torch.randint(0, n, (2, 3 * n), generator=generator), n) for n in (4, 1, 7)]
    offsets = [0, *itertools.accumulate(part.n_atoms for part in parts)]
    whole = Edges.from_pairs(
        torch.cat([part.receiver + offset for part, offset in zip(parts, offsets, strict=False)]),
        torch.cat([part.sender + offset for part, offset in zip(parts, offsets, strict=False)]),
        offsets[-1],
    )
    inputs = [inputs_of(name, part, numbers, 6) for part in parts]
    together = FAMILY[name](torch.cat([a for a, _ in inputs]), torch.cat([b for _, b in inputs]), whole)
    alone = [FAMILY[name](a, b, part) for (a, b), part in zip(inputs, parts, strict=True)]
    assert torch.equal(together, torch.cat(alone))


def test_float64_reference_matches_torch_scatter(numbers, generator):
    scatter = pytest.importorskip("torch_scatter", reason="torch-scatter, the independent reference, is not installed")
    edges = Edges.from_pairs(*torch.randint(0, 9, (2, 31), generator=generator), 9)
    x, w = numbers(9, 5), numbers(31, 5)
    expected = scatter.scatter_sum(x[edges.sender] * w, edges.receiver, dim=0, dim_size=9)
    torch.testing.assert_close(cfconv(x, w, edges), expected, rtol=0, atol=1e-13)


def messages_of(edges, reduce):
    """Convolution from a product of each edge and the sum over the edges of each receiver."""
    return lambda x, w: reduce(x[edges.sender] * w, edges.row_ptr)


def value_and_gradients(function, x, w):
    leaves = [each.clone().requires_grad_() for each in (x, w)]
    value = function(*leaves)
    return value, *torch.autograd.grad(value.sin().sum(), leaves)


def test_sums_over_receivers_match_independent_reductions(edges, numbers, device):
    """One list sorted by receiver: its offsets are those that the reductions of other libraries take."""
    x, w = numbers(edges.n_atoms, 3).to(device), numbers(edges.n_edges, 3).to(device)
    found = value_and_gradients(lambda x, w: cfconv(x, w, edges), x, w)

    def segment_reduce(rows, ptr):
        return torch.segment_reduce(rows, "sum", offsets=ptr, axis=0, initial=0.0)

    for one, other in zip(found, value_and_gradients(messages_of(edges, segment_reduce), x, w), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


def test_sums_over_receivers_match_segment_csr(edges, numbers, device):
    scatter = pytest.importorskip("torch_scatter", reason="torch-scatter, the independent reference, is not installed")
    x, w = numbers(edges.n_atoms, 3).to(device), numbers(edges.n_edges, 3).to(device)
    found = value_and_gradients(lambda x, w: cfconv(x, w, edges), x, w)
    for one, other in zip(found, value_and_gradients(messages_of(edges, scatter.segment_csr), x, w), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


def test_one_list_serves_both_directions_of_a_symmetric_graph(numbers):
    """Filters that an edge shares with its reverse make the gradient of the features a sum over receivers too."""
    upper = torch.triu_indices(9, 9, 1)
    full = Edges.from_pairs(torch.cat([upper[0], upper[1]]), torch.cat([upper[1], upper[0]]), 9)
    half = Edges.from_pairs(upper[0], upper[1], 9)
    by_pair = numbers(9, 9, 5)
    by_pair = by_pair + by_pair.transpose(0, 1)
    x, w = numbers(9, 5), by_pair[full.receiver, full.sender]
    expected = cfconv_transposed(x, w, full)
    torch.testing.assert_close(cfconv(x, w, full), expected, rtol=0, atol=1e-13)
    w = by_pair[half.receiver, half.sender]
    torch.testing.assert_close(cfconv(x, w, half) + cfconv_transposed(x, w, half), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("way", ["eager", "registered"])
def test_gradient_of_one_factor_only(name, way, numbers, generator):
    edges = Edges.from_pairs(*torch.randint(0, 9, (2, 31), generator=generator), 9)
    first, second = inputs_of(name, edges, numbers, 2)
    overload = getattr(torch.ops.flashmd, name)
    call = FAMILY[name] if way == "eager" else lambda a, b, edges: overload(a, b, *edges.index)
    for leaf, arguments in ((first, (first, second)), (second, (first, second))):
        leaf.requires_grad_()
        (found,) = torch.autograd.grad(call(*arguments, edges).square().sum(), leaf)
        value = FAMILY[name](*arguments, edges, backend="reference").square().sum()
        torch.testing.assert_close(found, torch.autograd.grad(value, leaf)[0], rtol=0, atol=1e-12)
        leaf.requires_grad_(False)


def test_compiles_without_graph_break(numbers, generator):
    edges = Edges.from_pairs(*torch.randint(0, 9, (2, 31), generator=generator), 9)
    x, w = numbers(9, 2).requires_grad_(), numbers(31, 2)
    compiled = torch.compile(lambda a, b: cfconv(a, b, edges).square().sum(), fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(x, w), x)
    (expected,) = torch.autograd.grad(cfconv(x, w, edges).square().sum(), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_functional_derivatives(numbers, generator):
    edges = Edges.from_pairs(*torch.randint(0, 5, (2, 11), generator=generator), 5)
    x, w = numbers(5, 2), numbers(11, 2)

    def second(backend):
        def first(a):
            return torch.func.grad(lambda c: torch.sin(cfconv(c, w, edges, backend=backend)).sum())(a).square().sum()

        return torch.func.grad(first)(x)

    found, expected = second("kernel"), second("reference")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_messages(backend):
    edges = Edges.from_pairs(torch.tensor([0]), torch.tensor([1]), 2)
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"`filters`: expected shape \(1, 3\), got \(2, 3\)\. To fix it, pass one row"):
        cfconv(x, x, edges, backend=backend)
    with pytest.raises(ValueError, match=r"`features`: expected shape \(2, n_channels\), got \(2,\)"):
        cfconv_transposed(x[:, 0], x[:1], edges, backend=backend)
    with pytest.raises(ValueError, match=r"`right`: expected shape \(2, 3\), got \(2, 2\)"):
        edge_product(x, x[:, :2], edges, backend=backend)
    with pytest.raises(TypeError, match=r"`right`: expected torch.float32, got torch.float64"):
        edge_product(x, x.double(), edges, backend=backend)


def test_unknown_backend():
    edges = Edges.from_pairs(torch.tensor([0]), torch.tensor([1]), 2)
    with pytest.raises(ValueError, match="`backend`: expected 'kernel' or 'reference', got 'fast'"):
        cfconv(torch.ones(2, 3), torch.ones(1, 3), edges, backend="fast")


def test_kernels_refuse_other_dtypes_and_forged_edges():
    edges = Edges.from_pairs(torch.tensor([0]), torch.tensor([1]), 2)
    x = torch.ones(2, 3, dtype=torch.float16)
    with pytest.raises(RuntimeError, match="expected float32 or float64 values, got another dtype"):
        cfconv(x, x[:1], edges)
    index = list(edges.index)
    operator = torch.ops.flashmd.cfconv
    with pytest.raises(RuntimeError, match="index tensors: expected contiguous int64"):
        operator(x.float(), x[:1].float(), index[0].int(), *index[1:])
    with pytest.raises(RuntimeError, match="`edges`: expected index tensors of matching sizes"):
        operator(x.float(), x[:1].float(), *index[:3], index[3][:0], index[4])
    with pytest.raises(RuntimeError, match="values: expected shape"):
        operator(x.float(), x.float(), *index)
    with pytest.raises(RuntimeError, match="values: expected tensors of one dtype and device"):
        operator(x.float(), x[:1].double(), *index)


def test_derivative_formulas_save_only_what_they_need():
    edges = Edges.from_pairs(torch.tensor([0]), torch.tensor([1]), 2)
    x, w = torch.ones(2, 3, requires_grad=True), torch.ones(1, 3)
    node = cfconv(x, w, edges).grad_fn
    assert node.saved_tensors[0] is None
    assert node.saved_tensors[1] is w
