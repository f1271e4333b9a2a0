"""The neighbour list with a skin: complete, rebuilt only when needed, restorable."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from flashmd.ops import edge_geometry
from flashmd.potential import SumPotential, VerletList
from flashmd.system import System
from tests.potential.build import BACKEND, BACKENDS, chain, prior, schnet


def pairs_within(system: System, edges: object, cutoff: float) -> set[tuple[int, int]]:
    distance = edge_geometry(system, edges)[1]
    inside = distance <= cutoff
    return set(zip(edges.receiver[inside].tolist(), edges.sender[inside].tolist(), strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_same_energies_and_forces_as_a_fresh_list_along_a_walk(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    system = System.concatenate([chain(9, seed=1), chain(7, seed=2)])
    kept, fresh = (
        schnet(skin=0.2, cutoff_upper=0.6, backend=backend),
        schnet(skin=0.0, cutoff_upper=0.6, backend=backend),
    )
    for _ in range(60):
        step = 0.02 * torch.randn(system.n_atoms, 3, generator=generator, dtype=torch.float64)
        system = system.with_positions(system.positions + step)
        one, two = kept.evaluate(system), fresh.evaluate(system)
        torch.testing.assert_close(one.energy, two.energy, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(one.forces, two.forces, rtol=1e-11, atol=1e-11)
        edges = kept.verlet_list.update(system)
        assert pairs_within(system, edges, 0.6) == pairs_within(system, fresh.verlet_list.update(system), 0.6)
    assert 2 < kept.verlet_list.n_builds < 45
    assert fresh.verlet_list.n_builds >= 60


def test_two_atoms_approaching_from_both_sides() -> None:
    """Each atom moves by 0.45 skins: together they cross the skin, which half a skin each still covers."""
    positions = torch.tensor([[0.0, 0.0, 0.0], [0.69, 0.0, 0.0]], dtype=torch.float64)
    system = System.single(positions, torch.tensor([1, 1]))
    verlet = VerletList(0.6, skin=0.1, backend=BACKEND)
    assert verlet.update(system).n_edges == 2
    move = torch.tensor([[0.045, 0.0, 0.0], [-0.045, 0.0, 0.0]], dtype=torch.float64)
    moved = system.with_positions(positions + move)
    assert pairs_within(moved, verlet.update(moved), 0.61) == {(0, 1), (1, 0)}
    assert verlet.n_builds == 1


@pytest.mark.parametrize(("distance", "builds"), [(0.0499, 1), (0.0501, 2)])
def test_rebuilt_when_one_atom_moved_by_more_than_half_the_skin(distance: float, builds: int) -> None:
    system = chain()
    verlet = VerletList(0.6, skin=0.1, backend=BACKEND)
    verlet.update(system)
    positions = system.positions.clone()
    positions[3] += distance * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    verlet.update(system.with_positions(positions))
    assert verlet.n_builds == builds


def test_slow_drift_is_measured_from_the_build() -> None:
    system = chain()
    verlet = VerletList(0.6, skin=0.1, backend=BACKEND)
    for step in range(11):
        verlet.update(system.with_positions(system.positions + 0.006 * step))
    # One step moves an atom by 0.0104 nm, so every fifth step crosses 0.05 nm.
    assert verlet.n_builds == 3


def test_rebuilt_when_batch_or_cell_change() -> None:
    system = chain()
    verlet = VerletList(0.6, skin=0.5, backend=BACKEND)
    verlet.update(system)
    verlet.update(dataclasses.replace(system, batch=system.batch.clone(), cell=system.cell.clone()))
    assert verlet.n_builds == 1
    boxed = dataclasses.replace(system, cell=2.0 * torch.eye(3, dtype=torch.float64)[None], pbc=~system.pbc)
    open_edges, boxed_edges = verlet.update(system).n_edges, verlet.update(boxed).n_edges
    assert verlet.n_builds == 2
    assert boxed_edges > open_edges
    boxed.cell.mul_(1.001)
    verlet.update(boxed)
    assert verlet.n_builds == 3
    split = dataclasses.replace(
        system,
        batch=(torch.arange(7) > 2).long(),
        ptr=torch.tensor([0, 3, 7]),
        cell=system.cell.repeat(2, 1, 1),
        pbc=system.pbc.repeat(2, 1),
    )
    assert verlet.update(split).n_edges < open_edges
    assert verlet.update(chain(8)).n_atoms == 8


def test_rebuilt_in_another_dtype() -> None:
    system = chain()
    verlet = VerletList(0.6, skin=0.5, backend=BACKEND)
    verlet.update(system)
    verlet.update(system.to(dtype=torch.float32))
    assert verlet.n_builds == 2
    assert verlet.reference_positions is not None
    assert verlet.reference_positions.dtype == torch.float32


def test_restored_list_continues_bitwise() -> None:
    generator = torch.Generator().manual_seed(3)
    system = chain(9, dtype=torch.float32)
    potential = SumPotential(
        {"SchNet": schnet(dtype=torch.float32, skin=0.3), "bonds": prior("bonds", dtype=torch.float32)}
    )
    walk = 0.02 * torch.randn(8, 9, 3, generator=generator)
    for step in walk[:4]:
        system = system.with_positions(system.positions + step)
        potential.evaluate(system)
    state = {name: tensor.clone() for name, tensor in potential.list_state().items()}
    assert set(state) == {"SchNet/SchNet"}
    resumed = SumPotential(
        {"SchNet": schnet(dtype=torch.float32, skin=0.3), "bonds": prior("bonds", dtype=torch.float32)}
    )
    resumed.restore_lists(system, state)
    for step in walk[4:]:
        system = system.with_positions(system.positions + step)
        one, two = potential.evaluate(system), resumed.evaluate(system)
        assert torch.equal(one.energy, two.energy)
        assert torch.equal(one.forces, two.forces)
    first, second = (p.potentials["SchNet"].verlet_list.reference_positions for p in (potential, resumed))
    assert torch.equal(first, second)
    resumed.restore_lists(system, {})
    assert resumed.list_state() == {}


def test_not_finite_positions_are_found_in_a_kept_list() -> None:
    system = chain()
    verlet = VerletList(0.6, skin=0.5, backend=BACKEND)
    verlet.update(system)
    positions = system.positions.clone()
    positions[4, 1] = float("nan")
    with pytest.raises(ValueError, match=r"`positions` of atom 4"):
        verlet.update(system.with_positions(positions))


def test_skin_is_checked() -> None:
    with pytest.raises(ValueError, match=r"`skin`: expected a length of at least 0 nm, got -0.1"):
        VerletList(1.0, skin=-0.1)


def test_lists_do_not_follow_the_caller_s_buffer() -> None:
    """A step in place must not move the reference along."""
    system = chain()
    verlet = VerletList(0.6, skin=0.1, backend=BACKEND)
    verlet.update(system)
    system.positions.add_(1.0)
    verlet.update(system)
    assert verlet.n_builds == 2


def test_refused_input_leaves_no_list_of_other_positions() -> None:
    """The box comes back after a search that refused it: the list must be that of the present positions."""
    system = dataclasses.replace(chain(), cell=3.0 * torch.eye(3, dtype=torch.float64)[None], pbc=torch.ones(1, 3) > 0)
    verlet, fresh = VerletList(0.6, skin=0.1, backend=BACKEND), VerletList(0.6, skin=0.1, backend=BACKEND)
    verlet.update(system)
    stretched = system.with_positions(1.7 * system.positions)
    with pytest.raises(ValueError, match="`cell` of system 0: expected independent lattice vectors"):
        verlet.update(dataclasses.replace(stretched, cell=torch.zeros(1, 3, 3, dtype=torch.float64)))
    assert verlet.reference_positions is None
    assert torch.equal(verlet.update(stretched).sender, fresh.update(stretched).sender)
    assert verlet.n_builds == 2
