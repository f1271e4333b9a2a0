"""Estimates against exact and tabulated values (cases K1 to K6)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flashmd.kinetics import (
    BoundaryNetwork,
    MuellerBrownTable,
    Overdamped,
    ball,
    committor,
    fit_surrogate,
    hidden_double_well,
    kolmogorov,
    mfpt,
    radial_problem,
    survival,
)
from flashmd.pde import SurrogateTraining

from .cases import ERRORS, assert_right, biased, settings


@pytest.mark.parametrize("d", [1, 10, 200])
def test_hidden_double_well(d: int) -> None:
    problem = hidden_double_well(d)
    s = torch.tensor([-0.5, 0.0, 0.25])
    estimate = committor(
        problem.dynamics, problem.A, problem.B, x=problem.place(s),
        settings=settings(time_step=4e-3, paths_per_point=600), surrogate=biased(problem),
    )  # fmt: skip
    assert_right(estimate, problem.committor(s), 0.012)


def test_values_of_the_double_well() -> None:
    tilted = hidden_double_well(5, height=5.0, tilt=1.0)
    exact = [0.013231, 0.098077, 0.402665, 0.784396, 0.95317]
    assert tilted.committor(torch.tensor([-0.5, -0.25, 0.0, 0.25, 0.5])).tolist() == pytest.approx(exact, abs=1e-6)
    times = hidden_double_well(5).passage(torch.tensor([-1.0, -0.5, 0.0, 0.5]))
    assert times.tolist() == pytest.approx([17.31591, 16.67357, 8.82948, 0.83467], rel=1e-5)


def test_passage_time_of_the_double_well() -> None:
    problem = hidden_double_well(10, height=0.5)
    s = torch.tensor([0.0, 0.5])
    exact = problem.passage(s)
    estimate = mfpt(
        problem.dynamics, problem.B, x=problem.place(s),
        settings=settings(time_step=1e-2, paths_per_point=200),
        surrogate=lambda x: 1.5 * (1.0 - problem.coordinate(x)),
    )  # fmt: skip
    assert_right(estimate, exact, 0.1 * float(exact.max()))


@pytest.mark.parametrize("d", [10, 50])
def test_radial_harmonic(d: int) -> None:
    inner, outer = math.sqrt(d) - 1.2, math.sqrt(d) + 0.8
    problem = radial_problem(d, inner=inner, outer=outer, stiffness=1.0)
    r = torch.tensor([inner + 0.5, inner + 1.0, inner + 1.5])
    estimate = committor(
        problem.dynamics, problem.A, problem.B, x=problem.place(r),
        settings=settings(time_step=5e-3, paths_per_point=400),
        surrogate=lambda x: (problem.coordinate(x) - inner) / (outer - inner),
    )  # fmt: skip
    assert_right(estimate, problem.committor(r), 0.02)


def test_values_of_the_radial_harmonic() -> None:
    plane = radial_problem(2, inner=0.5, outer=3.0, stiffness=1.0)
    exact = [0.062355, 0.123143, 0.215903, 0.415603]
    assert plane.committor(torch.tensor([1.0, 1.5, 2.0, 2.5])).tolist() == pytest.approx(exact, abs=1e-6)
    ten = radial_problem(10, inner=2.0, outer=4.0, stiffness=1.0)
    assert ten.passage(torch.tensor([0.0, 2.0, 3.0])).tolist() == pytest.approx(
        [2.604597, 2.363471, 1.863877], rel=1e-6
    )


def test_passage_time_of_the_radial_harmonic() -> None:
    problem = radial_problem(10, inner=1.0, outer=3.5, stiffness=1.0)
    r = torch.tensor([2.0])
    exact = problem.passage(r)
    estimate = mfpt(
        problem.dynamics, problem.B, x=problem.place(r),
        settings=settings(time_step=5e-3, paths_per_point=800),
        surrogate=lambda x: 0.09 * (12.25 - x.square().sum(1)),
    )  # fmt: skip
    assert_right(estimate, exact, 0.06 * float(exact))


@pytest.mark.parametrize(("d", "radius", "time_step"), [(3, 1.5, 4e-3), (10, 1.2, 1e-3), (100, 1.02, 1e-4)])
def test_brownian_shell(d: int, radius: float, time_step: float) -> None:
    problem = radial_problem(d, inner=1.0, outer=2.0)
    r = torch.tensor([radius])
    estimate = committor(
        problem.dynamics, problem.A, problem.B, x=problem.place(r),
        settings=settings(time_step=time_step, paths_per_point=1000),
        surrogate=lambda x: 1.0 - x.norm(dim=1).clamp_min(0.5) ** (2.2 - d),
    )  # fmt: skip
    assert_right(estimate, problem.committor(r), 0.02)


@pytest.mark.parametrize("d", [3, 10, 100])
def test_exits_of_a_brownian_ball(d: int) -> None:
    """With the exact surrogate only the exits matter: of order sqrt(h) at the steps, and much less otherwise."""
    exact = 1.0 / (2 * d)
    x, away = torch.zeros(1, d), ball(torch.zeros(d), 1.0, outside=True)
    errors, bars = {}, {}
    for exits in ("bridge", "shift", "steps"):
        estimate = mfpt(
            Overdamped(lambda x: 0.0 * x.sum(1), kT=1.0), away, x=x,
            settings=settings(time_step=0.01 / d, paths_per_point=2000, exits=exits),
            surrogate=lambda x: (1.0 - x.square().sum(1)) / (2 * d),
        )  # fmt: skip
        errors[exits] = float(estimate.value[0]) / exact - 1.0
        bars[exits] = ERRORS * float(estimate.standard_error[0]) / exact
    assert abs(errors["bridge"]) < bars["bridge"] + 2e-4
    assert bars["bridge"] < 0.03
    assert abs(errors["shift"]) < 0.8 * errors["steps"]
    assert abs(errors["bridge"]) < 0.2 * errors["steps"]


def test_time_step_bias_is_below_the_noise() -> None:
    """Steps of a sixth of the fastest relaxation time: Euler's scheme would be wrong by 0.005."""
    problem, s = hidden_double_well(1), torch.linspace(-0.45, -0.05, 40)
    paths = settings(time_step=5e-3, paths_per_point=1000)
    estimate = committor(
        problem.dynamics, problem.A, problem.B, x=problem.place(s), settings=paths, surrogate=biased(problem)
    )
    exact = problem.committor(s)
    bias = float((estimate.value - exact).mean())
    assert abs(bias) < ERRORS * float(estimate.standard_error.mean()) / 40**0.5
    assert ERRORS * float(estimate.standard_error.mean()) / 40**0.5 < 0.003


