"""Hydrogens, single points, minimisation and short dynamics of structures in OpenMM."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.force_fields import EnergyWorkers, Molecule, add_hydrogens, md_check, minimize, single_points
from flashmd.backmap.force_fields.lennard_jones import TABLE_FORCE, merge_lennard_jones
from flashmd.backmap.force_fields.molecule import FILES, context_of, parsed, topology_of
from tests.backmap.peptides import peptide

openmm = pytest.importorskip("openmm", reason="OpenMM is not installed")
KILOJOULE = openmm.unit.kilojoule_per_mole
SINGLE = 1e-4
"""Relative rounding of OpenMM's CPU platform, float32 in forces and sums over thousands of pairs."""


@pytest.fixture(scope="module")
def molecule() -> Molecule:
    """A short helix without rings, the first of it not glycine."""
    return Molecule.of(peptide("SAVKEMTN")[0])


@pytest.fixture(scope="module")
def heavy() -> Tensor:
    return peptide("SAVKEMTN")[1][None]


@pytest.fixture(scope="module")
def relaxed(molecule: Molecule, heavy: Tensor) -> Tensor:
    """All atoms, near a minimum of CHARMM36."""
    result = minimize(molecule, add_hydrogens(molecule, heavy).positions, "charmm36", iterations=300)
    assert result.reasons == ("",)
    return result.positions


def overlapping(positions: Tensor) -> Tensor:
    """The same with one carbon exactly on top of a far one."""
    broken = positions.clone()
    broken[:, -1, 4] = broken[:, 0, 4]
    return broken


def test_hydrogens_leave_heavy_atoms_where_they_are(molecule: Molecule, heavy: Tensor) -> None:
    found = add_hydrogens(molecule, heavy)
    atoms = molecule.atoms
    assert found.reasons == ("",)
    assert torch.equal(found.positions[:, atoms.heavy], atoms.chains.flatten(heavy))
    assert torch.equal(molecule.heavy_part(found.positions), heavy)
    lengths = (found.positions - found.positions[:, atoms.parent]).norm(dim=-1)[0, molecule.hydrogens]
    assert (lengths > 0.09).all()
    assert (lengths < 0.14).all()


def test_hydrogens_are_at_a_minimum(molecule: Molecule, heavy: Tensor) -> None:
    """Forces on hydrogens are below the tolerance, those on heavy atoms are not."""
    found = add_hydrogens(molecule, heavy)
    context = context_of(molecule.system("amber14"))
    context.setPositions(found.positions[0].numpy())
    force = context.getState(forces=True).getForces(asNumpy=True)._value
    hydrogens = molecule.hydrogens.numpy()
    assert np.sqrt((force[hydrogens] ** 2).mean()) < 10.0
    assert np.sqrt((force[~hydrogens] ** 2).mean()) > 100.0


def test_oxt_lies_in_the_plane_of_the_carboxylate(molecule: Molecule, heavy: Tensor) -> None:
    positions = add_hydrogens(molecule, heavy).positions[0]
    last = {name: positions[i] for i, name in enumerate(molecule.atoms.names) if molecule.atoms.residue[i] == 7}
    arms = [last[name] - last["C"] for name in ("CA", "O", "OXT")]
    normal = torch.linalg.cross(arms[0], arms[1])
    assert abs(torch.dot(normal / normal.norm(), arms[2])) < 1e-6
    cosine = torch.nn.functional.cosine_similarity(arms[1], arms[2], dim=0)
    assert 110.0 < torch.rad2deg(torch.arccos(cosine)) < 130.0


def test_single_points_are_those_of_the_workers(molecule: Molecule, heavy: Tensor) -> None:
    positions = add_hydrogens(molecule, heavy).positions
    for force_field in ("amber14-gbn2", "charmm36"):
        found = single_points(molecule, positions, force_field)
        with EnergyWorkers(force_field, platform="Reference") as workers:
            expected = workers(molecule.atoms, positions)
        assert found.energy[0] == pytest.approx(expected.energy[0].item(), rel=SINGLE)
        strength = expected.gradient[0, molecule.atoms.heavy].norm(dim=-1).max()
        assert found.largest_force[0] == pytest.approx(strength.item(), rel=SINGLE)
        assert found.per_residue[0] == found.energy[0] / 8
        assert (found.n_failed, found.reasons) == (0, ("",))


def test_the_worst_atom_is_named(molecule: Molecule, heavy: Tensor) -> None:
    broken = heavy.clone()
    broken[0, 5, 7] += torch.tensor([0.05, 0.05, 0.0])
    found = single_points(molecule, add_hydrogens(molecule, broken).positions)
    assert found.worst[0] in {"A:MET6 SD", "A:MET6 CE", "A:MET6 CG"}


def test_failures_are_counted_and_named(molecule: Molecule, heavy: Tensor) -> None:
    both = torch.cat([heavy, overlapping(heavy)])
    placed = add_hydrogens(molecule, both)
    assert placed.reasons[0] == ""
    assert "NaN" in add_hydrogens(molecule, torch.full_like(heavy, torch.nan)).reasons[0]
    found = single_points(molecule, placed.positions)
    assert found.reasons == ("", "no finite energy")
    assert (found.n_failed, found.worst[1]) == (1, "")
    assert torch.isnan(found.energy).tolist() == [False, True]
    result = minimize(molecule, placed.positions, iterations=5)
    assert (result.reasons[0], result.reasons[1] != "") == ("", True)
    assert torch.equal(result.positions[1], placed.positions[1])
    check = md_check(molecule, placed.positions[1:], ps=0.1)
    assert check.passed == (False,)
    assert check.reasons[0].startswith(("crash within", "not a number after"))
    assert torch.isinf(check.peak).all()


