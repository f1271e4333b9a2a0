from __future__ import annotations

import pytest
import torch

from flashmd.errors import NeighborOverflowError
from flashmd.nn import half_edges
from flashmd.ops import Edges, edge_geometry, half_neighbor_list, neighbor_list
from flashmd.ops.neighbors import any_moved
from flashmd.system import System

CUBE = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
ORTHORHOMBIC = [[0.7, 0.0, 0.0], [0.0, 1.9, 0.0], [0.0, 0.0, 3.1]]
TRICLINIC = [[1.2, 0.1, -0.2], [0.5, 1.1, 0.3], [-0.4, 0.6, 1.3]]
SLAB = [[1.0, 0.2, 0.0], [-0.3, 1.2, 0.1], [0.0, 0.0, 0.0]]
SKEW = [[1.0, 0.0, 0.0], [2.7, 1.0, 0.0], [1.9, -2.3, 1.0]]
LEFT_HANDED = [[0.0, 1.5, 0.0], [1.4, 0.0, 0.0], [0.0, 0.1, 1.6]]

# name: (cell, pbc, atoms, cutoff in nm). Cutoffs run from a fraction of the cell to several cells.
CASES = {
    "open_small": (CUBE, (False, False, False), 12, 0.6),
    "open_large": (CUBE, (False, False, False), 400, 0.15),
    "cube": (CUBE, (True, True, True), 60, 0.3),
    "orthorhombic": (ORTHORHOMBIC, (True, True, True), 150, 0.5),
    "triclinic": (TRICLINIC, (True, True, True), 90, 0.45),
    "several_images": (TRICLINIC, (True, True, True), 4, 2.6),
    "one_atom": (TRICLINIC, (True, True, True), 1, 1.7),
    "slab": (SLAB, (True, True, False), 120, 0.4),
    "skew": (SKEW, (True, True, True), 40, 0.7),
    "left_handed": (LEFT_HANDED, (True, True, True), 70, 0.5),
    "wire": (CUBE, (False, True, False), 150, 0.35),
    "sheet": (TRICLINIC, (True, False, True), 150, 0.35),
}
AGAINST_ASE = ["orthorhombic", "triclinic", "several_images", "slab", "left_handed", "sheet"]
N_ASE_ATOMS = 25
FIELDS = ("receiver", "sender", "shift", "row_ptr", "transpose", "col_ptr")


def build(name, dtype=torch.float64):
    """Atoms in and around the cell: a third of them lie outside of it, where they must be wrapped."""
    cell, pbc, n_atoms, cutoff = CASES[name]
    generator = torch.Generator().manual_seed(len(name))
    vectors = torch.tensor(cell, dtype=torch.float64)
    full = torch.where(vectors.abs().sum(1, keepdim=True) > 0, vectors, torch.eye(3, dtype=torch.float64))
    fraction = torch.rand(n_atoms, 3, generator=generator, dtype=torch.float64)
    if any(pbc):
        fraction[::3] += torch.randint(-3, 4, fraction[::3].shape, generator=generator) * torch.tensor(pbc)
    system = System.single((fraction @ full).to(dtype), torch.ones(n_atoms), cell=vectors.to(dtype), pbc=pbc)
    return system, cutoff


@pytest.fixture(params=list(CASES))
def case(request):
    return build(request.param)


def assert_same(found: Edges, expected: Edges):
    for field in FIELDS:
        assert torch.equal(getattr(found, field), getattr(expected, field)), field


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(CASES))
def test_kernel_matches_brute_force(name, dtype, device):
    system, cutoff = build(name, dtype)
    expected = neighbor_list(system, cutoff, backend="reference")
    assert expected.n_edges > 10
    assert_same(neighbor_list(system.to(device), cutoff).to("cpu"), expected)


