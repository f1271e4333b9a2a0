"""Adjoint matching where everything is known: Gaussian priors, Gaussian structures, quadratic energies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from flashmd.backmap.adjoint import GaussianPrior, draw_path, lean_adjoint, matching_loss, memoryless_steps

TILTED = 0.06
"""Largest error of means (in deviations) and covariances (relative) after training with 20 steps; found 0.047."""
OF_STEPS = 0.06
"""The same against the limit of infinitely many steps, for 40 steps; found 0.04."""


def double(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


MU, SIGMA = double([0.3, -0.2]), double([[0.5, 0.3], [0.3, 0.8]])
MEAN, COVARIANCE = double([1.0, 0.5]), double([[0.6, -0.2], [-0.2, 0.3]])
STIFFNESS, CENTRE = double([[2.0, 0.5], [0.5, 1.0]]), double([0.0, 1.5])
PULL, TOWARDS = double([[0.1, 0.05], [0.05, 0.05]]), double([0.4, 0.0])


def field(time: float) -> tuple[Tensor, Tensor]:
    """Matrix and constant of the velocity of the flow between two Gaussians."""
    spread = (1 - time) ** 2 * SIGMA + time**2 * COVARIANCE
    slope = (time * COVARIANCE - (1 - time) * SIGMA) @ torch.linalg.inv(spread)
    return slope, MEAN - MU - slope @ ((1 - time) * MU + time * MEAN)


def base(x: Tensor, time: float) -> Tensor:
    slope, constant = field(time)
    return x @ slope.T + constant


def pull(x: Tensor, time: float, _length: float) -> Tensor:
    """A correction as physics in the flow makes it: late, and towards some shape."""
    return (TOWARDS - x) @ PULL.T if time > 0.7 else torch.zeros_like(x)


@dataclass
class Affine:
    """A change of the velocity, affine in x and free at every step: the best there is in this problem."""

    slope: Tensor
    constant: Tensor

    @classmethod
    def zero(cls, n_steps: int) -> Affine:
        return cls(
            torch.zeros(n_steps, 2, 2).double().requires_grad_(), torch.zeros(n_steps, 2).double().requires_grad_()
        )

    def __call__(self, x: Tensor, time: float) -> Tensor:
        step = round(time * len(self.slope))
        return base(x, time) + x @ self.slope[step].T + self.constant[step]

    @torch.no_grad()
    def law(self, *, corrected: bool = False, noisy: bool = True) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the end of the process or, without noise, of the flow: exactly."""
        n_steps = len(self.slope)
        mean, covariance, one = MU, SIGMA, torch.eye(2, dtype=torch.float64)
        for index, step in enumerate(memoryless_steps(grid(n_steps))):
            slope, constant = (a + b[index] for a, b in zip(field(step.time), (self.slope, self.constant), strict=True))
            if noisy:
                push = step.keep * one + step.drift * slope
                mean = MU * (1 - step.keep) + step.drift * constant + push @ mean
                covariance = push @ covariance @ push.T + step.noise**2 * SIGMA
            else:
                push = one + slope / n_steps
                mean, covariance = push @ mean + constant / n_steps, push @ covariance @ push.T
            if corrected and step.end > 0.7:
                mean = mean + PULL @ (TOWARDS - mean)
                covariance = (one - PULL) @ covariance @ (one - PULL).T
        return mean, covariance


def grid(n_steps: int) -> list[float]:
    return torch.linspace(0, 1, n_steps + 1).tolist()