def test_tables_of_charmm_become_one_fast_force(molecule: Molecule, heavy: Tensor) -> None:
    positions = add_hydrogens(molecule, heavy).positions[0].numpy()
    options = {"nonbondedMethod": openmm.app.NoCutoff}
    system = parsed("charmm36").createSystem(topology_of(molecule.atoms), **options)
    energies = []
    for merged in (False, True):
        if merged:
            assert merge_lennard_jones(system)
        platform = openmm.Platform.getPlatformByName("Reference")
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        context.setPositions(positions)
        energies.append(context.getState(energy=True).getPotentialEnergy().value_in_unit(KILOJOULE))
    assert energies[1] == pytest.approx(energies[0], rel=1e-9)
    assert TABLE_FORCE not in {force.getName() for force in system.getForces()}
    assert not merge_lennard_jones(system)


def test_pairs_with_parameters_of_their_own_stay_in_the_table(molecule: Molecule) -> None:
    options = {"nonbondedMethod": openmm.app.NoCutoff}
    system = parsed("charmm36").createSystem(topology_of(molecule.atoms), **options)
    table = next(force for force in system.getForces() if force.getName() == TABLE_FORCE)
    kinds = [int(table.getParticleParameters(atom)[0]) for atom in (0, 1)]
    function = table.getTabulatedFunction(0)
    columns, rows, values = function.getFunctionParameters()
    changed = np.array(values).reshape(rows, columns)
    changed[kinds[0], kinds[1]] *= 1.01
    function.setFunctionParameters(columns, rows, changed.ravel())
    before = system.getNumForces()
    assert kinds[0] != kinds[1]
    assert not merge_lennard_jones(system)
    assert system.getNumForces() == before


def test_minimisation_holds_ca(molecule: Molecule, heavy: Tensor) -> None:
    start = add_hydrogens(molecule, heavy).positions
    ca = [atom for atom, name in enumerate(molecule.atoms.names) if name == "CA"]
    fixed, tied = (minimize(molecule, start, iterations=40, restraint=value) for value in (None, 1000.0))
    energies = [single_points(molecule, each, "amber14").energy for each in (start, fixed.positions, tied.positions)]
    assert energies[1] < energies[0] - 50.0
    assert energies[2] < energies[0] - 50.0
    assert torch.equal(fixed.positions[:, ca], start[:, ca])
    away = (tied.positions - start)[:, ca].norm(dim=-1)
    assert 0.0 < away.max() < 0.05
    heavy_moves = (fixed.positions - start)[:, molecule.atoms.heavy].square().sum(-1).mean(-1).sqrt()
    torch.testing.assert_close(fixed.moved, heavy_moves)


def test_a_good_structure_can_be_simulated(molecule: Molecule, relaxed: Tensor) -> None:
    check = md_check(molecule, relaxed.expand(2, -1, -1), ps=0.2, seed=5)
    assert check.passed == (True, True)
    assert (check.peak > 100.0).all()
    assert (check.peak < 500.0).all()
    # Each structure has a seed of its own, so the second one alone is what it was in the pair.
    alone = md_check(molecule, relaxed, ps=0.2, seed=6)
    assert alone.peak[0] == pytest.approx(check.peak[1].item(), rel=1e-3)
    assert check.peak[0] != check.peak[1]


def test_a_hot_spot_is_a_failure(molecule: Molecule, relaxed: Tensor) -> None:
    check = md_check(molecule, relaxed, ps=0.2, temperature=900.0)
    assert check.passed == (False,)
    assert check.reasons[0].startswith("peak of ")


def test_disulfides_and_imidazoles() -> None:
    chains = Chains.from_sequence("CGHGC")
    bonded = Molecule.of(chains, imidazoles={2: "HIP"}, disulfides=[(0, 4)])
    assert bonded.atoms.forms == ("CYX", "GLY", "HIP", "GLY", "CYX")
    for force_field in FILES:
        assert bonded.system(force_field).getNumParticles() == bonded.atoms.n_atoms


def test_messages(molecule: Molecule, heavy: Tensor) -> None:
    with pytest.raises(ValueError, match=r"`positions`: expected shape \(n_frames, 8, 14, 3\), got \(8, 14, 3\)"):
        add_hydrogens(molecule, heavy[0])
    with pytest.raises(
        ValueError, match=r"`positions`: expected shape \(n_frames, \d+, 3\), got \(1, 5, 3\).*`add_hydrogens`"
    ):
        single_points(molecule, torch.zeros(1, 5, 3))
    everything = torch.zeros(1, molecule.atoms.n_atoms, 3)
    with pytest.raises(ValueError, match="`force_field`: expected one of amber14, amber14-gbn2, charmm36, got 'opls'"):
        single_points(molecule, everything, "opls")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`iterations`: expected 0 or more, got -1"):
        minimize(molecule, everything, iterations=-1)
    with pytest.raises(
        ValueError, match="`restraint`: expected a positive number, got 0. To fix it, pass None to hold CA"
    ):
        minimize(molecule, everything, restraint=0.0)
    for name, value in (("ps", 0.0), ("temperature", -1.0)):
        with pytest.raises(ValueError, match=f"`{name}`: expected a positive number, got {value:g}"):
            md_check(molecule, everything, **{name: value})
