"""Training of surrogates and refitting on corrected values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashmd.pde import Parabolic, Surrogate, SurrogateNetwork, SurrogateTraining, correct, distill, train_surrogate
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


def test_networks_of_places_alone_are_refitted_as_well() -> None:
    """A solution that does not depend on time: u = sum x with a constant drift that the terminal value balances."""
    problem = Parabolic(d=2, T=1.0, terminal=lambda x: x.sum(1))
    network = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0)).double()
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    surrogate = Surrogate(lambda t, x: network(x))
    estimate = correct(problem, surrogate, 0.0, x, method="linear", settings=settings())
    training = SurrogateTraining(iterations=300, learning_rate=3e-2)
    before = network(x).detach()
    refitted = distill(network, estimate, None, x, training)
    assert isinstance(refitted, torch.nn.Sequential)
    assert torch.equal(network(x), before)
    assert (refitted(x) - x.sum(1)).norm() < 0.05 * (before - x.sum(1)).norm()
    assert not any(parameter.requires_grad for parameter in refitted.parameters())


def test_noisy_values_count_less() -> None:
    """Half of the labels are wrong by one and say so."""
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Flatten(0)).double()
    problem = Parabolic(d=1, T=1.0, terminal=lambda x: x[:, 0])
    x = torch.linspace(-1.0, 1.0, 100, dtype=F64)[:, None]
    estimate = correct(problem, Surrogate(lambda t, x: x[:, 0]), 0.0, x, method="linear", settings=settings())
    wrong = torch.arange(100) % 2 == 0
    noisy = replace(
        estimate, value=estimate.value + wrong.double(), standard_error=torch.where(wrong, 10.0, 0.01).double()
    )
    refitted = distill(network, noisy, None, x, SurrogateTraining(iterations=300, learning_rate=3e-2))
    assert (refitted(x) - x[:, 0]).abs().max() < 0.05


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="the training: expected positive numbers, got iterations=0"):
        SurrogateTraining(iterations=0)
    t, x = BURGERS.points(4, 0)
    estimate = correct(BURGERS.problem, bent(BURGERS), t, x, settings=settings())
    with pytest.raises(ValueError, match="the surrogate: expected a torch module to refit, got Ridge"):
        distill(bent(BURGERS), estimate, t, x, SurrogateTraining(iterations=1))
    network = Surrogate(SurrogateNetwork(6, [4], T=0.5))
    with pytest.raises(ValueError, match="`estimate`: expected a value for each of the 3 points, got 4"):
        distill(network, estimate, t[:3], x[:3], SurrogateTraining(iterations=1))
