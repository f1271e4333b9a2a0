"""Stopping, budgets, the choice of a form, variance reduction, and what is said of wrong arguments."""

from __future__ import annotations

import pytest
import torch

from flashmd.pde import CorrectionSettings, Parabolic, Surrogate, SurrogateNetwork, correct
from flashmd.pde.feynman_kac import LinearisedPaths, Points
from flashmd.pde.grid import time_grid
from tests.pde.cases import BURGERS, SMALL, bent, settings, zero

F64 = torch.float64


def test_points_stop_at_the_tolerance() -> None:
    t, x = BURGERS.points(20, 0)
    chosen = CorrectionSettings(rtol=5e-4, evaluations_per_point=50_000, steps=10)
    estimate = correct(BURGERS.problem, bent(BURGERS), t, x, form="residual", settings=chosen)
    assert estimate.converged.all()
    assert (estimate.standard_error + estimate.bias_bound <= 5e-4 * estimate.value.abs()).all()
    draws = estimate.degrees_of_freedom + 1
    assert draws.min() < draws.max()
    assert estimate.evaluations == int(draws.sum()) * 20
    assert [entry.active for entry in estimate.history] == sorted((e.active for e in estimate.history), reverse=True)


def test_a_budget_that_is_too_small_is_a_flag_with_numbers() -> None:
    t, x = BURGERS.points(3, 0)
    chosen = settings(rtol=1e-9)
    estimate = correct(BURGERS.problem, bent(BURGERS), t, x, form="residual", settings=chosen)
    assert not estimate.converged.any()
    assert (estimate.standard_error > 0.0).all()
    assert estimate.evaluations == 3 * 640


def test_no_round_begins_after_the_time_is_up() -> None:
    t, x = BURGERS.points(3, 0)
    chosen = settings(max_seconds=0.0, evaluations_per_point=10_000)
    assert len(correct(BURGERS.problem, bent(BURGERS), t, x, form="residual", settings=chosen).history) == 1


def test_kinks_are_noticed_by_comparing_the_forms() -> None:
    """The tent |x| has no second derivative where it matters; the residual form would miss it."""
    problem = Parabolic(d=1, T=1.0, terminal=lambda x: x[:, 0].square())
    kink = Surrogate(lambda t, x: x[:, 0].abs())
    x = torch.zeros(3, 1, dtype=F64)
    chosen = settings(evaluations_per_point=100_000)
    estimate = correct(problem, kink, 0.0, x, settings=chosen)
    assert estimate.diagnostics["form"] == "martingale"
    assert estimate.diagnostics["reason"] == "the forms disagree"
    assert ((estimate.value - 1.0).abs() < 4.0 * estimate.standard_error).all()
    wrong = correct(problem, kink, 0.0, x, form="residual", settings=chosen)
    assert ((wrong.value - 1.0).abs() > 10.0 * wrong.standard_error).all()


def test_smooth_surrogates_keep_the_residual_form() -> None:
    t, x = BURGERS.points(10, 1)
    estimate = correct(BURGERS.problem, bent(BURGERS), t, x, settings=settings(evaluations_per_point=5000))
    assert estimate.diagnostics["form"] == "residual"
    assert estimate.evaluations <= 1.1 * 10 * 5000
    alone = correct(BURGERS.problem, bent(BURGERS), t[:1], x[:1], settings=settings())
    assert alone.diagnostics["reason"] == "the budget does not allow to compare the forms"


def test_networks_with_kinks_take_the_martingale_form() -> None:
    class Kinked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(7, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))

        def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return 1e-2 * self.layers(torch.cat([t[:, None], x], 1))[:, 0]

    torch.manual_seed(0)
    surrogate = Surrogate(Kinked())
    t, x = BURGERS.points(5, 1)
    estimate = correct(BURGERS.problem, surrogate, t, x, settings=settings(evaluations_per_point=5000))
    assert estimate.diagnostics["form"] == "martingale"
    with pytest.raises(ValueError, match='form "residual": expected second derivatives, got a surrogate without them'):
        correct(BURGERS.problem, surrogate, t, x, form="residual")


def test_coefficient_protects_against_a_bad_control_variate() -> None:
    t, x = BURGERS.points(10, 2)
    bad = Surrogate(lambda t, x: 5.0 * BURGERS.exact(t, x))
    problem = Parabolic(d=6, T=0.5, diffusion=0.25, terminal=BURGERS.problem.terminal)
    run = lambda *variance: correct(  # noqa: E731
        problem, bad, t, x, method="linear", form="martingale",
        settings=settings(evaluations_per_point=4000, variance=variance),
    )  # fmt: skip
    plain, fitted = run("antithetic"), run("antithetic", "coefficient")
    without = run()
    assert run("coefficient").standard_error.norm() < 0.5 * without.standard_error.norm()
    assert fitted.evaluations <= 10 * 4000
    assert ((plain.value - fitted.value).abs() < 4.0 * (plain.standard_error + fitted.standard_error)).all()


