"""Equations of motion: exact moments, the overdamped limit, models through the protocol."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flashmd.kinetics import Langevin, Overdamped, SystemForces, committor, kolmogorov
from flashmd.potential.priors import HarmonicBonds
from flashmd.system import System

from .cases import ERRORS, LEFT, RIGHT, column, settings


def harmonic(x: Tensor) -> Tensor:
    """Unit frequency."""
    return 0.5 * x.square().sum(1)


def pair_model() -> SystemForces:
    """Two beads of masses 1 and 4 on a spring of length 1 and energy ``(r - 1)^2``."""
    bonds = HarmonicBonds("bonds", (torch.tensor([[1, 1]]), {"k": torch.ones(1), "x0": torch.ones(1)}))
    x = torch.tensor([[0.0, 0.0, 0.0], [1.3, 0.0, 0.0]])
    template = System.single(
        x, torch.tensor([1, 1]), masses=torch.tensor([1.0, 4.0]), interactions={"bonds": torch.tensor([[0, 1]])}
    )
    return SystemForces(bonds, template)


def mean_position(t: Tensor, point: Tensor) -> Tensor:
    """Mean position after time t of an oscillator of unit frequency and friction 1."""
    x, v = point.chunk(2, 1)
    w = math.sqrt(0.75)
    decay, s, c = (-0.5 * t).exp(), (w * t).sin() / w, (w * t).cos()
    return decay * ((c + 0.5 * s) * x.sum(1) + s * v.sum(1))


def test_langevin_mean_position_and_its_control_variate() -> None:
    """The exact surrogate of a linear problem removes the noise, but for the mean over sixteen other velocities."""
    dynamics, x = Langevin(harmonic, kT=1.0), column(1.0)
    exact = float(mean_position(torch.tensor([1.0]), torch.tensor([[1.0, 0.0]])))
    paths = settings(antithetic=False, paths_per_point=1000)
    plain = kolmogorov(dynamics, lambda x: x[:, 0], t=1.0, x=x, settings=paths)
    better = kolmogorov(dynamics, lambda x: x[:, 0], t=1.0, x=x, settings=paths, surrogate=mean_position)
    mirrored = kolmogorov(dynamics, lambda x: x[:, 0], t=1.0, x=x, settings=settings())
    assert (plain.value - exact).abs() < ERRORS * plain.standard_error
    assert (better.value - exact).abs() < ERRORS * better.standard_error
    start = float(mean_position(torch.tensor([1.0]), torch.tensor([[0.0, 1.0]])))
    assert better.standard_error.item() == pytest.approx(start / math.sqrt(17 * 1000), rel=0.1)
    assert better.standard_error < 0.3 * plain.standard_error
    assert mirrored.value.item() == pytest.approx(exact, abs=1e-4)
    assert mirrored.standard_error < 1e-12


def test_langevin_samples_the_equilibrium() -> None:
    dynamics = Langevin(harmonic, kT=0.7, friction=2.0, masses=2.0)
    paths = settings(time_step=0.05, paths_per_point=4000)
    estimate = kolmogorov(dynamics, lambda x: x.square().sum(1), t=6.0, x=column(0.0), settings=paths)
    assert (estimate.value - 0.7).abs() < ERRORS * estimate.standard_error
    assert estimate.standard_error < 0.03


def test_committor_of_a_free_particle_with_inertia() -> None:
    """Velocities persist: absorbing walls act as if further away by Milne's length (doi:10.1007/BF01008729)."""
    friction = 10.0
    reach = 1.0 + 1.4603 / friction
    x, exact = column(0.3), 0.5 + 0.5 * 0.3 / reach
    free = Langevin(lambda x: 0.0 * x.sum(1), kT=1.0, friction=friction)
    paths = settings(time_step=2e-2, paths_per_point=300)
    plain = committor(free, LEFT, RIGHT, x=x, settings=paths)
    guess = free.lift(lambda x: 0.5 + 0.45 * x[:, 0])
    lifted = committor(free, LEFT, RIGHT, x=x, settings=paths, surrogate=guess)
    for estimate in (plain, lifted):
        assert (estimate.value - exact).abs() < ERRORS * estimate.standard_error
    assert lifted.standard_error < 0.4 * plain.standard_error


def test_masses_scale_the_noise_of_each_coordinate() -> None:
    masses = torch.tensor([1.0, 4.0], dtype=torch.float64)
    dynamics = Overdamped(lambda x: 0.0 * x.sum(1), kT=2.0, friction=0.5, masses=masses)
    for column_, mass in enumerate(masses.tolist()):
        estimate = kolmogorov(
            dynamics, lambda x, column_=column_: x[:, column_].square(), t=0.5,  # type: ignore[misc]
            x=torch.zeros(1, 2), settings=settings(time_step=0.1, paths_per_point=4000),
        )  # fmt: skip
        exact = 2.0 * 2.0 * 0.5 / (0.5 * mass)
        assert (estimate.value - exact).abs() < ERRORS * estimate.standard_error


def test_a_model_of_beads() -> None:
    """Forces and masses of the template; a stiff direction relaxes towards the length of the spring."""
    forces = pair_model()
    dynamics = Overdamped(forces, kT=1e-6, friction=1.0)
    assert torch.equal(dynamics.inertia, torch.tensor([1.0, 1.0, 1.0, 4.0, 4.0, 4.0], dtype=torch.float64))
    length = lambda x: (x[:, 3:] - x[:, :3]).norm(dim=1)  # noqa: E731
    estimate = kolmogorov(dynamics, length, t=0.4, x=forces.start, settings=settings(time_step=1e-3, paths_per_point=4))
    # Both ends feel 2 (r - 1): the length relaxes at a rate of 2 (1 + 1/4).
    assert estimate.value.item() == pytest.approx(1.0 + 0.3 * math.exp(-2.5 * 0.4), abs=2e-3)
    assert Langevin(forces, kT=1.0).thermal_speed.tolist() == [1.0] * 3 + [0.5] * 3
