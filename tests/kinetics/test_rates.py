"""Rates against quadrature and long simulations."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from flashmd.kinetics import Langevin, hidden_double_well, rate

from .cases import ERRORS, biased, settings


@pytest.mark.parametrize("tilt", [0.0, 1.0])
def test_rate_of_a_double_well(tilt: float) -> None:
    """In one coordinate the flux is ``1 / (Z int e^V)``."""
    height = 2.0
    problem = hidden_double_well(2, height=height, tilt=tilt)

    def energy(s: float) -> float:
        return height * (s * s - 1.0) ** 2 + tilt * s

    barrier = quad(lambda s: math.exp(energy(s)), -1.0, 1.0)[0]

    def mean(weight: torch.Tensor) -> float:
        return float((boltzmann * weight).sum() * (grid[1] - grid[0]))

    grid = torch.linspace(-4.0, 4.0, 4001, dtype=torch.float64)
    boltzmann = (-(height * (grid.square() - 1.0).square() + tilt * grid)).exp()
    q = torch.where(grid >= 1.0, 1.0, 0.0).double()
    inside = grid.abs() < 1.0
    q[inside] = problem.committor(grid[inside])
    forward, backward = 1.0 / barrier / mean(1.0 - q), 1.0 / barrier / mean(q)

    generator = torch.Generator().manual_seed(3)
    s = 4.4 * torch.rand(2000, generator=generator, dtype=torch.float64) - 2.2
    weights = (-(height * (s.square() - 1.0).square() + tilt * s)).exp()
    result = rate(
        problem.dynamics, problem.A, problem.B, samples=problem.place(s), weights=weights,
        surrogate=biased(problem), settings=settings(time_step=2e-3, paths_per_point=4),
    )  # fmt: skip
    assert abs(result.forward - forward) < ERRORS * result.forward_standard_error
    assert abs(result.backward - backward) < ERRORS * result.backward_standard_error
    assert result.forward_standard_error < 0.1 * forward
    assert result.backward_standard_error < 0.1 * backward


def count_transitions(dynamics: Langevin, time_step: float, steps: int, copies: int) -> tuple[float, float]:
    """Rates between x <= -1 and x >= 1 in one dimension, by counting."""
    generator = torch.Generator().manual_seed(5)

    def noise() -> Tensor:
        return torch.randn(copies, 1, generator=generator, dtype=torch.float64)

    left = torch.arange(copies) % 2 == 0
    x = torch.where(left, -1.0, 1.0).double()[:, None]
    state = dynamics.start(x, dynamics.thermal_speed * noise())
    times, counts = torch.zeros(2), torch.zeros(2)
    for step in range(steps):
        state = dynamics.step(state, time_step, noise()).state
        after = torch.where(state[0][:, 0] <= -1.0, True, torch.where(state[0][:, 0] >= 1.0, False, left))
        if 10 * step >= steps:  # the rest is for coming to equilibrium
            counts += torch.stack([(left & ~after).sum(), (~left & after).sum()])
            times += time_step * torch.stack([left.sum(), (~left).sum()])
        left = after
    return tuple((counts / times).tolist())


@pytest.mark.parametrize("friction", [0.5, 5.0])
def test_rate_with_velocities(friction: float) -> None:
    height, tilt, time_step = 2.0, 0.5, 0.05
    problem = hidden_double_well(1, height=height, tilt=tilt)
    dynamics = Langevin(problem.dynamics.potential, kT=1.0, friction=friction)
    forward, backward = count_transitions(dynamics, time_step, 1500, 1000)
    generator = torch.Generator().manual_seed(3)
    s = 4.4 * torch.rand(3000, generator=generator, dtype=torch.float64) - 2.2
    result = rate(
        dynamics, problem.A, problem.B, samples=problem.place(s),
        weights=(-(height * (s.square() - 1.0).square() + tilt * s)).exp(), surrogate=dynamics.lift(biased(problem)),
        settings=settings(time_step=time_step, paths_per_point=4),
    )  # fmt: skip
    assert abs(result.forward - forward) < ERRORS * result.forward_standard_error
    assert abs(result.backward - backward) < ERRORS * result.backward_standard_error
    assert result.forward_standard_error < 0.1 * forward
    assert result.backward_standard_error < 0.1 * backward