def test_mueller_brown_with_a_poor_surrogate() -> None:
    """A surrogate of two coordinates that knows nothing of the surface; kT = 20."""
    table = MuellerBrownTable.at(20.0)
    A, B = table.sets
    generator = torch.Generator().manual_seed(0)
    box = torch.rand(4000, 2, generator=generator, dtype=torch.float64) * torch.tensor([1.6, 1.6])
    x = box + torch.tensor([-1.1, -0.1])
    x = x[~(A.contains(x) | B.contains(x))]
    labels = committor(table.dynamics, A, B, x=x, settings=settings(time_step=2e-4, paths_per_point=4)).value
    training = SurrogateTraining(iterations=400, batch=512, learning_rate=1e-2)
    network = fit_surrogate(BoundaryNetwork(2, [32, 32], A=A, B=B), x, labels, training)
    chosen = [0, 4, 6, 9, 10]
    points, exact = table.points[chosen], table.committor[chosen]
    paths = settings(time_step=1e-4, paths_per_point=400)
    estimate = committor(table.dynamics, A, B, x=points, settings=paths, surrogate=network)
    assert_right(estimate, exact, 0.015)
    assert estimate.standard_error.mean() < 0.012  # plain shooting has 0.018 with antithetic paths


def test_mueller_brown_hidden_in_twelve_dimensions() -> None:
    """The same committor where the surface lies along no axis, from starts beside its plane as well; kT = 20."""
    table, surface = MuellerBrownTable.at(20.0, harmonic=10), MuellerBrownTable.at(20.0)
    A, B = table.sets
    chosen = [1, 5, 9]
    across = table.sample_across(3, torch.Generator().manual_seed(0))
    estimate = committor(
        table.dynamics, A, B, x=table.points[chosen] + across,
        settings=settings(time_step=1e-4, paths_per_point=600),
        surrogate=lambda x: torch.sigmoid(2.0 * (x @ table.plane.T.to(x)) @ torch.tensor([1.0, -1.0]).to(x)),
    )  # fmt: skip
    assert_right(estimate, surface.committor[chosen], 0.05)


