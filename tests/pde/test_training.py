"""Training of surrogates and refitting on corrected values."""

from __future__ import annotations

import pytest
import torch

from flashmd.pde import Parabolic, Surrogate, SurrogateTraining, correct, distill, train_surrogate
from flashmd.pde.training import residual
from tests.pde.cases import BURGERS, bent, quadratic_exact, quadratic_problem, settings

F64 = torch.float64


@pytest.mark.parametrize("hard", [True, False])
def test_a_short_training_and_its_correction(hard: bool) -> None:
    training = SurrogateTraining(widths=(24, 24), iterations=200, batch=64, hard_terminal=hard, learning_rate=1e-2)
    surrogate = train_surrogate(BURGERS.problem, BURGERS.points, training)
    t, x = BURGERS.points(50, 10_000)
    exact = BURGERS.exact(t, x)
    estimate = correct(BURGERS.problem, surrogate, t, x, settings=settings(evaluations_per_point=420))
    before, after = ((value - exact).norm() / exact.norm() for value in (estimate.surrogate, estimate.value))
    assert before < 0.1
    assert after < 0.5 * before
    again = train_surrogate(BURGERS.problem, BURGERS.points, training)
    assert torch.equal(again.value(t, x), surrogate.value(t, x))


def test_general_coefficients_can_be_trained() -> None:
    problem = quadratic_problem()
    turned = Parabolic(
        d=3, T=1.0, drift=problem.drift, diffusion=lambda t, x: problem.sigma.at(t, x).expand(x.shape),
        source=problem.source, terminal=problem.terminal,
    )  # fmt: skip

    def points(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(n, generator=generator, dtype=F64), torch.randn(n, 3, generator=generator, dtype=F64)

    training = SurrogateTraining(widths=(12, 12), iterations=250, batch=32, learning_rate=2e-2)
    surrogate = train_surrogate(turned, points, training)
    t, x = points(100, 99_999)
    exact = quadratic_exact(t, x)
    assert (surrogate.value(t, x) - exact).norm() < 0.5 * (turned.terminal_at(x) - exact).norm()


def test_residual_of_the_exact_solution_vanishes() -> None:
    t, x = BURGERS.points(5, 0)
    assert residual(BURGERS.problem, Surrogate(BURGERS.exact), t, x).abs().max() < 1e-12


def test_refitting_leaves_the_surrogate_and_reduces_its_error() -> None:
    training = SurrogateTraining(widths=(24, 24), iterations=60, batch=64, learning_rate=1e-2)
    surrogate = train_surrogate(BURGERS.problem, BURGERS.points, training)
    t, x = BURGERS.points(300, 1)
    before = surrogate.value(t, x)
    estimate = correct(BURGERS.problem, surrogate, t, x, settings=settings(evaluations_per_point=2000))
    refitted = distill(surrogate, estimate, t, x, SurrogateTraining(iterations=200, learning_rate=3e-3))
    assert torch.equal(surrogate.value(t, x), before)
    new_t, new_x = BURGERS.points(300, 2)
    exact = BURGERS.exact(new_t, new_x)
    errors = [(s.value(new_t, new_x) - exact).norm() for s in (surrogate, refitted)]
    assert errors[1] < 0.5 * errors[0]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="the training: expected positive numbers, got iterations=0"):
        SurrogateTraining(iterations=0)
    t, x = BURGERS.points(4, 0)
    estimate = correct(BURGERS.problem, bent(BURGERS), t, x, settings=settings())
    with pytest.raises(ValueError, match="the surrogate: expected a torch module to refit, got Ridge"):
        distill(bent(BURGERS), estimate, t, x, SurrogateTraining(iterations=1))
