"""Invariances, conservation, smoothness and batching of potentials."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from flashmd.potential import Potential, SumPotential
from flashmd.system import System
from tests.potential.build import BACKENDS, chain, every_prior, lists, rotation, schnet

TIGHT = {"rtol": 1e-11, "atol": 1e-11}


def everything(backend: str = BACKENDS[-1]) -> Potential:
    return SumPotential({"SchNet": schnet(backend=backend), **every_prior(backend=backend)})


def test_rotation_and_translation() -> None:
    potential, system = everything(), chain()
    turn = rotation()
    moved = system.with_positions(system.positions @ turn + torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64))
    before, after = potential.evaluate(system), potential.evaluate(moved)
    torch.testing.assert_close(after.energy, before.energy, **TIGHT)
    torch.testing.assert_close(after.forces, before.forces @ turn, rtol=1e-9, atol=1e-9)


def test_mirror_image_changes_only_torsions() -> None:
    system = chain()
    mirrored = system.with_positions(system.positions * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    potential = everything()
    before, after = potential.terms(system), potential.terms(mirrored)
    for name in before:
        same = torch.allclose(before[name], after[name], rtol=1e-10)
        assert same == (name not in {"impropers", "shifted_impropers", "dihedrals", "short_dihedrals"}), name


def test_permutation() -> None:
    potential, system = everything(), chain()
    order = torch.randperm(system.n_atoms, generator=torch.Generator().manual_seed(0))
    place = torch.argsort(order)
    shuffled = System.single(
        system.positions[order],
        system.types[order],
        interactions={name: place[index] for name, index in system.interactions.items()},
    )
    before, after = potential.evaluate(system), potential.evaluate(shuffled)
    torch.testing.assert_close(after.energy, before.energy, **TIGHT)
    torch.testing.assert_close(after.forces, before.forces[order], rtol=1e-9, atol=1e-9)


def test_no_net_force_and_no_torque() -> None:
    system = chain(9, seed=5)
    forces = everything().evaluate(system).forces
    scale = float(forces.abs().max())
    assert float(forces.sum(0).abs().max()) < 1e-12 * scale
    assert float(torch.linalg.cross(system.positions, forces).sum(0).abs().max()) < 1e-11 * scale


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_equals_loop_over_different_molecules(backend: str) -> None:
    potential = everything(backend)
    systems = [chain(7), chain(4, seed=1), chain(9, seed=2), chain(7, seed=3)]
    batch = System.concatenate(systems)
    together = potential.evaluate(batch, virial=True)
    terms = potential.terms(batch)
    assert together.virial is not None
    for index, single in enumerate(systems):
        alone = potential.evaluate(single, virial=True)
        assert alone.virial is not None
        torch.testing.assert_close(together.energy[index], alone.energy[0], **TIGHT)
        torch.testing.assert_close(together.forces[batch.batch == index], alone.forces, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(together.virial[index], alone.virial[0], rtol=1e-9, atol=1e-9)
        for name, energy in potential.terms(single).items():
            torch.testing.assert_close(terms[name][index], energy[0], **TIGHT)


def test_float32_follows_float64() -> None:
    double = everything()
    single = SumPotential({"SchNet": schnet(dtype=torch.float32), **every_prior(dtype=torch.float32)})
    system = chain()
    exact, rounded = double.evaluate(system), single.evaluate(system.to(dtype=torch.float32))
    assert rounded.energy.dtype == torch.float64
    assert rounded.forces.dtype == torch.float32
    scale = float(exact.forces.abs().max())
    # Coordinates of 1 nm rounded to 24 bits, amplified by the stiffest terms.
    assert float((rounded.forces.double() - exact.forces).abs().max()) < 1e-4 * scale
    assert float((rounded.energy - exact.energy).abs()) < 1e-4 * abs(float(exact.energy))


@pytest.mark.parametrize("backend", BACKENDS)
def test_isolated_bead_has_the_energy_of_its_type(backend: str) -> None:
    potential = schnet(backend=backend)
    positions = torch.tensor([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]], dtype=torch.float64)
    apart = System.single(positions, torch.tensor([1, 2]))
    result = potential.evaluate(apart)
    assert torch.equal(result.forces, torch.zeros(2, 3, dtype=torch.float64))
    alone = [potential.energy(System.single(positions[:1], torch.tensor([kind]))) for kind in (1, 2)]
    torch.testing.assert_close(result.energy, alone[0] + alone[1], **TIGHT)


@pytest.mark.parametrize("basis", ["expnormal", "gaussian"])
def test_energy_and_force_are_continuous_at_the_cutoff(basis: str) -> None:
    """Across the cutoff the energy changes by less than the square of the distance to it, the force linearly."""
    potential = schnet(basis=basis, basis_envelope="identity", cutoff_upper=0.7)

    def at(distance: float) -> tuple[float, float]:
        positions = torch.tensor([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]], dtype=torch.float64)
        result = potential.evaluate(System.single(positions, torch.tensor([1, 2])))
        return float(result.energy), float(result.forces[0, 0])

    beyond = at(0.7 + 1e-6)
    assert beyond[1] == 0.0
    slopes = []
    for gap in (1e-3, 1e-4, 1e-5):
        energy, force = at(0.7 - gap)
        assert abs(energy - beyond[0]) < 50.0 * gap**2
        slopes.append(abs(force) / gap)
    assert slopes[0] > 1e-3
    assert slopes[2] == pytest.approx(slopes[1], rel=2e-2)


def test_periodic_cell_equals_its_supercell() -> None:
    system = chain(6, seed=2)
    cell = torch.tensor([[1.1, 0.0, 0.0], [0.2, 1.0, 0.0], [-0.1, 0.3, 1.2]], dtype=torch.float64)
    flags = torch.ones(1, 3, dtype=torch.bool)
    unit = dataclasses.replace(system, cell=cell[None], pbc=flags)
    repeats = torch.tensor([2.0, 1.0, 2.0], dtype=torch.float64)
    copies, index = [], []
    for copy, shift in enumerate(torch.cartesian_prod(torch.arange(2.0), torch.arange(1.0), torch.arange(2.0))):
        copies.append(system.positions + shift.double() @ cell)
        index.append(copy * system.n_atoms)
    large = System.single(
        torch.cat(copies),
        system.types.repeat(4),
        cell=cell * repeats[:, None],
        pbc=True,
        interactions={k: torch.cat([v + offset for offset in index]) for k, v in lists(6).items()},
    )
    potential = SumPotential({"SchNet": schnet(), **every_prior()})
    small_result, large_result = potential.evaluate(unit, virial=True), potential.evaluate(large, virial=True)
    network = potential.potentials["SchNet"]
    torch.testing.assert_close(4.0 * network.energy(unit), network.energy(large), rtol=1e-11, atol=1e-10)
    assert small_result.virial is not None
    assert large_result.virial is not None
    small_net, large_net = network.evaluate(unit, virial=True), network.evaluate(large, virial=True)
    torch.testing.assert_close(4.0 * small_net.virial, large_net.virial, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(small_net.forces.repeat(4, 1), large_net.forces, rtol=1e-9, atol=1e-9)


def test_images_of_an_atom_with_itself_count_once() -> None:
    """Within a cutoff beyond the cell, pairs of an atom and its image become pairs of two atoms in a supercell."""
    cell = torch.tensor([[1.0, 0.0, 0.0], [0.2, 1.1, 0.0], [-0.1, 0.3, 1.2]], dtype=torch.float64)
    positions, types = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.6, 0.4]], dtype=torch.float64), torch.tensor([1, 2])
    unit = System.single(positions, types, cell=cell, pbc=True)
    shifts = torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 3) @ cell
    copies = (positions[None] + shifts[:, None]).reshape(-1, 3)
    large = System.single(copies, types.repeat(27), cell=3.0 * cell, pbc=True)
    network = schnet(cutoff_upper=1.3)
    small_result, large_result = network.evaluate(unit, virial=True), network.evaluate(large, virial=True)
    torch.testing.assert_close(27.0 * small_result.energy, large_result.energy, rtol=1e-11, atol=1e-10)
    torch.testing.assert_close(small_result.forces.repeat(27, 1), large_result.forces, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(27.0 * small_result.virial, large_result.virial, rtol=1e-9, atol=1e-9)
    alone = System.single(positions[:1], types[:1], cell=cell, pbc=True)
    far = System.single(positions[:1], types[:1])
    assert abs(float((network.energy(alone) - network.energy(far)).detach())) > 1e-3, "no image is in range"


def test_bonded_terms_reach_through_the_box() -> None:
    """Wrapping every atom into the cell must not change bonded energies, forces and virials."""
    system = chain(6, seed=2)
    cell = torch.tensor([[2.4, 0.0, 0.0], [0.3, 2.5, 0.0], [-0.2, 0.4, 2.6]], dtype=torch.float64)
    fractional = system.positions @ torch.linalg.inv(cell)
    wrapped = (fractional - fractional.floor()) @ cell
    assert float((wrapped - system.positions).abs().max()) > 1.0
    names = ("bonds", "angles", "angles_raw", "dihedrals", "restricted")
    potential = SumPotential({name: every_prior()[name] for name in names})
    box = System.single(wrapped, system.types, cell=cell, pbc=True, interactions=system.interactions)
    open_result, box_result = potential.evaluate(system, virial=True), potential.evaluate(box, virial=True)
    torch.testing.assert_close(box_result.energy, open_result.energy, **TIGHT)
    torch.testing.assert_close(box_result.forces, open_result.forces, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(box_result.virial, open_result.virial, rtol=1e-9, atol=1e-9)
    automatic = Potential.evaluate(potential.potentials["dihedrals"], box, virial=True)
    closed = potential.potentials["dihedrals"].evaluate(box, virial=True)
    torch.testing.assert_close(closed.virial, automatic.virial, rtol=1e-9, atol=1e-9)


def test_two_evaluations_are_bitwise_equal() -> None:
    potential, system = everything(), chain()
    first, second = potential.evaluate(system, virial=True), potential.evaluate(system, virial=True)
    assert torch.equal(first.energy, second.energy)
    assert torch.equal(first.forces, second.forces)
