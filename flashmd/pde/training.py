"""Training of a small surrogate on the places that the paths of a correction visit, and refitting it afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar, overload

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.pde.diffusion import times, transposed_times
from flashmd.pde.estimate import Estimate
from flashmd.pde.network import SurrogateNetwork
from flashmd.pde.problem import Parabolic
from flashmd.pde.surrogate import Surrogate, parameter_dtype

SamplePoints = Callable[[int, int], tuple[Tensor, Tensor]]
_PATH_STEPS = 4
Batch = TypeVar("Batch")
Module = TypeVar("Module", bound=torch.nn.Module)


@dataclass(frozen=True)
class SurrogateTraining:
    """Set how a surrogate is trained.

    Attributes:
        widths: of the hidden layers.
        iterations: steps of Adam; the rate falls to zero along a cosine.
        batch: points in each step.
        learning_rate: at the beginning.
        hard_terminal: build the terminal value into the network; otherwise a second loss teaches it.
        seed: seed of weights and points.

    Example:
        >>> from flashmd.pde import SurrogateTraining
        >>> SurrogateTraining(iterations=100).batch
        128
    """

    widths: tuple[int, ...] = (48, 48)
    iterations: int = 1000
    batch: int = 128
    learning_rate: float = 5e-3
    hard_terminal: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.iterations, self.batch, *self.widths) < 1 or not self.widths:
            got = f"iterations={self.iterations}, batch={self.batch}, widths={self.widths}"
            raise ValueError(message("the training", "positive numbers", got, "raise them"))


def train_surrogate(problem: Parabolic, points: SamplePoints, training: SurrogateTraining | None = None) -> Surrogate:
    """Train a network to solve a problem: least squares of the residual along the paths of the process.

    Paths leave the region of the points of interest; a surrogate that is trained inside that region only would be
    corrected by what it extrapolates. So each starting point is first moved along the process for a random time.

    Args:
        problem: the equation.
        points: maps a number n and a seed to points of interest, t [n] and x [n, d].
        training: sizes and rates.

    Example:
        >>> import torch
        >>> from flashmd.pde import SurrogateTraining, reference_problem, train_surrogate
        >>> reference = reference_problem("convection", 2)
        >>> surrogate = train_surrogate(reference.problem, reference.points, SurrogateTraining(iterations=2))
        >>> surrogate.value(torch.full((1,), 0.5), torch.ones(1, 2))
        tensor([2.5000])
    """
    training = training or SurrogateTraining()
    network = SurrogateNetwork(
        problem.d,
        training.widths,
        T=problem.T,
        terminal=problem.terminal,
        hard=training.hard_terminal,
        seed=training.seed,
    )
    batches = _batches(problem, points, training)
    network.fit_scale(*next(batches))
    surrogate = Surrogate(network)

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        result = residual(problem, surrogate, *batch).square().mean()
        if not training.hard_terminal:
            horizon = torch.full_like(batch[0], problem.T)
            result = result + (surrogate.value(horizon, batch[1]) - problem.terminal_at(batch[1])).square().mean()
        return result

    _descend(network, loss, batches, training)
    return surrogate


def residual(problem: Parabolic, surrogate: Surrogate, t: Tensor, x: Tensor) -> Tensor:
    """Return by how much a surrogate fails the equation at t [n], x [n, d]: [n], differentiable in its weights."""
    sigma, drift = problem.sigma.at(t, x), problem.drift_at(t, x)
    jet = surrogate.jet(t, x, sigma)
    assert jet.second is not None  # noqa: S101 - `jet` always has it
    source = problem.source_at(t, x, jet.value, transposed_times(sigma, jet.gradient))
    return jet.time_derivative + (drift * jet.gradient).sum(1) + jet.second + source


@overload
def distill(
    surrogate: Surrogate, estimate: Estimate, t: float | Tensor, x: Tensor, training: SurrogateTraining
) -> Surrogate: ...


@overload
def distill(surrogate: Module, estimate: Estimate, t: None, x: Tensor, training: SurrogateTraining) -> Module: ...


def distill(
    surrogate: Surrogate | torch.nn.Module,
    estimate: Estimate,
    t: float | Tensor | None,
    x: Tensor,
    training: SurrogateTraining,
) -> Surrogate | torch.nn.Module:
    """Fit a copy of a network surrogate to corrected values, weighted by their errors.

    Args:
        surrogate: a network, which is left as it is: a `Surrogate` of time and place, or a module of
            x alone (with None for `t`), such as a committor's.
        estimate: corrected values at the points.
        t: time of all points, or [n], or None.
        x: [n, d], the points.
        training: iterations, batch, rate and seed; the widths are those of the network.

    Raises:
        ValueError: the surrogate is no network, or the estimate belongs to other points.

    Example:
        >>> import torch
        >>> from flashmd.pde import Surrogate, SurrogateNetwork, SurrogateTraining, correct, distill, reference_problem
        >>> reference = reference_problem("convection", 2)
        >>> t, x = reference.points(8, seed=0)
        >>> network = Surrogate(SurrogateNetwork(2, [8], T=0.5, terminal=reference.problem.terminal))
        >>> estimate = correct(reference.problem, network, t, x, method="linear")
        >>> better = distill(network, estimate, t, x, SurrogateTraining(iterations=50, learning_rate=1e-2))
        >>> bool((better.value(t, x) - estimate.value).norm() < (estimate.surrogate - estimate.value).norm())
        True
    """
    function = surrogate.function if isinstance(surrogate, Surrogate) else surrogate
    if not isinstance(function, torch.nn.Module):
        got, fix = type(function).__name__, "train one with `train_surrogate`"
        raise ValueError(message("the surrogate", "a torch module to refit", got, fix))
    if tuple(estimate.value.shape) != (x.shape[0],):
        got, fix = f"{len(estimate.value)}", "pass the points of the estimate"
        raise ValueError(message("`estimate`", f"a value for each of the {x.shape[0]} points", got, fix))
    network = copy.deepcopy(function).requires_grad_(True)
    if isinstance(surrogate, Surrogate):
        refitted = Surrogate(network, derivatives=surrogate.derivatives, smooth=surrogate.smooth)
        times_of_points = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(x.shape[0])
        _refit(network, refitted.value, (times_of_points, x), estimate, training)
        return refitted
    _refit(network, network, (x,), estimate, training)
    return network


def _refit(
    network: torch.nn.Module,
    predict: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    estimate: Estimate,
    training: SurrogateTraining,
) -> None:
    """Fit `predict` of the inputs to the values of an estimate, in place."""
    # What the network cannot represent is an error as well: without a floor the exact values near the horizon decide.
    floor = estimate.standard_error.median().clamp_min(torch.finfo(torch.float64).tiny)
    weight = 1.0 / (1.0 + (estimate.standard_error / floor).square())
    dtype = parameter_dtype(network) or torch.float32
    labels = [part.to(dtype) for part in (estimate.value, weight / weight.mean(), *inputs)]

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        value, factor, *place = batch
        return (factor * (predict(*place) - value).square()).mean()

    generator = torch.Generator().manual_seed(training.seed)

    def batches() -> Iterator[tuple[Tensor, ...]]:
        while True:
            chosen = torch.randperm(len(labels[0]), generator=generator)[: training.batch]
            yield tuple(part[chosen.to(part.device)] for part in labels)

    _descend(network, loss, batches(), training)


def _descend(
    network: torch.nn.Module, loss: Callable[[Batch], Tensor], batches: Iterator[Batch], training: SurrogateTraining
) -> None:
    """Run Adam, in place."""
    optimizer = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.iterations)
    for _ in range(training.iterations):
        optimizer.zero_grad()
        value = loss(next(batches))
        value.backward()
        optimizer.step()
        schedule.step()
    for parameter in network.parameters():
        parameter.requires_grad_(False)


def _batches(problem: Parabolic, points: SamplePoints, training: SurrogateTraining) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield points on paths that begin at points of interest, in the precision of these points."""
    generator = torch.Generator().manual_seed(training.seed)
    number = 0
    while True:
        t, x = points(training.batch, training.seed * training.iterations + number)
        number += 1
        step = (problem.T - t) * torch.rand(t.shape, generator=generator, dtype=t.dtype) / _PATH_STEPS
        for _ in range(_PATH_STEPS):
            noise = step.sqrt()[:, None] * torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = x + step[:, None] * problem.drift_at(t, x) + times(problem.sigma.at(t, x), noise)
            t = t + step
        yield t, x
