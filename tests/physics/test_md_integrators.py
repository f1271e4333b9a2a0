"""Integrators against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flashmd.md import LangevinBAOAB, MDState, VelocityVerlet, kinetic_energy
from flashmd.protocols import EnergyModel
from flashmd.system import System
from flashmd.units import BOLTZMANN
from tests.md.analytic import BACKEND, Dimer, DoubleWell, Free, Harmonic

SIGMAS = 4.5
"""Seeds are fixed; this many standard errors leave no room for a wrong formula and enough for an unlucky seed."""
TEMPERATURE = 300.0
MASS = 12.0
KT = BOLTZMANN * TEMPERATURE


def particles(n_particles: int, *, spread: float = 0.0) -> System:
    x = spread * torch.randn(n_particles, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    masses = torch.full((n_particles,), MASS, dtype=torch.float64)
    return System.single(x, torch.ones(n_particles, dtype=torch.int64), masses=masses)


def advance(integrator: LangevinBAOAB | VelocityVerlet, state: MDState, model: EnergyModel, n_steps: int) -> MDState:
    for _ in range(n_steps):
        state = integrator.step(state, model)
    return state


def mean_and_error(samples: torch.Tensor) -> tuple[float, float]:
    """Mean over particles and its standard error; samples [n_times, n_particles, 3] of independent particles."""
    each = samples.mean(0).reshape(-1)
    return float(each.mean()), float(each.std() / math.sqrt(each.numel()))


@pytest.mark.parametrize("frequency_times_step", [0.2, 1.0, 1.7])
def test_baoab_samples_the_harmonic_oscillator(frequency_times_step: float) -> None:
    """Positions have no time step error; velocities have variance kT/m (1 - (omega dt)^2 / 4)."""
    time_step, friction, n_particles = 0.01, 40.0, 2000
    stiffness = MASS * (frequency_times_step / time_step) ** 2
    model = Harmonic(stiffness)
    integrator = LangevinBAOAB(time_step, friction, seed=11, backend=BACKEND)
    system = particles(n_particles, spread=math.sqrt(KT / stiffness))
    state = advance(integrator, integrator.init(system, model, temperature=TEMPERATURE), model, 100)
    squares_x, squares_v = [], []
    for _ in range(40):
        state = advance(integrator, state, model, 5)
        squares_x.append(state.positions.square())
        squares_v.append(state.velocities.square())
    mean, error = mean_and_error(torch.stack(squares_x))
    assert mean == pytest.approx(KT / stiffness, abs=SIGMAS * error)
    mean, error = mean_and_error(torch.stack(squares_v))
    expected = KT / MASS * (1.0 - frequency_times_step**2 / 4.0)
    assert mean == pytest.approx(expected, abs=SIGMAS * error)
    assert error < 0.01 * expected, "the test is too short to tell the formulas apart"


def test_free_particles_diffuse() -> None:
    """The mean square displacement of the discrete process, summed from its velocity correlation, and 2 D t."""
    time_step, friction, n_steps, n_particles = 0.02, 2.0, 400, 3000
    integrator = LangevinBAOAB(time_step, friction, seed=12, backend=BACKEND)
    model = Free()
    start = integrator.init(particles(n_particles), model, temperature=TEMPERATURE)
    end = advance(integrator, start, model, n_steps)
    squares = (end.positions - start.positions).square().reshape(-1)
    weights = np.full(n_steps + 1, time_step)
    weights[[0, -1]] *= 0.5
    lag = np.abs(np.subtract.outer(np.arange(n_steps + 1), np.arange(n_steps + 1)))
    expected = KT / MASS * weights @ np.exp(-friction * time_step * lag) @ weights
    error = float(squares.std()) / math.sqrt(squares.numel())
    assert float(squares.mean()) == pytest.approx(expected, abs=SIGMAS * error)
    diffusion = KT / (MASS * friction)
    assert expected == pytest.approx(2.0 * diffusion * n_steps * time_step, rel=0.08)


def test_velocities_start_from_the_maxwell_distribution() -> None:
    state = LangevinBAOAB(0.004, 1.0, seed=13, backend=BACKEND).init(particles(20000), Free(), temperature=TEMPERATURE)
    squares = state.velocities.square().reshape(-1)
    error = float(squares.std()) / math.sqrt(squares.numel())
    assert float(squares.mean()) == pytest.approx(KT / MASS, abs=SIGMAS * error)
    kurtosis = float(squares.square().mean() / squares.mean() ** 2)
    assert kurtosis == pytest.approx(3.0, abs=SIGMAS * math.sqrt(96.0 / squares.numel()))


def dimer_energies(time_step: float, duration: float) -> torch.Tensor:
    model = Dimer(epsilon=4.0, sigma=0.3)
    x = torch.tensor([[0.0, 0.0, 0.0], [0.37, 0.0, 0.0]], dtype=torch.float64)
    system = System.single(x, torch.tensor([1, 1]), masses=torch.tensor([MASS, 2 * MASS], dtype=torch.float64))
    integrator = VelocityVerlet(time_step, seed=2, backend=BACKEND)
    state = integrator.init(system, model, temperature=30.0)
    energies = []
    for _ in range(round(duration / time_step)):
        state = integrator.step(state, model)
        energies.append(state.energy + kinetic_energy(state, backend=BACKEND))
    return torch.cat(energies)


def test_energy_error_of_verlet_is_of_second_order() -> None:
    steps = [0.008, 0.004, 0.002]
    errors = [float((energy - energy[0]).abs().max()) for energy in (dimer_energies(each, 1.6) for each in steps)]
    slopes = [math.log2(errors[i] / errors[i + 1]) for i in range(2)]
    assert slopes == pytest.approx([2.0, 2.0], abs=0.15)
    assert errors[-1] < 1e-2


@pytest.mark.parametrize("friction_free_langevin", [False, True])
def test_dynamics_without_friction_reverses(friction_free_langevin: bool) -> None:
    model = DoubleWell(barrier=3.0, half_width=0.2, stiffness=200.0)
    system = particles(20, spread=0.1)
    integrator = VelocityVerlet(0.004, seed=4, backend=BACKEND)
    start = integrator.init(system, model, temperature=TEMPERATURE)
    forward = LangevinBAOAB(0.004, 0.0, seed=4, backend=BACKEND) if friction_free_langevin else integrator
    end = advance(forward, start, model, 500)
    back = advance(VelocityVerlet(-0.004, backend=BACKEND), end, model, 500)
    assert (end.positions - start.positions).abs().max() > 0.05
    torch.testing.assert_close(back.positions, start.positions, rtol=0.0, atol=1e-9)
    torch.testing.assert_close(back.velocities, start.velocities, rtol=0.0, atol=1e-8)


def test_verlet_follows_the_discrete_oscillator() -> None:
    """Velocity Verlet of an oscillator turns by the angle arccos(1 - (omega dt)^2 / 2) each step."""
    stiffness, time_step, n_steps = 500.0, 0.05, 40
    model, integrator = Harmonic(stiffness), VelocityVerlet(time_step, backend=BACKEND)
    start = integrator.init(particles(5, spread=0.1), model, temperature=TEMPERATURE)
    end = advance(integrator, start, model, n_steps)
    omega_step = math.sqrt(stiffness / MASS) * time_step
    angle = n_steps * math.acos(1.0 - omega_step**2 / 2.0)
    slope = math.sqrt(MASS / stiffness) / math.sqrt(1.0 - omega_step**2 / 4.0)
    expected = start.positions * math.cos(angle) + start.velocities * slope * math.sin(angle)
    torch.testing.assert_close(end.positions, expected, rtol=0.0, atol=1e-12)
