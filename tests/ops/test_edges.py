from __future__ import annotations

import pytest
import torch

from flashmd.ops import Edges, edge_geometry, neighbor_list
from flashmd.ops.testing import check_determinism, check_op
from flashmd.system import System

PERIODIC_CELL = torch.tensor([[1.1, 0.1, 0.0], [-0.2, 1.0, 0.1], [0.3, 0.2, 0.9]], dtype=torch.float64)


def test_from_pairs_sorts_and_indexes_both_ways():
    receiver, sender = torch.tensor([2, 0, 2, 0, 0]), torch.tensor([1, 2, 0, 1, 1])
    shift = torch.tensor([[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 5, -1]])
    edges = Edges.from_pairs(receiver, sender, 4, shift)
    assert edges.receiver.tolist() == [0, 0, 0, 2, 2]
    assert edges.sender.tolist() == [1, 1, 2, 0, 1]
    assert edges.shift.tolist() == [[0, 5, -1], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert edges.row_ptr.tolist() == [0, 3, 3, 5, 5]
    assert edges.transpose.tolist() == [3, 0, 1, 4, 2]
    assert edges.col_ptr.tolist() == [0, 1, 4, 5, 5]
    assert (edges.n_atoms, edges.n_edges, edges.periodic) == (4, 5, True)


def test_from_pairs_without_pairs_or_shifts():
    none = torch.zeros(0, dtype=torch.int64)
    edges = Edges.from_pairs(none, none, 2)
    assert edges.row_ptr.tolist() == edges.col_ptr.tolist() == [0, 0, 0]
    assert edges.shift.shape == (0, 3)
    assert not edges.periodic


def test_from_pairs_messages():
    one, two = torch.zeros(1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"`sender`: expected shape \(1,\), got \(2,\). To fix it, pass one entry"):
        Edges.from_pairs(one, two, 3)
    with pytest.raises(ValueError, match=r"`shift`: expected shape \(2, 3\), got \(1, 3\)"):
        Edges.from_pairs(two, two, 3, torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"`receiver`: expected indices from 0 to 2, got indices from 3 to 3"):
        Edges.from_pairs(one + 3, one, 3)
    with pytest.raises(ValueError, match=r"`sender`: expected indices from 0 to 2, got indices from -1 to -1"):
        Edges.from_pairs(one, one - 1, 3)


@pytest.mark.parametrize("name", ["edge_difference", "edge_divergence"])
def test_battery(name, edges, numbers, device):
    operator = getattr(torch.ops.flashmd, name)

    def difference(values):
        return values[edges.sender] - values[edges.receiver]

    def divergence(values):
        out = values.new_zeros(edges.n_atoms, values.shape[1])
        return out.index_add(0, edges.sender, values).index_add(0, edges.receiver, -values)

    reference = difference if name == "edge_difference" else divergence
    n_rows = edges.n_atoms if name == "edge_difference" else edges.n_edges
    opcheck = (operator.default, *edges.index)
    check_op(lambda values: operator(values, *edges.index), reference, [numbers(n_rows, 3).to(device)], opcheck=opcheck)


def test_many_edges_do_not_depend_on_threads(numbers, generator):
    edges = Edges.from_pairs(*torch.randint(0, 3000, (2, 40000), generator=generator), 3000)
    check_determinism(lambda values: torch.ops.flashmd.edge_difference(values, *edges.index), [numbers(3000, 3)])


def box(numbers):
    return System.single(numbers(5, 3), torch.ones(5), cell=PERIODIC_CELL, pbc=True)


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_geometry_follows_the_convention(backend):
    positions = torch.tensor([[0.1, 0.0, 0.0], [0.9, 0.2, 0.0]])
    system = System.single(positions, torch.ones(2), cell=torch.eye(3), pbc=True)
    edges = Edges.from_pairs(torch.tensor([0]), torch.tensor([1]), 2, torch.tensor([[-1, 0, 2]]))
    edge_vec, distance = edge_geometry(system, edges, backend=backend)
    torch.testing.assert_close(edge_vec, torch.tensor([[-0.2, 0.2, 2.0]]))
    torch.testing.assert_close(distance, torch.tensor([4.08]).sqrt())


def test_geometry_is_differentiable_in_positions_and_cell(numbers):
    system = box(numbers)
    edges = neighbor_list(system, 0.8)
    assert edges.n_edges > 10
    assert bool(edges.shift.any())

    def geometry(positions, cell):
        moved = System(positions, system.types, system.masses, system.batch, system.ptr, cell, system.pbc)
        return edge_geometry(moved, edges)

    leaves = (system.positions.clone().requires_grad_(), system.cell.clone().requires_grad_())
    assert torch.autograd.gradcheck(geometry, leaves)
    assert torch.autograd.gradgradcheck(geometry, leaves)


def test_open_systems_still_have_a_cell_gradient_when_it_is_asked_for(numbers):
    system = System.single(numbers(4, 3), torch.ones(4))
    cell = system.cell.requires_grad_()
    distance = edge_geometry(system, neighbor_list(system, 9.0))[1]
    (gradient,) = torch.autograd.grad(distance.sum(), cell)
    assert torch.equal(gradient, torch.zeros(1, 3, 3, dtype=torch.float64))


def test_backends_agree_on_geometry(numbers):
    system = box(numbers)
    edges = neighbor_list(system, 0.8)
    for kernel, reference in zip(
        edge_geometry(system, edges), edge_geometry(system, edges, backend="reference"), strict=True
    ):
        assert torch.equal(kernel, reference)
