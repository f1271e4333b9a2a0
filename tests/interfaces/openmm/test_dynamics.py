"""Dynamics in OpenMM: the path of this project's own engine, energy, restarts, and how often the model is called."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openmm
import openmm.app
import pytest
import torch
from openmm import unit

from flashmd.interfaces.model import LoadedModel
from flashmd.interfaces.openmm import PotentialCompute, coarse_grain, create_force, create_system
from flashmd.interfaces.openmm.particles import Molecule
from flashmd.md import VelocityVerlet, kinetic_energy
from flashmd.system import System

from .build import (
    ACROSS,
    BACKENDS,
    ELEMENTS,
    NATIVE,
    TRICLINIC,
    context_of,
    evaluated,
    particles_with,
    positions_of,
    symbols_of,
    topology_of,
)

TIME_STEP = 0.002  # ps
N_STEPS = 200


def velocity_verlet(time_step: float = TIME_STEP) -> openmm.CustomIntegrator:
    """The own engine's integrator in OpenMM's language."""
    made = openmm.CustomIntegrator(time_step)
    made.addComputePerDof("v", "v + 0.5 * dt * f / m")
    made.addComputePerDof("x", "x + dt * v")
    made.addComputePerDof("v", "v + 0.5 * dt * f / m")
    return made


def chignolin_system(model: LoadedModel, backend: str) -> tuple[openmm.System, unit.Quantity, System]:
    """The protein for OpenMM, its positions, and the same for the own engine."""
    topology, positions = coarse_grain(NATIVE)
    system = create_system(topology, model, backend=backend, remove_cm_motion=False)
    own = PotentialCompute(model, Molecule.of(topology, None), periodic=False).system
    return system, positions, own.with_positions(torch.tensor(positions._value))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_path_of_the_own_engine(chignolin: LoadedModel, backend: str) -> None:
    """From the same velocities, positions agree to the rounding that dynamics amplifies."""
    system, positions, own = chignolin_system(chignolin, backend)
    integrator, model = VelocityVerlet(TIME_STEP, seed=5), chignolin.new_evaluator()
    state = integrator.init(own, model, temperature=300.0)
    context = context_of(system, positions, integrator=velocity_verlet())
    context.setVelocities(state.velocities.numpy())
    for _ in range(N_STEPS):
        state = integrator.step(state, model)
    context.getIntegrator().step(N_STEPS)
    end = context.getState(positions=True, energy=True)
    moved = (state.positions - own.positions).abs().max()
    assert moved > 0.05
    np.testing.assert_allclose(end.getPositions(asNumpy=True)._value, state.positions, rtol=0, atol=1e-9)
    assert end.getPotentialEnergy()._value == pytest.approx(float(state.energy), abs=1e-6)
    assert end.getKineticEnergy()._value == pytest.approx(float(kinetic_energy(state)), abs=1e-6)


def test_verlet_is_the_same_leapfrog(chignolin: LoadedModel) -> None:
    """OpenMM's Verlet keeps velocities half a step behind; started so, it visits the same positions."""
    system, positions, _ = chignolin_system(chignolin, "native")
    other = context_of(system, positions, integrator=velocity_verlet())
    other.setVelocitiesToTemperature(300.0, 1)
    velocities = other.getState(velocities=True).getVelocities(asNumpy=True)._value
    masses = np.array([system.getParticleMass(i)._value for i in range(10)])[:, None]
    context = context_of(system, positions, integrator=openmm.VerletIntegrator(TIME_STEP))
    context.setVelocities(velocities - 0.5 * TIME_STEP * evaluated(context)[1] / masses)
    for each in (context, other):
        each.getIntegrator().step(N_STEPS)
    ends = [each.getState(positions=True).getPositions(asNumpy=True)._value for each in (context, other)]
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-9)


