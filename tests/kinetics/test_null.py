"""What must hold whatever the problem: exact surrogates, no surrogates, wrong ones, batches, coverage."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flashmd.kinetics import (
    Overdamped,
    committor,
    hidden_double_well,
    kolmogorov,
    survival,
)
from flashmd.pde import Surrogate

from .cases import ERRORS, FREE, LEFT, RIGHT, biased, column, settings

HARMONIC = Overdamped(lambda x: 0.5 * x.square().sum(1), kT=1.0)


def line(x: Tensor) -> Tensor:
    """The exact committor of a free particle between -1 and 1."""
    return 0.5 + 0.5 * x[:, 0]


def test_exact_surrogate_has_no_variance_in_the_residual_form() -> None:
    """Drift and observable are linear, so Euler's scheme has no error of its own but in the sum over time."""
    estimate = kolmogorov(
        HARMONIC, lambda x: x.sum(1), t=0.5, x=column(0.3, 0.7),
        settings=settings(form="residual", antithetic=False, paths_per_point=50),
        surrogate=lambda t, x: x.sum(1) * (-t).exp(),
    )  # fmt: skip
    assert estimate.standard_error.max() < 1e-12
    assert torch.allclose(estimate.value, column(0.3, 0.7)[:, 0] * math.exp(-0.5), rtol=0.0, atol=1e-12)


def test_exact_surrogate_leaves_the_discretisation_in_the_martingale_form() -> None:
    spreads = []
    for time_step in (1e-2, 2.5e-3):
        estimate = kolmogorov(
            HARMONIC, lambda x: x.square().sum(1), t=0.5, x=column(0.3),
            settings=settings(time_step=time_step, antithetic=False, paths_per_point=2000),
            surrogate=lambda t, x: x.square().sum(1) * (-2.0 * t).exp() + 1.0 - (-2.0 * t).exp(),
        )  # fmt: skip
        spreads.append(float(estimate.standard_error[0]))
    assert spreads[0] / spreads[1] == pytest.approx(2.0, rel=0.15)  # order sqrt(h)


def test_zero_surrogate_is_plain_shooting() -> None:
    problem = hidden_double_well(2)
    x = problem.place(torch.tensor([-0.3, 0.2]))
    plain = committor(problem.dynamics, problem.A, problem.B, x=x, settings=settings())
    for form in ("martingale", "residual"):
        zero = committor(
            problem.dynamics, problem.A, problem.B, x=x, settings=settings(form=form),
            surrogate=lambda x: 0.0 * x.sum(1),
        )  # fmt: skip
        assert torch.equal(zero.value, plain.value)
        assert torch.equal(zero.standard_error, plain.standard_error)


def test_forms_agree() -> None:
    """Both forms on the same paths differ by discretisation only."""
    problem = hidden_double_well(3)
    x = problem.place(torch.tensor([-0.3, 0.2]))
    parts = [
        committor(
            problem.dynamics, problem.A, problem.B, x=x, surrogate=biased(problem),
            settings=settings(form=form, time_step=2e-3, paths_per_point=400),
        )
        for form in ("martingale", "residual")
    ]  # fmt: skip
    error = (parts[0].standard_error ** 2 + parts[1].standard_error ** 2).sqrt()
    assert ((parts[0].value - parts[1].value).abs() < error).all()


def test_auto_finds_the_form() -> None:
    """It takes the residual form where that is better, and not where second derivatives lie."""

    def form(guess: Surrogate | Callable[[Tensor], Tensor] | None) -> tuple[str, str]:
        paths = settings(form="auto", paths_per_point=800, antithetic=False, max_steps=20)
        told = committor(FREE, LEFT, RIGHT, x=column(0.1, 0.3), settings=paths, surrogate=guess).diagnostics
        return str(told["form"]), str(told["reason"])

    lying = Surrogate(lambda t, x: (x[:, 0] - 0.2).abs(), smooth=True)
    assert form(lying) == ("martingale", "the forms disagree")
    assert form(lambda x: line(x) + 0.1 * (3.0 * x[:, 0]).sin()) == ("martingale", "the residual form does not pay")
    assert form(None) == ("martingale", "the residual form needs a surrogate")
    assert form(Surrogate(lambda t, x: line(x), derivatives="none"))[1] == "the residual form needs second derivatives"
    exact = kolmogorov(
        HARMONIC, lambda x: x.sum(1), t=0.5, x=column(0.3),
        settings=settings(form="auto", paths_per_point=400, antithetic=False),
        surrogate=lambda t, x: x.sum(1) * (-t).exp() + 1e-4 * x.square().sum(1),
    )  # fmt: skip
    assert exact.diagnostics["form"] == "residual"
    assert exact.evaluations > 50 * 400


def test_error_falls_with_the_root_of_the_paths() -> None:
    errors = [
        committor(FREE, LEFT, RIGHT, x=column(0.3), settings=settings(paths_per_point=paths, antithetic=False))
        .standard_error.item()
        for paths in (500, 8000)
    ]  # fmt: skip
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


def test_result_depends_on_neither_batch_nor_order_nor_memory() -> None:
    x = column(-0.5, 0.0, 0.3, 0.7)
    whole = committor(FREE, LEFT, RIGHT, x=x, settings=settings(paths_per_point=64), surrogate=line)
    small = committor(FREE, LEFT, RIGHT, x=x, settings=settings(largest_tensor=50, paths_per_point=64), surrogate=line)
    turned = committor(FREE, LEFT, RIGHT, x=x.flip(0), settings=settings(paths_per_point=64), surrogate=line)
    alone = committor(FREE, LEFT, RIGHT, x=x[1:2], settings=settings(paths_per_point=64), surrogate=line)
    assert torch.equal(whole.value, small.value)
    assert torch.equal(whole.value, turned.value.flip(0))
    assert torch.equal(whole.value[1:2], alone.value)
    other = committor(FREE, LEFT, RIGHT, x=x, settings=settings(seed=1, paths_per_point=64), surrogate=line)
    assert not torch.equal(whole.value, other.value)