@pytest.mark.parametrize("name", AGAINST_ASE)
def test_matches_ase(name):
    neighborlist = pytest.importorskip("ase.neighborlist", reason="ASE is not installed")
    system, cutoff = build(name)
    # ASE needs seconds for more atoms.
    few = torch.arange(min(system.n_atoms, N_ASE_ATOMS))
    system = System.single(system.positions[few], few, cell=system.cell[0], pbc=system.pbc[0].tolist())
    receiver, sender, shift = neighborlist.primitive_neighbor_list(
        "ijS", system.pbc[0].numpy(), system.cell[0].numpy(), system.positions.numpy(), cutoff
    )
    expected = Edges.from_pairs(*map(torch.tensor, (receiver, sender)), system.n_atoms, torch.tensor(shift))
    assert expected.n_edges > 10
    for backend in ("kernel", "reference", "vesin"):
        assert_same(neighbor_list(system, cutoff, backend=backend), expected)


def test_edges_are_within_the_cutoff_and_complete(case):
    """The definition itself: distances below the cutoff, both directions, no atom beside itself, nothing missing."""
    system, cutoff = case
    edges = neighbor_list(system, cutoff)
    assert float(edge_geometry(system, edges)[1].max()) < cutoff
    pairs = {(r, s, *S) for r, s, S in zip(*(getattr(edges, f).tolist() for f in FIELDS[:3]), strict=True)}
    assert len(pairs) == edges.n_edges
    assert {(s, r, -a, -b, -c) for r, s, a, b, c in pairs} == pairs
    assert not any(r == s and a == b == c == 0 for r, s, a, b, c in pairs)
    assert not bool(edges.shift[:, ~system.pbc[0]].any())
    longer = neighbor_list(system, 1.2 * cutoff)
    inside = edge_geometry(system, longer)[1] < cutoff
    assert int(inside.sum()) == edges.n_edges


def test_index_tensors_are_those_of_from_pairs(case):
    system, cutoff = case
    edges = neighbor_list(system, cutoff)
    generator = torch.Generator().manual_seed(1)
    shuffled = torch.randperm(edges.n_edges, generator=generator)
    again = Edges.from_pairs(edges.receiver[shuffled], edges.sender[shuffled], system.n_atoms, edges.shift[shuffled])
    assert_same(edges, again)


def test_periodic_counts_in_closed_form():
    """A simple cubic lattice of one atom: 6, 18, 26 and 32 images within 1, sqrt 2, sqrt 3 and 2 cell edges."""
    system = System.single(torch.tensor([[7.3, -4.1, 0.2]]), torch.ones(1), cell=torch.eye(3), pbc=True)
    for cutoff, expected in ((0.99, 0), (1.01, 6), (1.42, 18), (1.74, 26), (2.01, 32)):
        assert neighbor_list(system, cutoff).n_edges == expected


def test_whole_lattice_vectors_change_shifts_only(case):
    system, cutoff = case
    generator = torch.Generator().manual_seed(2)
    jumps = torch.randint(-5, 6, (system.n_atoms, 3), generator=generator) * system.pbc[0]
    moved = system.with_positions(system.positions + jumps.double() @ system.cell[0])
    before, after = neighbor_list(system, cutoff), neighbor_list(moved, cutoff)
    assert_same(Edges(after.receiver, after.sender, *[getattr(before, f) for f in FIELDS[2:]]), before)
    first, second = (torch.sort(edge_geometry(s, e)[1])[0] for s, e in ((system, before), (moved, after)))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


def test_batch_equals_loop_over_systems():
    systems = [build(name)[0] for name in ("open_large", "cube", "one_atom", "several_images", "slab", "open_small")]
    empty = System.single(torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0))
    batch = System.concatenate([*systems[:3], empty, *systems[3:]])
    whole = neighbor_list(batch, 0.5)
    parts = [neighbor_list(system, 0.5) for system in systems]
    offsets = torch.tensor([0] + [s.n_atoms for s in systems]).cumsum(0)
    for field in ("receiver", "sender"):
        expected = torch.cat([getattr(part, field) + offset for part, offset in zip(parts, offsets, strict=False)])
        assert torch.equal(getattr(whole, field), expected)
    assert torch.equal(whole.shift, torch.cat([part.shift for part in parts]))
    assert_same(whole, neighbor_list(batch, 0.5, backend="reference"))


