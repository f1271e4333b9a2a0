"""Null tests of the correction: what must hold exactly, and what must hold within its own error bars."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from flashmd.pde import Estimate, Parabolic, Surrogate, correct
from flashmd.pde.problems import REFERENCE_PROBLEMS
from tests.pde.cases import BURGERS, SMALL, bent, settings, zero

F64 = torch.float64
ROUNDING = 1e-12
# Four standard deviations: one false alarm in 16,000 numbers.
SIGMAS = 4.0


def error(estimate: Estimate, exact: torch.Tensor) -> float:
    return float((estimate.value - exact).norm() / exact.norm())


@pytest.mark.parametrize("name", [name for name in REFERENCE_PROBLEMS if name != "hamilton_jacobi"])
def test_exact_surrogate_leaves_nothing_to_simulate(name: str) -> None:
    case = SMALL[name]
    t, x = case.points(5, 0)
    exact = Surrogate(case.exact)
    residual = correct(case.problem, exact, t, x, form="residual", settings=settings())
    torch.testing.assert_close(residual.value, case.exact(t, x), rtol=ROUNDING, atol=ROUNDING)
    assert residual.standard_error.max() < ROUNDING


def test_martingale_form_of_an_exact_surrogate_has_noise_of_half_order_in_the_step() -> None:
    t, x = BURGERS.points(20, 0)
    errors = []
    for steps in (10, 40):
        case = settings(steps=steps, evaluations_per_point=64 * steps, variance=())
        estimate = correct(BURGERS.problem, Surrogate(BURGERS.exact), t, x, form="martingale", settings=case)
        errors.append(float(estimate.standard_error.norm()))
    # 64 draws know their deviation to a tenth, twenty points together to a fiftieth.
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.15)


def test_without_a_surrogate_it_is_plain_monte_carlo() -> None:
    problem = Parabolic(d=2, T=1.0, drift=0.3, diffusion=0.5, terminal=lambda x: x.prod(1))
    x = torch.tensor([[1.0, 2.0], [0.0, 0.5]], dtype=F64)
    estimates = [
        correct(problem, Surrogate(zero), 0.0, x, method="linear", form=form, settings=settings())
        for form in ("residual", "martingale")
    ]
    torch.testing.assert_close(estimates[0].value, estimates[1].value, rtol=ROUNDING, atol=ROUNDING)
    exact = (x + 0.3).prod(1)
    assert ((estimates[0].value - exact).abs() < SIGMAS * estimates[0].standard_error).all()


@pytest.mark.parametrize("name", REFERENCE_PROBLEMS)
def test_forms_agree_and_cover_the_exact_solution(name: str) -> None:
    case = SMALL[name]
    t, x = case.points(8, 1)
    for form in ("residual", "martingale"):
        chosen = settings(evaluations_per_point=8000, steps=20)
        estimate = correct(case.problem, bent(case), t, x, form=form, settings=chosen)
        gap = (estimate.value - case.exact(t, x)).abs()
        # The martingale form carries the error of the time step of the solution itself.
        step = 2e-3 if form == "martingale" else 0.02 * (estimate.surrogate - case.exact(t, x)).abs()
        assert (gap < SIGMAS * estimate.standard_error + 3.0 * estimate.bias_bound + step).all()


@pytest.mark.parametrize("method", ["newton", "mlp", "mlp-quad"])
def test_every_method_improves_the_surrogate(method: str) -> None:
    t, x = BURGERS.points(20, 2)
    exact = BURGERS.exact(t, x)
    estimate = correct(
        BURGERS.problem, bent(BURGERS), t, x, method=method, settings=settings(evaluations_per_point=2000)
    )
    before = float((estimate.surrogate - exact).norm() / exact.norm())
    assert error(estimate, exact) < 0.2 * before
    assert ((estimate.value - exact).abs() < 5.0 * estimate.standard_error + 1e-3).all()


@pytest.mark.parametrize("method", ["newton", "mlp"])
def test_error_falls_with_the_root_of_the_number_of_draws(method: str) -> None:
    t, x = BURGERS.points(60, 3)
    case = BURGERS
    samples = ((4, 4), (8, 8, 2))
    deviations = []
    for budget in (640, 640 * 16):
        chosen = settings(evaluations_per_point=budget, samples=samples if method == "mlp" else None)
        estimate = correct(case.problem, bent(case), t, x, method=method, settings=chosen)
        deviations.append(float((estimate.value - case.exact(t, x)).norm()))
    slope = math.log(deviations[1] / deviations[0]) / math.log(16.0)
    assert slope == pytest.approx(-0.5, abs=0.15)


def coverage(form: str, method: str, budget: int, rtol: float = 0.0) -> tuple[float, set[int]]:
    """Share of the 95% intervals of 200 seeds at 5 points that hold the exact solution, and the numbers of draws."""
    t, x = BURGERS.points(5, 4)
    exact = BURGERS.exact(t, x)
    inside, draws = [], set()
    for seed in range(200):
        chosen = settings(evaluations_per_point=budget, steps=4, seed=seed, samples=((2, 2), (6, 6, 2)), rtol=rtol)
        estimate = correct(BURGERS.problem, bent(BURGERS), t, x, form=form, method=method, settings=chosen)
        low, high = estimate.confidence_interval(0.95)
        inside.append(((low <= exact) & (exact <= high)).double())
        draws.update((estimate.degrees_of_freedom + 1).int().tolist())
    return float(torch.stack(inside).mean()), draws


@pytest.mark.parametrize(
    ("form", "method", "budget"), [("residual", "newton", 256), ("martingale", "newton", 256), ("residual", "mlp", 640)]
)
def test_intervals_cover_as_often_as_they_say(form: str, method: str, budget: int) -> None:
    # A thousand intervals: the share is known to 0.7%; the gate is 90 to 98%.
    assert 0.90 < coverage(form, method, budget)[0] < 0.98


def test_intervals_that_stop_at_a_tolerance_cover_too() -> None:
    share, draws = coverage("residual", "newton", 16 * 64, rtol=8e-4)
    assert {16, 32, 64} <= draws
    assert 0.90 < share < 0.98


def test_a_wrong_surrogate_gets_wide_bars_and_not_a_wrong_value() -> None:
    t, x = BURGERS.points(30, 5)
    wrong = Surrogate(lambda t, x: BURGERS.exact(t, x) + 0.1 * (3.0 * x[:, 0]).sin() * (1.0 - t))
    estimate = correct(BURGERS.problem, wrong, t, x, settings=settings(evaluations_per_point=4000))
    z = (estimate.value - BURGERS.exact(t, x)) / (estimate.standard_error + estimate.bias_bound)
    assert z.abs().max() < SIGMAS
    # Half of the true errors lie beyond half a bar: the bars are not so wide as to hide everything.
    assert z.abs().max() > 0.5


WAYS = [(method, variance) for method in ("newton", "mlp", "mlp-quad") for variance in (("antithetic",), ())]
WAYS += [("newton", ("antithetic", "sobol")), ("newton", ("coefficient",))]


@pytest.mark.parametrize(("method", "variance"), WAYS)
def test_results_depend_on_neither_batch_nor_chunks_nor_order(method: str, variance: tuple[str, ...]) -> None:
    t, x = BURGERS.points(7, 6)
    chosen = settings(variance=variance, steps=4, sobol_paths=4, evaluations_per_point=1000, rtol=1e-4, replicates=4)
    form = "martingale" if "coefficient" in variance else "residual"
    run = lambda t, x, s: correct(BURGERS.problem, bent(BURGERS), t, x, method=method, form=form, settings=s)  # noqa: E731
    whole = run(t, x, chosen)
    order = torch.tensor([3, 0, 6, 2, 1, 5, 4])
    pieces = [run(t[i : i + 1], x[i : i + 1], chosen) for i in range(7)]
    chunked = run(t[order], x[order], dataclasses.replace(chosen, largest_tensor=6 * 40))
    for name in ("value", "standard_error"):
        alone = torch.cat([getattr(piece, name) for piece in pieces])
        torch.testing.assert_close(alone, getattr(whole, name), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(getattr(chunked, name), getattr(whole, name)[order], rtol=1e-9, atol=1e-12)


def test_results_do_not_depend_on_threads_and_do_on_the_seed() -> None:
    t, x = BURGERS.points(7, 6)
    results = []
    before = torch.get_num_threads()
    for threads, seed in ((1, 0), (2, 0), (1, 1)):
        torch.set_num_threads(threads)
        results.append(correct(BURGERS.problem, bent(BURGERS), t, x, settings=settings(seed=seed)).value)
    torch.set_num_threads(before)
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-13)
    assert (results[0] != results[2]).all()


def test_affine_terminal_values_are_exact_with_mirror_paths() -> None:
    case = SMALL["convection"]
    t, x = case.points(5, 7)
    for method in ("linear", "mlp"):
        chosen = settings(samples=((2, 2), (4, 4, 2)) if method == "mlp" else None)
        estimate = correct(case.problem, Surrogate(zero), t, x, method=method, settings=chosen)
        torch.testing.assert_close(estimate.value, case.exact(t, x), rtol=ROUNDING, atol=ROUNDING)


def test_the_horizon_returns_the_terminal_value() -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=F64)
    t = torch.tensor([0.5, 0.1, 0.5, 0.2], dtype=F64)
    estimate = correct(BURGERS.problem, bent(BURGERS), t, x, settings=settings(gradient=True))
    exact = BURGERS.exact(t, x)
    assert torch.equal(estimate.converged, t == 0.5)
    torch.testing.assert_close(estimate.value[t == 0.5], exact[t == 0.5], rtol=ROUNDING, atol=ROUNDING)
    assert (estimate.standard_error[t == 0.5] == 0.0).all()
    slope = (exact * (1.0 - exact))[:, None].expand(-1, 6)
    assert estimate.gradient is not None
    torch.testing.assert_close(estimate.gradient[t == 0.5], slope[t == 0.5], rtol=1e-10, atol=1e-10)


def test_hutchinson_is_unbiased() -> None:
    t, x = BURGERS.points(6, 8)
    surrogate = Surrogate(lambda t, x: BURGERS.rough(t, x), derivatives="hutchinson")
    estimate = correct(BURGERS.problem, surrogate, t, x, form="residual", settings=settings(evaluations_per_point=8000))
    gap = (estimate.value - BURGERS.exact(t, x)).abs()
    assert (gap < SIGMAS * estimate.standard_error + 3.0 * estimate.bias_bound + 1e-4).all()


@pytest.mark.parametrize(("method", "form"), [("newton", "residual"), ("newton", "martingale"), ("mlp", "residual")])
def test_gradient_covers_the_exact_one(method: str, form: str) -> None:
    t, x = BURGERS.points(4, 9)
    chosen = settings(evaluations_per_point=6000, steps=20, gradient=True)
    estimate = correct(BURGERS.problem, bent(BURGERS), t, x, method=method, form=form, settings=chosen)
    exact = BURGERS.exact(t, x)
    slope = (exact * (1.0 - exact))[:, None].expand(-1, 6)
    assert estimate.gradient is not None
    assert estimate.gradient_standard_error is not None
    allowed = SIGMAS * estimate.gradient_standard_error + (4e-3 if form == "martingale" else 1e-3)
    assert ((estimate.gradient - slope).abs() < allowed).all()
    assert (estimate.gradient - slope).norm() < (0.5 if method == "newton" else 1.0) * float(
        (Surrogate(BURGERS.rough).gradient(t, x).gradient - slope).norm()
    )