def test_geometry_of_the_hidden_surface() -> None:
    table = MuellerBrownTable.at(20.0, harmonic=10)
    torch.testing.assert_close(table.plane @ table.plane.T, torch.eye(2, dtype=torch.float64))
    assert (table.plane.abs() < 0.9).all()
    across = table.sample_across(4000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(across @ table.plane.T, torch.zeros(4000, 2, dtype=torch.float64))
    # Ten independent directions of variance kT over 200, known to 0.7%.
    assert float(across.square().sum(1).mean()) == pytest.approx(10 * 20.0 / 200.0, rel=0.03)
    x = table.points[:1] + across
    surface = MuellerBrownTable.at(20.0)
    expected = surface.energy(surface.points[:1]) + 100.0 * across.square().sum(1)
    torch.testing.assert_close(table.energy(x), expected)
    for hidden, plain in zip(table.sets, surface.sets, strict=True):
        torch.testing.assert_close(hidden.level_at(x), plain.level_at(surface.points[:1]).expand(4000))


def test_survival_of_the_double_well() -> None:
    problem = hidden_double_well(50)
    x = problem.place(torch.tensor([0.0]))

    def surrogate(t: Tensor, x: Tensor) -> Tensor:
        return (0.5 * math.pi * problem.coordinate(x)).cos() * (-11.0 * t).exp()

    for t, exact in ((0.1, 0.76715), (0.2, 0.29445)):
        estimate = survival(
            problem.dynamics, (problem.A, problem.B), t=t, x=x,
            settings=settings(time_step=1e-3, paths_per_point=2000), surrogate=surrogate,
        )  # fmt: skip
        assert_right(estimate, exact, 0.03)


def test_second_moment_of_the_harmonic_oscillator() -> None:
    d = 50
    dynamics = Overdamped(lambda x: 0.5 * x.square().sum(1), kT=1.0)
    x = torch.linspace(-1.0, 1.0, d, dtype=torch.float64)[None]

    def exact(t: Tensor, x: Tensor) -> Tensor:
        return x.square().sum(1) * (-2.0 * t).exp() + d * (1.0 - (-2.0 * t).exp())

    estimate = kolmogorov(
        dynamics, lambda x: x.square().sum(1), t=0.5, x=x,
        settings=settings(time_step=1e-3, paths_per_point=64), surrogate=lambda t, x: 0.9 * exact(t, x),
    )  # fmt: skip
    goal = exact(torch.tensor(0.5), x)
    assert_right(estimate, goal, 0.01 * float(goal))


def test_multi_fidelity() -> None:
    """The committor of a cheap potential corrects the paths of another one."""
    cheap, s = hidden_double_well(2, height=3.0), torch.linspace(-0.99, 0.99, 199)
    network = BoundaryNetwork(2, [16], A=cheap.A, B=cheap.B)
    training = SurrogateTraining(iterations=400, batch=128, learning_rate=2e-2)
    surrogate = fit_surrogate(network, cheap.place(s), cheap.committor(s), training)
    costly = hidden_double_well(2, height=3.0, tilt=0.3)
    at = torch.tensor([-0.2, 0.1])
    paths = settings(time_step=2e-3, paths_per_point=600)
    parts = [
        committor(costly.dynamics, costly.A, costly.B, x=costly.place(at), settings=paths, surrogate=guess)
        for guess in (surrogate, None)
    ]
    assert_right(parts[0], costly.committor(at), 0.01)
    gain = (parts[1].standard_error / parts[0].standard_error).square()
    assert gain.mean() > 5.0