def tilted(mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Moments of N(mean, covariance) exp(-E), normalised."""
    precision = torch.linalg.inv(covariance)
    narrowed = torch.linalg.inv(precision + STIFFNESS)
    return narrowed @ (precision @ mean + STIFFNESS @ CENTRE), narrowed


def post_train(n_steps: int, correction: Callable[[Tensor, float, float], Tensor] | None = None) -> Affine:
    n_paths, iterations = 256, 150
    change, steps = Affine.zero(n_steps), memoryless_steps(grid(n_steps))
    prior = GaussianPrior(MU.expand(n_paths, 2), torch.linalg.cholesky(SIGMA).expand(n_paths, 2, 2))
    optimizer = torch.optim.Adam([change.slope, change.constant], lr=0.06)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, iterations)
    generator = torch.Generator().manual_seed(0)
    for _ in range(iterations):
        noise = torch.randn(n_steps, n_paths, 2, generator=generator, dtype=torch.float64)
        path = draw_path(change, prior, steps, noise, correction=correction)
        terminal = (path.states[-1] - CENTRE) @ STIFFNESS
        adjoint = lean_adjoint(base, steps, path, terminal, correction=correction)
        loss = matching_loss(change, prior, steps, path, adjoint, chosen=range(n_steps - 1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return change


def error(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> float:
    scale = torch.diagonal(expected[1]).sqrt()
    mean = ((found[0] - expected[0]) / scale).abs().max()
    return max(mean.item(), ((found[1] - expected[1]) / (scale[:, None] * scale)).abs().max().item())


@pytest.mark.parametrize("corrected", [False, True])
def test_law_moves_to_the_tilted_one(corrected: bool) -> None:
    """Mean and covariance of the trained process are those of the base process, tilted; also with physics in it."""
    change = post_train(20, pull if corrected else None)
    untrained = Affine.zero(20).law(corrected=corrected)
    assert error(untrained, tilted(*untrained)) > 0.5
    assert error(change.law(corrected=corrected), tilted(*untrained)) < TILTED


def test_flow_without_noise_draws_from_the_same_law() -> None:
    """What is trained along noisy paths holds for the ordinary differential equation that sampling integrates."""
    change = post_train(40)
    assert error(change.law(noisy=False), tilted(MEAN, COVARIANCE)) < OF_STEPS
    assert error(change.law(), tilted(MEAN, COVARIANCE)) < 2 * OF_STEPS


def test_process_has_the_marginals_of_the_flow() -> None:
    """Base, prior with any covariance: the error of the law at the end falls as 1 / steps."""
    errors = [error(Affine.zero(n).law(), (MEAN, COVARIANCE)) for n in (50, 100, 200)]
    assert errors[2] < 0.03
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.2)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.2)


def test_process_forgets_its_start() -> None:
    """Memoryless: where a path ends does not depend on where it began, but for the error of the steps."""
    steps = memoryless_steps(grid(10))
    prior = GaussianPrior(torch.zeros(1, 2).double(), torch.eye(2).double()[None])
    noise = torch.randn(10, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    other = noise.clone()
    other[0] += 5.0

    def flow(x: Tensor, time: float) -> Tensor:
        """To the point (1, 1), wherever x is."""
        return (1.0 - x) / (1 - time)

    ends = [draw_path(flow, prior, steps, each) for each in (noise, other)]
    torch.testing.assert_close(ends[0].states[1:], ends[1].states[1:])


def test_steps_keep_the_marginals_of_a_point() -> None:
    """With x_1 known the steps are exact: x_t is (1 - t) x_0 + t x_1, of variance (1 - t)^2."""
    variance = 1.0
    for step in memoryless_steps([0.0, 0.1, 0.25, 0.7, 1.0]):
        push = step.keep - step.drift / (1 - step.time)
        variance = push**2 * variance + step.noise**2
        assert variance == pytest.approx((1 - step.end) ** 2, abs=1e-12)


def test_whitening() -> None:
    """L^-1 undoes L, L^T L^-T = 1, and coordinates that do not move stay out of it."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    free = double([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0]]).bool()
    covariance = root @ root.transpose(1, 2)
    prior = GaussianPrior.from_covariance(torch.zeros(3, 4).double(), covariance, free)
    noise = torch.randn(3, 4, generator=generator, dtype=torch.float64) * free
    torch.testing.assert_close(prior.whiten(prior.spread(noise)), noise)
    product = prior.factor @ prior.factor.transpose(1, 2)
    torch.testing.assert_close(product, covariance * (free[:, :, None] & free[:, None]))
    torch.testing.assert_close(prior.gather(noise), (prior.factor.transpose(1, 2) @ noise[..., None])[..., 0])


def test_lean_adjoint_is_the_gradient_along_the_base() -> None:
    """On a path of the base itself the adjoint at the start is the derivative of the final energy by the start."""
    steps = memoryless_steps(grid(8))
    prior = GaussianPrior(MU[None], torch.linalg.cholesky(SIGMA)[None])
    noise = torch.randn(8, 1, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    path = draw_path(base, prior, steps, noise, correction=pull)
    terminal = (path.states[-1] - CENTRE) @ STIFFNESS
    adjoint = lean_adjoint(base, steps, path, terminal, correction=pull)

    def energy(index: int, shift: Tensor) -> Tensor:
        """Energy at the end if the proposal after a step were shifted."""
        proposal = path.proposals[index] + shift
        state = proposal + pull(proposal, steps[index].end, 0.0)
        for later in range(index + 1, len(steps)):
            step = steps[later]
            moved = MU + step.keep * (state - MU) + step.drift * base(state, step.time)
            moved = moved + step.noise * (prior.spread(noise[later + 1]) if later + 1 < len(steps) else 0.0)
            state = moved + pull(moved, step.end, 0.0)
        offset = state - CENTRE
        return 0.5 * (offset @ STIFFNESS * offset).sum()

    for index in (0, 3, 7):
        shift = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        (expected,) = torch.autograd.grad(energy(index, shift), shift)
        torch.testing.assert_close(adjoint.gradient[index], expected)


def test_gradients_are_limited() -> None:
    steps = memoryless_steps(grid(5))
    prior = GaussianPrior(MU[None], torch.linalg.cholesky(SIGMA)[None])
    path = draw_path(base, prior, steps, torch.zeros(5, 1, 2, dtype=torch.float64))
    adjoint = lean_adjoint(base, steps, path, 100 * torch.ones(1, 2).double(), limit=lambda a: a.clamp(-3, 3))
    assert adjoint.gradient[4].abs().max() == 100
    assert max(each.abs().max().item() for each in adjoint.gradient[:4]) <= 3


@pytest.mark.parametrize("times", [[0.0], [0.1, 1.0], [0.0, 0.9], [0.0, 0.5, 0.5, 1.0]])
def test_times_grow_from_zero_to_one(times: list[float]) -> None:
    with pytest.raises(ValueError, match="`times`: expected times that grow from 0 to 1, got .*pass for example"):
        memoryless_steps(times)