def test_permuted_atoms():
    system, cutoff = build("triclinic")
    order = torch.randperm(system.n_atoms, generator=torch.Generator().manual_seed(3))
    rank = torch.argsort(order)
    edges = neighbor_list(system, cutoff)
    expected = Edges.from_pairs(rank[edges.receiver], rank[edges.sender], system.n_atoms, edges.shift)
    assert_same(neighbor_list(system.with_positions(system.positions[order]), cutoff), expected)


def test_runs_and_threads_give_the_same_list(case):
    system, cutoff = case
    batch = system.replicate(3)
    first = neighbor_list(batch, cutoff)
    n_threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert_same(neighbor_list(batch, cutoff), first)
    finally:
        torch.set_num_threads(n_threads)


def test_strided_and_differentiable_positions():
    system, cutoff = build("cube")
    strided = torch.stack([system.positions, system.positions], -1)[..., 0].requires_grad_()
    edges = neighbor_list(system.with_positions(strided), cutoff)
    assert_same(edges, neighbor_list(system, cutoff))
    assert not edges.shift.requires_grad


def test_far_scattered_atoms_do_not_need_many_bins():
    positions = torch.rand(200, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    positions[::2] *= 1e7
    system = System.single(positions, torch.ones(200))
    assert_same(neighbor_list(system, 0.4), neighbor_list(system, 0.4, backend="reference"))


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_empty_and_isolated(backend):
    empty = System.single(torch.zeros(0, 3), torch.zeros(0))
    assert neighbor_list(empty, 1.0, backend=backend).row_ptr.tolist() == [0]
    lonely = System.single(torch.tensor([[0.0, 0, 0], [9.0, 0, 0], [0.5, 0, 0]]), torch.ones(3))
    edges = neighbor_list(lonely, 1.0, backend=backend)
    assert edges.receiver.tolist() == [0, 2]
    assert edges.row_ptr.tolist() == [0, 1, 1, 2]
    assert not edges.periodic


@pytest.mark.parametrize("backend", ["kernel", "reference", "vesin"])
def test_capacity(backend):
    system, cutoff = build("cube")
    n_edges = neighbor_list(system, cutoff).n_edges
    assert neighbor_list(system, cutoff, capacity=n_edges, backend=backend).n_edges == n_edges
    text = (
        f"the neighbour list: expected at most {n_edges - 1} edges, got {n_edges}. To fix it, pass a larger `capacity`"
    )
    with pytest.raises(NeighborOverflowError, match=text) as caught:
        neighbor_list(system, cutoff, capacity=n_edges - 1, backend=backend)
    assert (caught.value.found, caught.value.capacity) == (n_edges, n_edges - 1)


@pytest.mark.parametrize("backend", ["kernel", "reference"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
def test_bad_positions_name_the_atom(backend, value):
    system, cutoff = build("cube")
    positions = system.positions.clone()
    positions[7, 1] = positions[9, 0] = value
    with pytest.raises(ValueError, match=r"`positions` of atom 7: expected finite numbers within 10\^9 cells"):
        neighbor_list(system.with_positions(positions), cutoff, backend=backend)


@pytest.mark.parametrize("backend", ["kernel", "reference"])
@pytest.mark.parametrize("cell", [[[1.0, 0, 0], [2.0, 0, 0], [0, 0, 1.0]], [[1.0, 0, 0], [0, 0, 0], [0, 0, 1.0]]])
def test_singular_cells_name_the_system(backend, cell):
    good = System.single(torch.rand(2, 3), torch.ones(2), cell=torch.eye(3), pbc=True)
    flat = System.single(torch.rand(2, 3), torch.ones(2), cell=torch.tensor(cell), pbc=(True, True, False))
    with pytest.raises(ValueError, match="`cell` of system 1: expected independent lattice vectors where `pbc` is set"):
        neighbor_list(System.concatenate([good, flat]), 1.0, backend=backend)


def test_other_messages():
    system, _ = build("cube")
    for cutoff in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="`cutoff`: expected a positive finite length in nm"):
            neighbor_list(system, cutoff)
    with pytest.raises(ValueError, match="`capacity`: expected zero or more edges, got -1"):
        neighbor_list(system, 1.0, capacity=-1)
    with pytest.raises(ValueError, match="`backend`: expected one of .*, got 'fast'"):
        neighbor_list(system, 1.0, backend="fast")
    with pytest.raises(ValueError, match="`system`: expected one system for vesin, got 2. To fix it, use"):
        neighbor_list(system.replicate(2), 1.0, backend="vesin")


def test_opcheck():
    system, cutoff = build("slab")
    arguments = (system.positions, system.ptr, system.cell, system.pbc, cutoff, -1)
    torch.library.opcheck(torch.ops.flashmd.neighbor_list.default, arguments)


def test_operator_refuses_mismatched_tensors():
    system, cutoff = build("cube")
    operator = torch.ops.flashmd.neighbor_list
    with pytest.raises(RuntimeError, match="`system`: expected a cell of the dtype of the positions and bool `pbc`"):
        operator(system.positions, system.ptr, system.cell.float(), system.pbc, cutoff, -1)
    with pytest.raises(RuntimeError, match="`ptr`: expected offsets that ascend from 0"):
        operator(system.positions, system.ptr + 1, system.cell, system.pbc, cutoff, -1)


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (None, False),
        ([[0.6, 0.0, 0.0], [0.1, 0.7, 0.0], [0.05, 0.1, 0.5]], True),
        ([[0.8, 0.0, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 0.8]], (True, False, True)),
    ],
)
@pytest.mark.parametrize("n_atoms", [0, 1, 60, 150])
def test_half_list_holds_one_edge_of_every_pair(cell, pbc, n_atoms):
    positions = torch.rand(n_atoms, 3, generator=torch.Generator().manual_seed(5)) * 1.7
    lattice = None if cell is None else torch.tensor(cell)
    system = System.single(positions, torch.ones(n_atoms, dtype=torch.int64), cell=lattice, pbc=pbc).replicate(2)
    found, wanted = half_neighbor_list(system, 1.0), half_edges(neighbor_list(system, 1.0, backend="reference"))
    for name in ("receiver", "sender", "shift", "row_ptr", "transpose", "col_ptr"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name


def test_half_list_refuses_what_cannot_be_searched():
    positions = torch.tensor([[0.0, 0.0, 0.0], [torch.nan, 0.0, 0.0]])
    with pytest.raises(ValueError, match="`positions` of atom 1"):
        half_neighbor_list(System.single(positions, torch.tensor([1, 1])), 1.0)
    flat = System.single(torch.zeros(1, 3), torch.tensor([1]), cell=torch.zeros(3, 3), pbc=True)
    with pytest.raises(ValueError, match="`cell` of system 0"):
        half_neighbor_list(flat, 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_any_moved_looks_at_the_distance_of_each_atom(backend, dtype):
    """Two coordinates of 3 and 4 make a distance of 5: no coordinate alone tells it."""
    reference = torch.rand(37, 3, generator=torch.Generator().manual_seed(6)).to(dtype)
    for atom in (0, 17, 36):
        positions = reference.clone()
        positions[atom] += torch.tensor([0.03, 0.0, -0.04], dtype=dtype)
        assert any_moved(positions, reference, 0.0499, backend=backend)
        assert not any_moved(positions, reference, 0.0501, backend=backend)
        positions[atom, 1] = torch.nan
        assert any_moved(positions, reference, 1e9, backend=backend)
    strided = torch.stack([reference, reference + 1.0], -1)[..., 0]
    assert not any_moved(strided, reference, 0.0, backend=backend)
    assert not any_moved(reference[:0], reference[:0], 0.0, backend=backend)


def test_count_moved_is_an_operator():
    reference = torch.zeros(4, 3)
    positions = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 0.0, 0.1], [0.0, torch.inf, 0.0]])
    operator = torch.ops.flashmd.count_moved.default
    assert operator(positions, reference, 0.2) == 2
    torch.library.opcheck(operator, (positions, reference, 0.2))
    for other in (reference[:3], reference.double(), reference.flatten()):
        with pytest.raises(RuntimeError, match="`reference`: expected the shape .n_atoms, 3. and the dtype of the pos"):
            operator(positions, other, 0.2)