def energy_error(model: LoadedModel, backend: str, time_step: float) -> float:
    """Largest deviation of the total energy from its start over 0.4 ps, kJ/mol."""
    system, positions, _ = chignolin_system(model, backend)
    context = context_of(system, positions, integrator=velocity_verlet(time_step))
    context.setVelocitiesToTemperature(300.0, 2)
    totals = []
    for _ in range(round(0.4 / time_step)):
        state = context.getState(energy=True)
        totals.append(state.getPotentialEnergy()._value + state.getKineticEnergy()._value)
        context.getIntegrator().step(1)
    return float(np.abs(np.array(totals) - totals[0]).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_energy_is_conserved(chignolin: LoadedModel, backend: str) -> None:
    """Half the time step, a quarter of the error."""
    errors = [energy_error(chignolin, backend, step) for step in (0.004, 0.002, 0.001)]
    ratios = [coarse / fine for coarse, fine in itertools.pairwise(errors)]
    assert errors[-1] < 1.0
    assert all(3.0 < ratio < 5.0 for ratio in ratios), ratios


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: openmm.LangevinMiddleIntegrator(300.0, 5.0, 0.002),
        lambda: openmm.VerletIntegrator(0.001),
        lambda: openmm.NoseHooverIntegrator(300.0, 5.0, 0.001),
        lambda: openmm.VariableLangevinIntegrator(300.0, 5.0, 1e-4),
    ],
)
def test_integrators(chignolin: LoadedModel, platform: str, backend: str, make: object) -> None:
    system, positions, _ = chignolin_system(chignolin, backend)
    context = context_of(system, positions, platform=platform, integrator=make())
    context.setVelocitiesToTemperature(300.0, 3)
    context.getIntegrator().step(50)
    energy, forces = evaluated(context)
    assert np.isfinite(energy)
    assert 1.0 < np.abs(forces).max() < 1e5


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps at which the Python path was called."""
    made: list[int] = []
    original = PotentialCompute.__call__

    def count(self: PotentialCompute, state: openmm.State) -> tuple[float, np.ndarray]:
        made.append(state.getStepCount())
        return original(self, state)

    monkeypatch.setattr(PotentialCompute, "__call__", count)
    return made


@pytest.mark.parametrize(
    "make", [lambda: openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.001), lambda: openmm.VerletIntegrator(0.001)]
)
def test_one_call_for_each_step(organic: LoadedModel, platform: str, calls: list[int], make: object) -> None:
    system = create_system(topology_of(symbols_of(8)), organic, backend="python")
    context = context_of(system, positions_of(8), platform=platform, integrator=make())
    context.getIntegrator().step(20)
    assert len(calls) == 20
    context.getState(energy=True, forces=True, positions=True)
    assert len(calls) == 21


def test_the_model_as_the_slow_group(organic: LoadedModel, calls: list[int]) -> None:
    """Multiple time steps: springs four times for each call of the model."""
    system = create_system(topology_of(symbols_of(8)), organic, force_group=1, backend="python", remove_cm_motion=False)
    springs, counted = openmm.HarmonicBondForce(), []
    springs.addBond(0, 1, 0.2, 1000.0)
    system.addForce(springs)

    def fast(state: openmm.State) -> tuple[float, np.ndarray]:
        counted.append(state.getStepCount())
        return 0.0, np.zeros((8, 3))

    system.addForce(openmm.PythonForce(fast))
    integrator = openmm.MTSLangevinIntegrator(300.0, 1.0, 0.002, [(0, 4), (1, 1)])
    context = context_of(system, positions_of(8), integrator=integrator)
    context.getIntegrator().step(20)
    assert len(calls) == pytest.approx(20, abs=1)
    assert len(counted) == pytest.approx(80, abs=20)


def test_multiple_time_steps_by_both_ways(organic: LoadedModel) -> None:
    """The slow group is the same from Python and from the plugin, bit for bit over a trajectory."""
    ends = []
    for backend in BACKENDS:
        system = create_system(topology_of(symbols_of(8)), organic, force_group=1, backend=backend)
        springs = openmm.HarmonicBondForce()
        springs.addBond(0, 1, 0.2, 1000.0)
        system.addForce(springs)
        integrator = openmm.MTSIntegrator(0.001, [(0, 4), (1, 1)])
        context = context_of(system, positions_of(8), integrator=integrator)
        integrator.step(50)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    assert np.array_equal(*ends)
    assert np.abs(ends[0] - positions_of(8)).max() > 1e-3


def test_calls_of_a_barostat(organic: LoadedModel, calls: list[int]) -> None:
    """Two more for each attempt: the energy before and after."""
    system = create_system(topology_of(symbols_of(8), TRICLINIC), organic, backend="python")
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0, 10))
    integrator = openmm.LangevinMiddleIntegrator(300.0, 10.0, 0.0005)
    context = context_of(system, positions_of(8), integrator=integrator)
    context.getIntegrator().step(100)
    assert len(calls) == 100 + 2 * 10


@pytest.mark.parametrize("backend", BACKENDS)
def test_barostat(organic: LoadedModel, platform: str, backend: str) -> None:
    """The box and the molecules in it change; energies stay those of the model in the new box."""
    symbols, positions = symbols_of(27), positions_of(27, spacing=ACROSS)
    system = create_system(topology_of(symbols, TRICLINIC), organic, backend=backend)
    barostat = openmm.MonteCarloBarostat(1.0, 300.0, 5)
    barostat.setRandomNumberSeed(1)
    system.addForce(barostat)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 10.0, 0.0005)
    integrator.setRandomNumberSeed(1)
    context = context_of(system, positions, platform=platform, integrator=integrator)
    integrator.step(200)
    state = context.getState(positions=True, energy=True)
    box = state.getPeriodicBoxVectors(asNumpy=True)._value
    assert abs(np.linalg.det(box) - np.linalg.det(np.array(TRICLINIC))) > 1e-4
    types = torch.tensor([ELEMENTS[symbol] for symbol in symbols])
    here = torch.tensor(state.getPositions(asNumpy=True)._value)
    expected = organic.evaluate(System.single(here, types, cell=torch.tensor(box), pbc=True))
    before = organic.evaluate(System.single(here, types, cell=torch.tensor(TRICLINIC, dtype=torch.float64), pbc=True))
    assert abs(float(expected.energy - before.energy)) > 0.1
    tolerance = 1e-9 if platform == "Reference" else 1e-2
    assert state.getPotentialEnergy()._value == pytest.approx(float(expected.energy), abs=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("platform_name", ["Reference", "CPU"])
def test_minimiser(chignolin: LoadedModel, platform_name: str, backend: str) -> None:
    """pocl is left out: OpenMM's minimiser crashes on it with its own forces too."""
    system, positions, _ = chignolin_system(chignolin, backend)
    start = positions._value + np.random.default_rng(0).normal(0.0, 0.02, (10, 3))
    context = context_of(system, start, platform=platform_name)
    before = evaluated(context)
    openmm.LocalEnergyMinimizer.minimize(context, 0.5)
    after = evaluated(context)
    assert after[0] < before[0]
    assert np.sqrt((after[1] ** 2).mean()) < 1.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_checkpoint_continues_bit_for_bit(chignolin: LoadedModel, platform: str, backend: str) -> None:
    def fresh() -> openmm.Context:
        system, positions, _ = chignolin_system(chignolin, backend)
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.004)
        integrator.setRandomNumberSeed(7)
        made = context_of(system, positions, platform=platform, integrator=integrator)
        made.setVelocitiesToTemperature(300.0, 7)
        return made

    def positions_after(context: openmm.Context, n_steps: int) -> np.ndarray:
        context.getIntegrator().step(n_steps)
        return context.getState(positions=True).getPositions(asNumpy=True)._value

    first = fresh()
    positions_after(first, 30)
    saved = first.createCheckpoint()
    expected = positions_after(first, 60)
    second = fresh()
    positions_after(second, 5)
    second.loadCheckpoint(saved)
    assert np.array_equal(positions_after(second, 60), expected)
    first.loadCheckpoint(saved)
    assert np.array_equal(positions_after(first, 60), expected)


