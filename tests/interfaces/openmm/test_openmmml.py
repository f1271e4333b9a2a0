"""`MLPotential("flashmd", ...)`: whole systems, parts of a system, and an entry point that costs nothing."""

from __future__ import annotations

import itertools
import subprocess
import sys
from importlib.metadata import distributions

import numpy as np
import openmm
import openmm.app
import pytest
from openmm import unit

from flashmd.interfaces.model import LoadedModel
from flashmd.interfaces.openmm import coarse_grain, create_system
from flashmd.interfaces.openmmml_plugin import FlashMDPotentialFactory

from .build import ACROSS, NATIVE, ROOT, TRICLINIC, context_of, evaluated, positions_of, symbols_of, topology_of

openmmml = pytest.importorskip("openmmml")


@pytest.fixture(autouse=True)
def registered() -> None:
    """The entry point of this checkout, whether or not it is the one that is installed."""
    openmmml.MLPotential.registerImplFactory("flashmd", FlashMDPotentialFactory())


def potential_of(model: LoadedModel, **options: object) -> openmmml.MLPotential:
    return openmmml.MLPotential("flashmd", modelPath=str(model.path), dtype="float64", **options)


def chain_with_force_field(n_atoms: int, box: object = None) -> openmm.System:
    """Bonds, angles and non-bonded terms of a chain of atoms."""
    system = openmm.System()
    bonds, angles, pairs = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.NonbondedForce()
    for i in range(n_atoms):
        system.addParticle(12.0)
        pairs.addParticle(0.1 * (-1) ** i, 0.2, 0.3)
    for i in range(n_atoms - 1):
        bonds.addBond(i, i + 1, 0.2, 5000.0)
        pairs.addException(i, i + 1, 0.0, 0.1, 0.0)
    for i in range(n_atoms - 2):
        angles.addAngle(i, i + 1, i + 2, 1.9, 50.0)
    system.addConstraint(1, 2, 0.2)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
        pairs.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        pairs.setCutoffDistance(0.5)
    for force in (bonds, angles, pairs):
        system.addForce(force)
    return system


@pytest.mark.parametrize("box", [None, TRICLINIC])
def test_whole_system_of_atoms(organic: LoadedModel, box: object) -> None:
    topology, positions = topology_of(symbols_of(12), box), positions_of(12, spacing=ACROSS)
    system = potential_of(organic).createSystem(topology)
    ours = create_system(topology, organic)
    assert [system.getParticleMass(i)._value for i in range(12)] == pytest.approx(
        [ours.getParticleMass(i)._value for i in range(12)]
    )
    assert evaluated(context_of(system, positions))[0] == evaluated(context_of(ours, positions))[0]
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    assert evaluated(context_of(again, positions))[0] == evaluated(context_of(ours, positions))[0]


def test_beads_have_masses() -> None:
    topology, positions = coarse_grain(NATIVE)
    system = openmmml.MLPotential("flashmd", modelPath="chignolin-ca").createSystem(topology)
    ours = create_system(topology, "chignolin-ca")
    assert [system.getParticleMass(i) for i in range(10)] == [ours.getParticleMass(i) for i in range(10)]
    assert evaluated(context_of(system, positions))[0] == evaluated(context_of(ours, positions))[0]


@pytest.mark.parametrize("backend", ["python", "native"])
@pytest.mark.parametrize("box", [None, TRICLINIC])
def test_mixed_system(organic: LoadedModel, backend: str, box: object) -> None:
    """Four of nine atoms: their own force field is replaced, the rest of it stays."""
    topology, positions = topology_of(symbols_of(9), box), positions_of(9, spacing=0.25)
    atoms = [4, 5, 6, 7]
    field = chain_with_force_field(9, box)
    potential = potential_of(organic)
    mixed = potential.createMixedSystem(topology, field, atoms, forceGroup=2, backend=backend)
    context = context_of(mixed, positions)
    alone = topology_of([symbols_of(9)[i] for i in atoms], box)
    expected = evaluated(context_of(create_system(alone, organic), positions[atoms]))
    energy, forces = evaluated(context, groups={2})
    assert energy == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(forces[atoms], expected[1], atol=1e-9)
    assert mixed.getParticleMass(4)._value == 12.0
    assert mixed.getNumConstraints() == 1