def test_a_fitted_coefficient_does_not_hide_the_error_of_the_gradient() -> None:
    """The bias bound is made of the variance of paths with the whole control variate."""
    t, x = BURGERS.points(5, 3)
    sampler = LinearisedPaths(BURGERS.problem, bent(BURGERS), "martingale", steps=4, seed=0)
    whole, half = (sampler.draw(Points(t, x, part), 0, 4) for part in (None, torch.full_like(t, 0.5)))
    assert (whole.value != half.value).all()
    torch.testing.assert_close(half.square, whole.square)


@pytest.mark.parametrize("variance", [("antithetic",), ("sobol",)])
@pytest.mark.parametrize("grading", [0.5, 1.0, 2.0])
def test_graded_steps_fill_the_time_to_the_horizon(grading: float, variance: tuple[str, ...]) -> None:
    """Trapezoidal sums of a linear source are exact on any grid that begins at t and ends at T."""
    problem = Parabolic(d=2, T=1.0, source=lambda t, x, u, z: t, terminal=lambda x: 0.0 * x[:, 0])
    t = torch.tensor([0.0, 0.3], dtype=F64)
    chosen = settings(grading=grading, variance=variance)
    estimate = correct(problem, Surrogate(zero), t, torch.zeros(2, 2, dtype=F64), method="linear", settings=chosen)
    torch.testing.assert_close(estimate.value, 0.5 * (1.0 - t.square()))


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_nodes_of_gauss_and_lobatto_integrate_polynomials(steps: int) -> None:
    grid = time_grid(steps, 1.0, "lobatto")
    shares, parts = (torch.tensor(row, dtype=F64) for row in (grid.shares, grid.weights))
    assert (shares.diff() > 0.0).all()
    for degree in range(2 * steps):
        assert float(parts @ shares**degree) == pytest.approx(1.0 / (degree + 1), rel=1e-12)
    assert float(parts @ shares ** (2 * steps)) != pytest.approx(1.0 / (2 * steps + 1), rel=1e-12)


def test_two_nodes_of_gauss_and_lobatto_do_for_a_source_of_third_degree() -> None:
    problem = Parabolic(d=2, T=1.0, source=lambda t, x, u, z: t**3, terminal=lambda x: 0.0 * x[:, 0])
    t, x = torch.tensor([0.0, 0.3], dtype=F64), torch.zeros(2, 2, dtype=F64)
    exact = 0.25 * (1.0 - t**4)
    for quadrature, accuracy in (("lobatto", 1e-13), ("trapezoid", 0.2)):
        chosen = settings(steps=2, quadrature=quadrature)
        estimate = correct(problem, Surrogate(zero), t, x, method="linear", settings=chosen)
        assert (estimate.value - exact).abs().max() < accuracy
        assert (estimate.value - exact).abs().max() > 0.1 * accuracy or quadrature == "lobatto"


def test_nets_beat_independent_paths() -> None:
    case = SMALL["reaction_diffusion"]
    t, x = case.points(30, 3)
    errors = []
    for variance in ((), ("sobol",)):
        chosen = settings(evaluations_per_point=6400, steps=4, sobol_paths=64, variance=variance)
        estimate = correct(case.problem, bent(case), t, x, form="residual", settings=chosen)
        errors.append(float(estimate.standard_error.norm()))
        assert ((estimate.value - case.exact(t, x)).abs() < 4.0 * estimate.standard_error + estimate.bias_bound).all()
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"steps": 0}, "`steps`: expected at least 1, got 0"),
        ({"replicates": 1}, "`replicates`: expected at least 2, got 1"),
        ({"grading": 0.0}, "`grading`: expected a positive exponent, got 0.0"),
        ({"quadrature": "gauss"}, "`quadrature`: expected one of trapezoid, lobatto, got 'gauss'"),
        (
            {"quadrature": "lobatto", "grading": 2.0},
            '`grading`: expected nothing but 1 with quadrature "lobatto", got 2.0',
        ),
        ({"rtol": float("nan")}, "the tolerances: expected numbers of at least 0, got rtol=nan, atol=0.0"),
        ({"rtol": -1.0}, "the tolerances: expected numbers of at least 0, got rtol=-1.0, atol=0.0"),
        ({"variance": ("antithetik",)}, "`variance`: expected one of antithetic, sobol, coefficient, got 'antithetik'"),
    ],
)
def test_wrong_settings(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        CorrectionSettings(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"steps": 2.5}, "`steps`: expected a whole number, got 2.5. To fix it, leave out the fraction"),
        ({"steps": True}, "`steps`: expected a whole number, got True"),
        ({"seed": 1.5}, "`seed`: expected a whole number, got 1.5"),
        ({"variance": "sobol"}, r"`variance`: expected a tuple of names, got 'sobol'. To fix it, pass \('sobol',\)"),
    ],
)
def test_settings_of_wrong_types(changes: dict[str, object], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        CorrectionSettings(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "changes", "text"),
    [
        ({"method": "picard"}, {}, "`method`: expected one of newton, linear, mlp, mlp-quad, got 'picard'"),
        ({"form": "weak"}, {}, "`form`: expected one of auto, residual, martingale, got 'weak'"),
        ({"method": "linear"}, {}, '`source`: expected a function affine in u and z for "linear"'),
        ({}, {"evaluations_per_point": 39}, "`evaluations_per_point`: expected at least 40 for two draws, got 39"),
        (
            {"method": "mlp"},
            {"evaluations_per_point": 100},
            "`evaluations_per_point`: expected .* for each replicate, got 6",
        ),
        ({"method": "mlp", "form": "martingale"}, {}, "`form`: expected the residual form for Picard iteration"),
        ({"method": "mlp"}, {"variance": ("sobol",)}, '`variance`: expected "antithetic" at most for Picard'),
        (
            {"method": "mlp"},
            {"samples": ((4, 4), (4, 4))},
            r"`samples\[1\]`: expected 3 positive whole numbers, got \(4, 4\)",
        ),
        (
            {"method": "mlp"},
            {"samples": ((2, 2.5),)},
            r"`samples\[0\]`: expected 2 positive whole numbers, got \(2, 2.5\)",
        ),
        ({"method": "mlp"}, {"samples": ()}, "`samples`: expected a row for each level, got none"),
        ({}, {"variance": ("sobol",), "sobol_paths": 12}, "`sobol_paths`: expected a power of two, got 12"),
        ({}, {"variance": ("sobol",), "steps": 5000}, 'variance "sobol": expected at most 21201 numbers for each path'),
    ],
)
def test_wrong_arguments(arguments: dict[str, str], changes: dict[str, object], text: str) -> None:
    t, x = BURGERS.points(2, 0)
    with pytest.raises(ValueError, match=text):
        correct(BURGERS.problem, bent(BURGERS), t, x, **arguments, settings=settings(**changes))  # type: ignore[arg-type]


