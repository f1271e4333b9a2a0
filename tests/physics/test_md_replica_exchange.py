"""Replica exchange against Boltzmann statistics."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from flashmd.md import LangevinBAOAB, MDState, TemperatureLadder
from flashmd.md.random_streams import replica_identities
from flashmd.units import BOLTZMANN
from tests.md.analytic import BACKEND, DoubleWell, Free, beads

SIGMAS = 4.5
"""Seeds are fixed; this many standard errors leave no room for a wrong formula and enough for an unlucky seed."""
TEMPERATURES = [250.0, 350.0, 500.0]


def replicas(n_walkers: int, *, energy: torch.Tensor | None = None, seed: int = 1) -> tuple[TemperatureLadder, MDState]:
    """Replicas with Maxwell velocities and given energies [n_temperatures, n_walkers]."""
    ladder = TemperatureLadder(TEMPERATURES, n_walkers, seed=seed, backend=BACKEND)
    baths = ladder.values[ladder.init().temperature_index()]
    identities = replica_identities(len(TEMPERATURES), n_walkers)
    integrator = LangevinBAOAB(0.004, 1.0, seed=seed, backend=BACKEND)
    system = beads(len(TEMPERATURES) * n_walkers, 1)
    state = integrator.init(system, Free(), temperature=baths, identities=identities)
    if energy is not None:
        state = dataclasses.replace(state, energy=energy.reshape(-1))
    return ladder, state


def two_levels(n_walkers: int, gap: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies 0 or `gap`, drawn from the Boltzmann distribution of each temperature, and the probability of `gap`."""
    beta = 1.0 / (BOLTZMANN * torch.tensor(TEMPERATURES, dtype=torch.float64))
    upper = 1.0 / (1.0 + torch.exp(beta * gap))
    uniform = torch.rand(len(TEMPERATURES), n_walkers, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    return (uniform < upper[:, None]).to(torch.float64) * gap, upper


@pytest.mark.parametrize("attempt", [0, 1])
def test_exchange_keeps_the_boltzmann_distribution_of_two_levels(attempt: int) -> None:
    gap, n_walkers = 3.0, 40000
    energy, upper = two_levels(n_walkers, gap)
    ladder, state = replicas(n_walkers, energy=energy)
    state, exchanges = ladder.step(state, ladder.init(), attempt=attempt)
    held = (state.energy[exchanges.holder] > 0).to(torch.float64).mean(1)
    for found, expected in zip(held.tolist(), upper.tolist(), strict=True):
        assert found == pytest.approx(expected, abs=SIGMAS * math.sqrt(expected * (1.0 - expected) / n_walkers))
    low = attempt
    beta = ladder.inverse_temperature
    a, b = float(upper[low]), float(upper[low + 1])
    # Refusals are only possible where the colder replica is below and the hotter one above.
    rate = 1.0 - (1.0 - a) * b * (1.0 - math.exp(-float(beta[low] - beta[low + 1]) * gap))
    assert exchanges.proposed.tolist() == [n_walkers if pair == low else 0 for pair in range(2)]
    measured = exchanges.accepted[low].item() / n_walkers
    assert measured == pytest.approx(rate, abs=SIGMAS * math.sqrt(rate * (1.0 - rate) / n_walkers))


def test_velocities_belong_to_the_new_temperature() -> None:
    n_walkers = 20000
    energy, _ = two_levels(n_walkers, 3.0)
    ladder, before = replicas(n_walkers, energy=energy)
    state, exchanges = ladder.step(before, ladder.init(), attempt=0)
    slots = state.velocities[exchanges.holder]
    for temperature, velocities in zip(TEMPERATURES, slots, strict=True):
        squares = velocities.square().reshape(-1)
        error = float(squares.std()) / math.sqrt(squares.numel())
        mass = float(state.system.masses[0])
        assert float(squares.mean()) == pytest.approx(BOLTZMANN * temperature / mass, abs=SIGMAS * error)
    moved = state.temperature != before.temperature
    ratio = (state.temperature / before.temperature).sqrt()[:, None]
    torch.testing.assert_close(state.velocities, before.velocities * ratio, rtol=1e-14, atol=0.0)
    assert torch.equal(state.velocities[~moved], before.velocities[~moved])
    assert 0.2 < moved.to(torch.float64).mean() < 0.8
    expected = (BOLTZMANN * state.temperature / state.system.masses).sqrt()[:, None]
    torch.testing.assert_close(state.thermal_speed, expected, rtol=1e-12, atol=0.0)


def test_every_attempt_draws_its_own_numbers() -> None:
    """A pair that is refused at one step must have the same chance, and other numbers, at the next."""
    n_walkers, n_attempts, gap = 50, 400, 2.0
    energy = torch.zeros(3, n_walkers, dtype=torch.float64)
    energy[1] = gap
    ladder, state = replicas(n_walkers, energy=energy)
    rate = math.exp(-float(ladder.inverse_temperature[0] - ladder.inverse_temperature[1]) * gap)
    accepted = []
    for step in range(1, n_attempts + 1):
        state = dataclasses.replace(state, step=step)
        accepted.append(ladder.step(state, ladder.init(), attempt=0)[1].holder[0] >= n_walkers)
    found = torch.stack(accepted).to(torch.float64)
    for dimension, count in ((0, n_attempts), (1, n_walkers)):
        spread = math.sqrt(rate * (1.0 - rate) / count)
        means = found.mean(dimension)
        assert float((means - rate).abs().max()) < SIGMAS * spread
        assert float(means.std()) == pytest.approx(spread, rel=SIGMAS / math.sqrt(2.0 * (means.numel() - 1)))


def test_huge_energy_differences_do_not_overflow() -> None:
    energy = torch.tensor([[0.0, 1e300], [1e300, 0.0], [2e300, 2e300]], dtype=torch.float64)
    ladder, state = replicas(2, energy=energy)
    state, exchanges = ladder.step(state, ladder.init(), attempt=0)
    assert exchanges.holder[0].tolist() == [0, 3], "only the walker that gains energy exchanges"
    assert exchanges.accepted.tolist() == [1, 0]
    assert bool(state.velocities.isfinite().all())


def test_non_finite_energies_never_exchange() -> None:
    energy = torch.tensor([[math.nan, math.nan], [0.0, -1e9], [0.0, 0.0]], dtype=torch.float64)
    ladder, state = replicas(2, energy=energy)
    exchanges = ladder.step(state, ladder.init(), attempt=0)[1]
    assert exchanges.accepted.tolist() == [0, 0]


def test_even_and_odd_pairs_take_turns() -> None:
    temperatures = [300.0, 310.0, 320.0, 330.0, 340.0]
    ladder = TemperatureLadder(temperatures, 3, seed=1, backend=BACKEND)
    exchanges = ladder.init()
    integrator = LangevinBAOAB(0.004, 1.0, seed=1, backend=BACKEND)
    state = integrator.init(beads(15, 1), Free(), temperature=ladder.values[exchanges.temperature_index()])
    for attempt in range(5):
        state, exchanges = ladder.step(state, exchanges, attempt=attempt)
    assert exchanges.proposed.tolist() == [9, 6, 9, 6]
    # Equal energies are always accepted, and every slot is held by one replica of its own ladder.
    assert exchanges.accepted.tolist() == exchanges.proposed.tolist()
    assert sorted(exchanges.holder.reshape(-1).tolist()) == list(range(15))
    assert (exchanges.holder % 3 == torch.arange(3)).all()
    assert torch.equal(state.temperature, ladder.values[exchanges.temperature_index()])


def test_two_temperatures_exchange_at_every_attempt() -> None:
    ladder = TemperatureLadder([300.0, 310.0], 1, seed=1, backend=BACKEND)
    exchanges = ladder.init()
    state = LangevinBAOAB(0.004, 1.0, seed=1, backend=BACKEND).init(beads(2, 1), Free(), temperature=300.0)
    for attempt in range(3):
        state, exchanges = ladder.step(state, exchanges, attempt=attempt)
    assert exchanges.proposed.tolist() == [3]


def boltzmann_averages(model: DoubleWell, temperature: float) -> tuple[float, float]:
    """Mean x^2 and mean energy of the double well by quadrature."""
    beta = 1.0 / (BOLTZMANN * temperature)

    def energy(x: float) -> float:
        return model.barrier * ((x / model.half_width) ** 2 - 1.0) ** 2

    def average(value: object) -> float:
        top = quad(lambda x: value(x) * math.exp(-beta * energy(x)), -0.6, 0.6, limit=200)[0]  # type: ignore[operator]
        return float(top / quad(lambda x: math.exp(-beta * energy(x)), -0.6, 0.6, limit=200)[0])

    return average(lambda x: x * x), average(energy) + BOLTZMANN * temperature


def test_double_well_is_sampled_at_every_temperature() -> None:
    """All replicas start in the left well; without exchange the coldest would hardly leave it."""
    model = DoubleWell(barrier=12.0, half_width=0.15, stiffness=1000.0)
    n_walkers, n_steps, burn = 300, 3000, 1000
    ladder = TemperatureLadder([300.0, 600.0, 1200.0], n_walkers, seed=3, backend=BACKEND)
    exchanges = ladder.init()
    integrator = LangevinBAOAB(0.004, 5.0, seed=3, backend=BACKEND)
    system = beads(3 * n_walkers, 1)
    left = torch.zeros_like(system.positions)
    left[:, 0] = -0.15
    baths = ladder.values[exchanges.temperature_index()]
    state = integrator.init(system.with_positions(left), model, temperature=baths)
    samples = []
    for step in range(1, n_steps + 1):
        state = integrator.step(state, model)
        if step % 10 == 0:
            state, exchanges = ladder.step(state, exchanges, attempt=step // 10)
        if step > burn and step % 10 == 0:
            x = state.positions[:, 0][exchanges.holder]
            samples.append(torch.stack([(x > 0).to(torch.float64), x.square(), state.energy[exchanges.holder]]))
    # One number for each walker: walkers are independent, times are not.
    each = torch.stack(samples).mean(0).numpy()
    for index, temperature in enumerate(ladder.temperatures):
        expected = [0.5, *boltzmann_averages(model, temperature)]
        for found, value in zip(each[:, index], expected, strict=True):
            error = np.std(found) / math.sqrt(n_walkers)
            assert np.mean(found) == pytest.approx(value, abs=SIGMAS * error)
            assert error < 0.05 * value
