"""Integrators: independence of the batch, both backends, refused arguments. Their physics is in tests/physics."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flashmd.md import LangevinBAOAB, MDState, TemperatureLadder, VelocityVerlet
from flashmd.md.failure import is_sound
from flashmd.md.reporters import Records
from flashmd.md.state import initial_state, kinetic_temperature, recentre
from flashmd.protocols import EnergyModel
from flashmd.system import System
from tests.md.analytic import BACKEND, Dimer, DoubleWell, Free, beads

N_STEPS = 50


def trajectory(integrator: LangevinBAOAB, state: MDState, model: EnergyModel) -> torch.Tensor:
    frames = []
    for _ in range(N_STEPS):
        state = integrator.step(state, model)
        frames.append(torch.cat([state.positions, state.velocities], 1))
    return torch.stack(frames)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("replica", [0, 4, 6])
def test_a_replica_moves_alone_as_in_a_batch(replica: int, dtype: torch.dtype) -> None:
    """Bitwise, since the model is elementwise and every random number is named."""
    model = DoubleWell(barrier=3.0, half_width=0.2, stiffness=200.0)
    integrator = LangevinBAOAB(0.004, 1.0, seed=3, backend=BACKEND)
    baths = torch.linspace(280.0, 400.0, 7, dtype=torch.float64)
    names = torch.tensor([5, 3, 11, 2, 8, 1, 70000])
    every = trajectory(
        integrator, integrator.init(beads(7, dtype=dtype), model, temperature=baths, identities=names), model
    )
    start = integrator.init(
        beads(1, dtype=dtype), model, temperature=baths[replica : replica + 1], identities=names[replica : replica + 1]
    )
    alone = trajectory(integrator, start, model)
    assert torch.equal(every[:, 3 * replica : 3 * replica + 3], alone)
    assert not torch.equal(every[:, 9:12], every[:, 12:15])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_and_reference_give_the_same_trajectory(dtype: torch.dtype) -> None:
    model = DoubleWell(barrier=3.0, half_width=0.2, stiffness=200.0)
    both = []
    for backend in ("kernel", "reference"):
        integrator = LangevinBAOAB(0.004, 1.0, seed=3, backend=backend)
        both.append(trajectory(integrator, integrator.init(beads(4, dtype=dtype), model, temperature=300.0), model))
    # Normals agree to rounding; fifty steps of smooth forces do not amplify that much.
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(both[0], both[1], rtol=0.0, atol=tolerance)


def test_seeds_and_identities_change_the_noise() -> None:
    def first(seed: int, identity: int) -> torch.Tensor:
        integrator = LangevinBAOAB(0.004, 1.0, seed=seed, backend=BACKEND)
        start = integrator.init(beads(1), Free(), temperature=300.0, identities=torch.tensor([identity]))
        return integrator.step(start, Free()).velocities

    assert torch.equal(first(1, 0), first(1, 0))
    assert not torch.equal(first(1, 0), first(2, 0))
    assert not torch.equal(first(1, 0), first(1, 1))


def test_a_step_leaves_the_old_state_alone() -> None:
    model = DoubleWell(barrier=3.0, half_width=0.2, stiffness=200.0)
    integrator = LangevinBAOAB(0.004, 1.0, seed=3, backend=BACKEND)
    state = integrator.init(beads(2), model, temperature=300.0)
    copies = [each.clone() for each in (state.positions, state.velocities, state.forces, state.energy)]
    integrator.step(state, model)
    for before, after in zip(copies, (state.positions, state.velocities, state.forces, state.energy), strict=True):
        assert torch.equal(before, after)


def test_replicas_of_different_size_share_a_batch() -> None:
    small, large = beads(1, 2), beads(1, 5)
    system = System.concatenate([small, large])
    integrator = LangevinBAOAB(0.004, 1.0, seed=3, backend=BACKEND)
    state = integrator.init(system, Free(), temperature=300.0)
    alone = integrator.init(large, Free(), temperature=300.0, identities=torch.tensor([1]))
    assert torch.equal(integrator.step(state, Free()).velocities[2:], integrator.step(alone, Free()).velocities)
    per_replica = kinetic_temperature(state, backend=BACKEND)
    torch.testing.assert_close(per_replica[1:], kinetic_temperature(alone, backend=BACKEND), rtol=1e-14, atol=0.0)


class NoWaiting(TorchDispatchMode):
    """Refuses every operator whose result the host would have to wait for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        waits = (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten.equal.default,
        )
        assert func not in waits, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


def test_steps_and_exchanges_do_not_wait_for_the_device() -> None:
    ladder = TemperatureLadder([300.0, 310.0, 320.0], 2, seed=1, backend="kernel")
    exchanges, records, model = ladder.init(), Records(), DoubleWell(barrier=3.0, half_width=0.2, stiffness=200.0)
    integrator = LangevinBAOAB(0.004, 1.0, seed=1)
    state = integrator.init(beads(6), model, temperature=ladder.values[exchanges.temperature_index()])
    with NoWaiting():
        for attempt in range(4):
            state = integrator.step(state, model)
            state, exchanges = ladder.step(state, exchanges, attempt=attempt)
            records.save(state, exchanges)
            records.log(state, exchanges, backend="kernel")
            state = recentre(state)
        is_sound(state)
    with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):
        float(state.energy[0])


def test_recentring_moves_replicas_as_a_whole() -> None:
    model = Dimer(epsilon=4.0, sigma=0.3)
    system = beads(3, 2)
    state = initial_state(system, model, temperature=300.0, seed=1, backend=BACKEND)
    shifts = torch.tensor([[5.0, -3.0, 2.0], [0.0, 0.0, 0.0], [70.0, 0.0, -1.0]], dtype=torch.float64)
    away = state.system.with_positions(state.positions + shifts[system.batch])
    moved = recentre(dataclasses.replace(state, system=away), backend=BACKEND)
    torch.testing.assert_close(moved.positions.reshape(3, 2, 3).mean(1), torch.zeros(3, 3, dtype=torch.float64))
    torch.testing.assert_close(model.evaluate(moved.system).energy, state.energy, rtol=1e-10, atol=0.0)
    assert torch.equal(moved.velocities, state.velocities)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0.0, 1.0), r"`time_step`: expected a positive time in ps, got 0\.0"),
        ((0.004, -1.0), r"`friction`: expected zero or more, in 1/ps, got -1\.0"),
    ],
)
def test_langevin_refuses_bad_numbers(arguments: tuple[float, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        LangevinBAOAB(*arguments, seed=1)


def test_verlet_refuses_a_zero_step() -> None:
    with pytest.raises(ValueError, match=r"`time_step`: expected a time other than zero, got 0\.0"):
        VelocityVerlet(0.0)


def test_initial_state_refuses_bad_masses_and_identities() -> None:
    system = beads(2)
    with pytest.raises(ValueError, match=r"`identities`: expected shape \(2,\), got \(3,\)"):
        initial_state(system, Free(), temperature=300.0, seed=1, identities=torch.arange(3))
    massless = dataclasses.replace(system, masses=torch.zeros_like(system.masses))
    with pytest.raises(ValueError, match=r"`masses`: expected positive masses, got zero or less"):
        initial_state(massless, Free(), temperature=300.0, seed=1)