def test_a_periodic_system_of_a_topology_without_a_box(organic: LoadedModel) -> None:
    """The model sees images where the force field does."""
    positions = positions_of(27, spacing=ACROSS)
    field, atoms = chain_with_force_field(27, TRICLINIC), list(range(27))
    mixed = potential_of(organic).createMixedSystem(topology_of(symbols_of(27)), field, atoms, forceGroup=2)
    boxed = create_system(topology_of(symbols_of(27), TRICLINIC), organic)
    open_ = create_system(topology_of(symbols_of(27)), organic)
    expected, alone = (evaluated(context_of(system, positions))[0] for system in (boxed, open_))
    assert evaluated(context_of(mixed, positions), {2})[0] == pytest.approx(expected, rel=1e-12)
    assert alone != pytest.approx(expected, rel=1e-4)


def test_interpolation(organic: LoadedModel) -> None:
    topology, positions = topology_of(symbols_of(9)), positions_of(9, spacing=0.25)
    field, potential, atoms = chain_with_force_field(9), potential_of(organic), [0, 1, 2, 3, 4, 5, 6, 7, 8]
    mixed = potential.createMixedSystem(topology, field, atoms, interpolate=True)
    context = context_of(mixed, positions)
    energies = []
    for weight in (0.0, 0.5, 1.0):
        context.setParameter("lambda_interpolate", weight)
        energies.append(evaluated(context)[0])
    assert energies[0] == pytest.approx(evaluated(context_of(field, positions))[0], rel=1e-9)
    assert energies[2] == pytest.approx(evaluated(context_of(create_system(topology, organic), positions))[0], rel=1e-9)
    assert energies[1] == pytest.approx(0.5 * (energies[0] + energies[2]), rel=1e-9)


def test_options_of_the_potential(organic: LoadedModel) -> None:
    topology = topology_of(symbols_of(4), TRICLINIC)
    system = potential_of(organic, backend="python", periodic=False).createSystem(topology)
    assert isinstance(system.getForce(0), openmm.PythonForce)
    assert not system.usesPeriodicBoundaryConditions()
    with pytest.raises(TypeError, match="options: expected some of device, dtype, backend, periodic, got `devise`"):
        potential_of(organic, devise="cuda")
    with pytest.raises(TypeError, match="options: expected some of device, dtype, backend, periodic, got `devise`"):
        potential_of(organic).createSystem(topology, devise="cuda")
    with pytest.raises(ValueError, match="`modelPath`: expected a model file or the name of a shipped model, got None"):
        openmmml.MLPotential("flashmd")
    assert potential_of(organic)._impl.getMLLongRange() is False


def test_the_entry_point_is_installed() -> None:
    installed = [point for each in distributions(name="flashmd-cg") for point in each.entry_points]
    found = {point.value for point in installed if (point.group, point.name) == ("openmmml.potentials", "flashmd")}
    assert found == {"flashmd.interfaces.openmmml_plugin:FlashMDPotentialFactory"}


def test_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "from flashmd.interfaces.openmmml_plugin import FlashMDPotentialFactory\n"
        "assert 'openmmml' not in sys.modules\n"
        "import openmmml\n"
        "openmmml.MLPotential.registerImplFactory('flashmd', FlashMDPotentialFactory())\n"
        "assert 'mdtraj' not in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-2000:]


def test_a_part_of_a_molecule_is_capped(organic: LoadedModel) -> None:
    """Where a bond is cut, OpenMM-ML adds a hydrogen as a virtual site; the model sees it."""
    topology = topology_of(["C", "C", "C", "C"])
    atoms = list(topology.atoms())
    for first, second in itertools.pairwise(atoms):
        topology.addBond(first, second)
    positions = positions_of(4, spacing=0.2) * unit.nanometer
    field = chain_with_force_field(4)
    info = potential_of(organic).createMixedSystem(topology, field, [0, 1], forceGroup=1, returnInfo=True)
    assert info["topology"].getNumAtoms() == 5
    full = np.vstack([positions._value, np.zeros((1, 3))])
    context = context_of(info["system"], full)
    context.computeVirtualSites()
    energy, forces = evaluated(context, groups={1})
    here = context.getState(positions=True).getPositions(asNumpy=True)._value
    expected = evaluated(context_of(create_system(topology_of(["C", "C", "H"]), organic), here[[0, 1, 4]]))
    assert energy == pytest.approx(expected[0], rel=1e-9)
    assert np.abs(forces).max() > 1.0