def test_a_model_beside_a_force_field(organic: LoadedModel, tmp_path: Path) -> None:
    """A Simulation with reporters, in which four of eight particles are the model's."""
    topology = topology_of(symbols_of(8))
    force = create_force(organic, topology, particles=[6, 2, 3, 1], force_group=2)
    system = particles_with(force, 8)
    springs = openmm.CustomExternalForce("100 * (x^2 + y^2 + z^2)")
    for particle in range(8):
        springs.addParticle(particle, [])
    system.addForce(springs)
    simulation = openmm.app.Simulation(
        topology, system, openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.001), openmm.Platform.getPlatform("Reference")
    )
    simulation.context.setPositions(positions_of(8))
    simulation.reporters.append(openmm.app.DCDReporter(str(tmp_path / "run.dcd"), 10))
    simulation.step(50)
    assert (tmp_path / "run.dcd").stat().st_size > 5 * 8 * 12
    whole = evaluated(simulation.context)[0]
    parts = [evaluated(simulation.context, groups={group})[0] for group in (0, 2)]
    assert whole == pytest.approx(sum(parts), rel=1e-9)


@pytest.fixture
def seeded_random() -> Iterator[None]:
    """OpenMM's exchanges draw from Python's global generator."""
    state = random.getstate()
    random.seed(1)
    yield
    random.setstate(state)


@pytest.mark.usefixtures("seeded_random")
@pytest.mark.parametrize("backend", BACKENDS)
def test_replica_exchange_of_openmm(chignolin: LoadedModel, backend: str) -> None:
    """Temperatures are exchanged, and each replica has the energy of its own conformation."""
    topology, positions = coarse_grain(NATIVE)
    system = create_system(topology, chignolin, backend=backend)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 10.0, 0.004)
    integrator.setRandomNumberSeed(1)
    simulation = openmm.app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("Reference"))
    simulation.context.setPositions(positions)
    simulation.context.setVelocitiesToTemperature(300.0, 1)
    states = [{"temperature": temperature * unit.kelvin} for temperature in (300.0, 320.0, 340.0)]
    sampler = openmm.app.ReplicaExchangeSampler(states, simulation, 20)
    seen = set()
    for _ in range(6):
        sampler.simulate(1)
        seen.add(tuple(sampler.replicaStateIndex))
    assert len(seen) > 1
    for energies, conformation in zip(sampler.replicaStateEnergy, sampler.replicaConformation, strict=True):
        simulation.context.setPositions(conformation.getPositions())
        got = [energy.value_in_unit(unit.kilojoule_per_mole) for energy in energies]
        assert got == pytest.approx([evaluated(simulation.context)[0]] * 3, rel=1e-12)
