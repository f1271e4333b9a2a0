"""Energies and forces in OpenMM are those of the model, in every kind of box, for all particles or some of them."""

from __future__ import annotations

import numpy as np
import openmm
import openmm.app
import pytest
import torch

from flashmd.interfaces.model import LoadedModel, open_model
from flashmd.interfaces.openmm import coarse_grain, create_force, create_system
from flashmd.system import System

from .build import (
    ACROSS,
    BACKENDS,
    ELEMENTS,
    NATIVE,
    TRICLINIC,
    context_of,
    evaluated,
    network,
    particles_with,
    positions_of,
    symbols_of,
    topology_of,
)

# The model computes in double precision. OpenCL hands over positions and takes forces in single precision.
SMALLER_THAN_THE_CUTOFF = np.diag([0.45, 0.42, 0.48]).tolist()
PRECISION = {"Reference": 1e-12, "CPU": 1e-6, "OpenCL": 1e-5}


def direct(
    model: LoadedModel, symbols: list[str], positions: np.ndarray, box: object = None
) -> tuple[float, np.ndarray]:
    """Energy and forces without OpenMM."""
    cell = None if box is None else torch.tensor(box, dtype=torch.float64)
    types = torch.tensor([ELEMENTS[symbol] for symbol in symbols])
    result = model.evaluate(System.single(torch.tensor(positions), types, cell=cell, pbc=box is not None))
    return float(result.energy), result.forces.numpy()


def assert_close(got: tuple[float, np.ndarray], expected: tuple[float, np.ndarray], platform: str) -> None:
    scale = np.abs(expected[1]).max()
    assert scale > 1.0, "the test needs forces"
    assert abs(got[0] - expected[0]) <= PRECISION[platform] * max(abs(expected[0]), scale)
    np.testing.assert_allclose(got[1], expected[1], rtol=0, atol=PRECISION[platform] * scale)


def assert_gradient(context: openmm.Context, positions: np.ndarray, platform: str) -> None:
    """The energy changes along random directions as the forces say."""
    forces = evaluated(context)[1]
    step, tolerance = (1e-4, 1e-5) if platform == "Reference" else (2e-3, 1e-2)
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=positions.shape)
        direction /= np.linalg.norm(direction)
        energies = []
        for sign in (1.0, -1.0):
            context.setPositions(positions + sign * step * direction)
            energies.append(context.getState(energy=True).getPotentialEnergy()._value)
        slope = (energies[0] - energies[1]) / (2 * step)
        assert slope == pytest.approx(-(forces * direction).sum(), abs=tolerance * np.linalg.norm(forces))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("box", [None, TRICLINIC, np.diag([0.9, 1.0, 1.1]).tolist(), SMALLER_THAN_THE_CUTOFF])
def test_atoms(organic: LoadedModel, platform: str, backend: str, box: object) -> None:
    n_atoms = 8 if box is SMALLER_THAN_THE_CUTOFF else 27
    symbols, positions = symbols_of(n_atoms), positions_of(n_atoms)
    system = create_system(topology_of(symbols, box), organic, backend=backend)
    context = context_of(system, positions, platform=platform)
    assert_close(evaluated(context), direct(organic, symbols, positions, box), platform)
    assert_gradient(context, positions, platform)