def test_rounds_continue_the_same_draws() -> None:
    """A tolerance makes several rounds, the last of which ends at the same budget."""
    once = committor(FREE, LEFT, RIGHT, x=column(0.3), settings=settings())
    rounds = committor(FREE, LEFT, RIGHT, x=column(0.3), settings=settings(atol=1e-9))
    assert len(rounds.history) > 1
    assert rounds.value.item() == pytest.approx(once.value.item(), abs=1e-12)
    assert rounds.history[-1].evaluations == rounds.evaluations == once.evaluations
    assert not rounds.converged.any()


def test_intervals_cover() -> None:
    """200 starts so close together that their solutions are equal, yet with random streams of their own."""
    x = column(*(0.3 + 1e-9 * torch.arange(200, dtype=torch.float64)).tolist())
    estimate = committor(
        FREE, LEFT, RIGHT, x=x, settings=settings(paths_per_point=128, time_step=5e-3),
        surrogate=lambda x: line(x) + 0.2 * (3.0 * x[:, 0]).sin(),
    )  # fmt: skip
    low, high = estimate.confidence_interval(0.95)
    covered = ((low <= 0.65) & (high >= 0.65)).double().mean()
    assert 0.90 <= covered <= 0.99  # 0.95 with a standard deviation of 0.015


def test_wrong_surrogates_do_not_mislead() -> None:
    for guess in (lambda x: 2.0 * (20.0 * x[:, 0]).sin(), lambda x: (-20.0 * x[:, 0].square()).exp()):
        estimate = committor(FREE, LEFT, RIGHT, x=column(0.3), settings=settings(), surrogate=guess)
        assert (estimate.value - 0.65).abs() < ERRORS * estimate.standard_error
        assert estimate.standard_error > 0.02


def test_the_factor_of_the_control_is_found() -> None:
    """A surrogate of the wrong size and sign is as good as the right one, and without bias."""
    paths = settings(paths_per_point=400, antithetic=False)
    right, turned = (
        committor(FREE, LEFT, RIGHT, x=column(0.3), settings=paths, surrogate=guess)
        for guess in (line, lambda x: -3.0 * line(x))
    )
    assert turned.value.item() == pytest.approx(right.value.item(), abs=1e-12)
    assert turned.standard_error.item() == pytest.approx(right.standard_error.item(), rel=1e-9)
    assert right.standard_error < 0.2 * (0.65 * 0.35 / 400) ** 0.5


def test_truncation_is_within_its_bound() -> None:
    guess = lambda x: line(x) + 0.1  # noqa: E731
    estimate = committor(FREE, LEFT, RIGHT, x=column(0.0), settings=settings(max_steps=20), surrogate=guess)
    error = (estimate.value - 0.5).abs()
    assert estimate.diagnostics["truncated"] > 0.5
    assert error > ERRORS * estimate.standard_error
    assert error < estimate.bias_bound + ERRORS * estimate.standard_error
    assert committor(FREE, LEFT, RIGHT, x=column(0.0), settings=settings(), surrogate=guess).bias_bound == 0.0


def test_truncated_survival_is_within_its_bound() -> None:
    paths = settings(max_steps=10, paths_per_point=1000)
    estimate = survival(FREE, (LEFT, RIGHT), t=0.5, x=column(0.0), settings=paths)
    exact = sum(
        4.0 / math.pi * (-1) ** k / (2 * k + 1) * math.exp(-(((2 * k + 1) * math.pi / 2) ** 2) / 2) for k in range(9)
    )
    assert (estimate.value - exact).abs() < estimate.bias_bound + ERRORS * estimate.standard_error


@pytest.mark.parametrize("form", ["martingale", "residual"])
def test_roulette_has_no_bias(form: str) -> None:
    guess = lambda x: line(x) + 0.05 * (3.0 * x[:, 0]).sin()  # noqa: E731
    paths = settings(roulette_steps=64, paths_per_point=4000, form=form)
    estimate = committor(FREE, LEFT, RIGHT, x=column(0.3), settings=paths, surrogate=guess)
    full = committor(FREE, LEFT, RIGHT, x=column(0.3), settings=settings(form=form), surrogate=guess)
    assert estimate.diagnostics["mean_steps"] < 0.8 * full.diagnostics["mean_steps"]
    assert (estimate.value - 0.65).abs() < ERRORS * estimate.standard_error + 2e-3
    assert estimate.bias_bound == 0.0


@pytest.mark.parametrize("surrogate", [None, lambda x: 0.3 + 0.37 * x[:, 0]])
def test_paths_that_all_end_alike_leave_room_for_doubt(surrogate: Callable[[Tensor], Tensor] | None) -> None:
    """A force drives every path into B; a few draws cannot tell this from a probability of almost one."""
    driven = Overdamped(lambda x: -50.0 * x.sum(1), kT=1.0)
    paths = settings(time_step=1e-3, paths_per_point=20)
    estimate = committor(driven, LEFT, RIGHT, x=column(0.17), settings=paths, surrogate=surrogate)
    assert estimate.value.item() == pytest.approx(1.0, abs=1e-12)
    assert estimate.standard_error == 0.1