def test_arguments_of_wrong_types() -> None:
    t, x = BURGERS.points(2, 0)
    with pytest.raises(TypeError, match="the surrogate: expected a Surrogate, got Ridge.*`flashmd.pde.Surrogate`"):
        correct(BURGERS.problem, BURGERS.rough, t, x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the problem: expected a Parabolic, got ReferenceProblem"):
        correct(BURGERS, bent(BURGERS), t, x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`settings`: expected a CorrectionSettings, got dict"):
        correct(BURGERS.problem, bent(BURGERS), t, x, settings={"rtol": 1e-3})  # type: ignore[arg-type]


def test_picard_iteration_needs_an_inverse_and_second_derivatives() -> None:
    x = torch.zeros(2, 3, dtype=F64)
    singular = Parabolic(d=3, T=1.0, diffusion=torch.tensor([1.0, 0.0, 1.0]), terminal=lambda x: x.sum(1))
    with pytest.raises(ValueError, match="`diffusion`: expected an invertible matrix, got smallest singular value 0.0"):
        correct(singular, Surrogate(zero), 0.0, x, method="mlp")
    matrix = Parabolic(d=3, T=1.0, diffusion=torch.ones(3, 3), terminal=lambda x: x.sum(1))
    with pytest.raises(ValueError, match="`diffusion`: expected an invertible matrix, got smallest singular value"):
        correct(matrix, Surrogate(zero), 0.0, x, method="mlp")
    varying = Parabolic(d=3, T=1.0, diffusion=lambda t, x: 1.0 + x.square(), terminal=lambda x: x.sum(1))
    with pytest.raises(ValueError, match="`diffusion`: expected a constant for Picard iteration, got a function"):
        correct(varying, Surrogate(zero), 0.0, x, method="mlp")
    fine = Parabolic(d=3, T=1.0, terminal=lambda x: x.sum(1))
    with pytest.raises(ValueError, match="the surrogate: expected second derivatives for Picard iteration, got none"):
        correct(fine, Surrogate(zero, derivatives="none"), 0.0, x, method="mlp")


def test_gradients_need_a_differentiable_surrogate() -> None:
    t, x = BURGERS.points(2, 0)
    surrogate = Surrogate(BURGERS.rough, derivatives="differences")
    with pytest.raises(
        ValueError, match="`gradient`: expected a surrogate that can be differentiated, got differences"
    ):
        correct(BURGERS.problem, surrogate, t, x, settings=settings(gradient=True))


def test_wrong_level_of_an_interval() -> None:
    t, x = BURGERS.points(2, 0)
    estimate = correct(BURGERS.problem, bent(BURGERS), t, x, settings=settings())
    with pytest.raises(ValueError, match="`level`: expected a probability between 0 and 1, got 95"):
        estimate.confidence_interval(95)
    low, high = estimate.confidence_interval(0.5)
    wide_low, wide_high = estimate.confidence_interval(0.99)
    assert (wide_low < low).all()
    assert (high < wide_high).all()


def test_single_precision_points_and_networks() -> None:
    t, x = BURGERS.points(4, 0)
    surrogate = Surrogate(SurrogateNetwork(6, [8], T=0.5, terminal=BURGERS.problem.terminal))
    estimate = correct(BURGERS.problem, surrogate, t, x.float(), settings=settings(evaluations_per_point=4000))
    assert estimate.value.dtype == F64
    gap = (estimate.value - BURGERS.exact(t, x.float().double())).abs()
    assert (gap < 4.0 * estimate.standard_error + 3.0 * estimate.bias_bound).all()