@pytest.mark.parametrize("backend", BACKENDS)
def test_beads(chignolin: LoadedModel, platform: str, backend: str) -> None:
    topology, positions = coarse_grain(NATIVE)
    context = context_of(create_system(topology, chignolin, backend=backend), positions, platform=platform)
    assert_gradient(context, positions._value, platform)
    # A file that OpenMM has read itself serves as well.
    pdb = openmm.app.PDBFile(str(NATIVE))
    again = context_of(create_system(pdb.topology, chignolin, backend=backend), positions, platform=platform)
    context.setPositions(positions)
    assert evaluated(again)[0] == evaluated(context)[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_python_and_native_agree_bit_for_bit(dtype: str) -> None:
    model = open_model(network(), dtype=dtype)
    symbols, positions = symbols_of(27), positions_of(27, spacing=ACROSS)
    results = []
    for backend in BACKENDS:
        system = create_system(topology_of(symbols, TRICLINIC), model, backend=backend)
        results.append(evaluated(context_of(system, positions)))
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_do_not_matter(organic: LoadedModel, platform: str, backend: str) -> None:
    """Positions far outside the box, and particles of one molecule in different images."""
    symbols, positions = symbols_of(27), positions_of(27, spacing=ACROSS)
    system = create_system(topology_of(symbols, TRICLINIC), organic, backend=backend)
    context = context_of(system, positions, platform=platform)
    expected = evaluated(context)
    shifts = np.random.default_rng(0).integers(-3, 4, (27, 3)) @ np.array(TRICLINIC)
    context.setPositions(positions + shifts)
    tolerance = 1e-10 if platform == "Reference" else 1e-5
    scale = np.abs(expected[1]).max()
    np.testing.assert_allclose(evaluated(context)[1], expected[1], rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("box", [None, TRICLINIC])
@pytest.mark.parametrize("particles", [[5, 0, 2, 8], [0, 1, 2, 3, 4, 5]])
def test_some_particles_in_any_order(
    organic: LoadedModel, platform: str, backend: str, box: object, particles: list[int]
) -> None:
    symbols, positions = symbols_of(10), positions_of(10, spacing=ACROSS)
    force = create_force(organic, topology_of(symbols, box), particles=particles, backend=backend)
    system = particles_with(force, 10)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
    energy, forces = evaluated(context_of(system, positions, platform=platform))
    chosen = [symbols[i] for i in particles]
    assert_close((energy, forces[particles]), direct(organic, chosen, positions[particles], box), platform)
    if box is not None:
        assert energy != pytest.approx(direct(organic, chosen, positions[particles])[0], rel=1e-3)
    assert not np.delete(forces, particles, axis=0).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_open_force_in_a_periodic_system(organic: LoadedModel, platform: str, backend: str) -> None:
    """A molecule that leaves the box stays whole for a force that does not know the box."""
    symbols, positions = symbols_of(10), positions_of(10)
    particles = [7, 0, 3, 4]
    topology = topology_of(symbols, TRICLINIC)
    force = create_force(organic, topology, particles=particles, periodic=False, force_group=4, backend=backend)
    assert not force.usesPeriodicBoundaryConditions()
    system = particles_with(force, 10)
    system.setDefaultPeriodicBoxVectors(*TRICLINIC)
    # Another periodic force lets GPU platforms wrap positions.
    other = openmm.NonbondedForce()
    other.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    other.setCutoffDistance(0.5)
    for _ in range(10):
        other.addParticle(0.0, 1.0, 0.0)
    system.addForce(other)
    # GPU platforms wrap from time to time; meanwhile the molecule drifts on over the edges of the box.
    context = context_of(system, positions + np.array([0.9, 0.8, 0.7]), platform=platform)
    context.setVelocities(np.full((10, 3), 50.0))
    context.getIntegrator().setStepSize(1e-5)
    context.getIntegrator().step(300)
    state = context.getState(positions=True, energy=True, forces=True, groups={4})
    here = state.getPositions(asNumpy=True)._value
    expected = direct(organic, [symbols[i] for i in particles], here[particles])
    tolerance = 1e-10 if platform == "Reference" else 1e-4
    scale = np.abs(expected[1]).max()
    assert state.getPotentialEnergy()._value == pytest.approx(expected[0], abs=tolerance * scale)
    np.testing.assert_allclose(
        state.getForces(asNumpy=True)._value[particles], expected[1], rtol=0, atol=tolerance * scale
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_box_that_changes(organic: LoadedModel, backend: str) -> None:
    symbols, positions = symbols_of(27), positions_of(27, spacing=ACROSS)
    context = context_of(create_system(topology_of(symbols, TRICLINIC), organic, backend=backend), positions)
    first = evaluated(context)
    larger = 1.1 * np.array(TRICLINIC)
    context.setPeriodicBoxVectors(*larger)
    assert evaluated(context)[0] != pytest.approx(first[0], rel=1e-4)
    assert_close(evaluated(context), direct(organic, symbols, positions, larger), "Reference")
    context.setPeriodicBoxVectors(*TRICLINIC)
    assert evaluated(context)[0] == first[0]


def test_a_system_in_place_of_a_topology(organic: LoadedModel) -> None:
    symbols, positions = symbols_of(8), positions_of(8)
    types = torch.tensor([ELEMENTS[symbol] for symbol in symbols])
    given = System.single(torch.zeros(8, 3), types, masses=torch.full((8,), 2.5))
    system = create_system(given, organic, backend="python")
    assert system.getParticleMass(7)._value == 2.5
    assert_close(evaluated(context_of(system, positions)), direct(organic, symbols, positions), "Reference")
    boxed = System.single(torch.zeros(8, 3), types, cell=torch.tensor(TRICLINIC), pbc=True)
    periodic = create_system(boxed, organic, backend="python")
    assert periodic.usesPeriodicBoundaryConditions()
    expected = direct(organic, symbols, positions, TRICLINIC)
    assert evaluated(context_of(periodic, positions))[0] == pytest.approx(expected[0], abs=1e-3)


def test_masses_and_motion_of_the_centre(organic: LoadedModel, chignolin: LoadedModel) -> None:
    water = create_system(topology_of(["O", "H", "H"]), organic)
    assert [round(water.getParticleMass(i)._value, 3) for i in range(3)] == [15.999, 1.008, 1.008]
    assert [type(force) for force in water.getForces()][1:] == [openmm.CMMotionRemover]
    assert create_system(topology_of(["O"]), organic, remove_cm_motion=False).getNumForces() == 1
    # Elements of a C-alpha trace are carbon; beads weigh as much as residues.
    pdb = openmm.app.PDBFile(str(NATIVE))
    assert create_system(pdb.topology, chignolin).getParticleMass(0)._value == pytest.approx(163.176)


def test_masses_do_not_depend_on_the_precision_of_the_model() -> None:
    pdb = openmm.app.PDBFile(str(NATIVE))
    single, double = (create_system(pdb.topology, "chignolin-ca", dtype=dtype) for dtype in ("float32", "float64"))
    assert single.getParticleMass(1) == double.getParticleMass(1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_group_and_name(organic: LoadedModel, backend: str) -> None:
    force = create_force(organic, topology_of(["O", "H"]), force_group=3, periodic=True, backend=backend)
    assert (force.getForceGroup(), force.getName()) == (3, "FlashMDForce")
    assert force.usesPeriodicBoundaryConditions()


def test_auto_takes_the_plugin_where_it_can(organic: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = topology_of(["O", "H"])
    assert type(create_force(organic, topology)) is openmm.Force
    exact = open_model(network(), backend="kernel")
    assert type(create_force(exact, topology)) is openmm.PythonForce
    monkeypatch.setattr("flashmd.interfaces.openmm.native.PLUGIN", NATIVE.with_name("absent.so"))
    from flashmd.interfaces.openmm import native

    native.load_plugin.cache_clear()
    assert type(create_force(organic, topology)) is openmm.PythonForce
    native.load_plugin.cache_clear()


def test_the_plugin_takes_as_many_threads_as_torch(organic: LoadedModel) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        system = create_system(topology_of(["O", "H"]), organic, backend="native")
    finally:
        torch.set_num_threads(threads)
    assert 'numThreads="2"' in openmm.XmlSerializer.serialize(system)


@pytest.mark.parametrize("evaluation", ["kernel", "reference"])
def test_exact_networks(organic: LoadedModel, evaluation: str) -> None:
    """A model that was opened otherwise is taken as it is."""
    exact = open_model(network(), dtype="float64", backend=evaluation)
    symbols, positions = symbols_of(12), positions_of(12)
    energy, forces = evaluated(context_of(create_system(topology_of(symbols), exact), positions))
    expected = direct(organic, symbols, positions)
    assert energy == pytest.approx(expected[0], rel=1e-5)
    assert np.linalg.norm(forces - expected[1]) < 1e-5 * np.linalg.norm(expected[1])
