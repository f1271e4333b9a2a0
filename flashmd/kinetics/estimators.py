"""Committors, first-passage times, survival and expectations, each at many points and with error bars."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flashmd.kinetics.dynamics import Dynamics
from flashmd.kinetics.forms import Choice, choose_form, with_form
from flashmd.kinetics.paths import Simulator
from flashmd.kinetics.problem import StoppedProblem
from flashmd.kinetics.sampler import PathMoments, PathSampler
from flashmd.kinetics.sets import AbsorbingSet
from flashmd.kinetics.settings import PathSettings
from flashmd.kinetics.surrogates import Stationary
from flashmd.pde.estimate import Estimate, Round
from flashmd.pde.feynman_kac import Points
from flashmd.pde.rounds import Rounds
from flashmd.pde.settings import CorrectionSettings
from flashmd.pde.streams import point_streams
from flashmd.pde.surrogate import Surrogate
from flashmd.pde.workers import Workers

_EVERYTHING = 1 << 62
_FIRST_ROUND = 32
_ROUNDING = 1e-12
Guess = Surrogate | Callable[..., Any] | None


def committor(
    dynamics: Dynamics,
    A: AbsorbingSet,
    B: AbsorbingSet,
    *,
    x: Tensor,
    settings: PathSettings,
    surrogate: Guess = None,
) -> Estimate:
    """Estimate the probability to reach B before A, corrected from a surrogate where there is one.

    Args:
        dynamics: equation of motion.
        A: where the committor is 0.
        B: where it is 1.
        x: [n, d], points outside both sets.
        settings: time step, accuracy and budget.
        surrogate: approximate committor, a function from points to [n] or a `flashmd.pde.Surrogate` of (t, x). It may
            be arbitrarily wrong: the result stays right and its error bars say how much was gained.

    Returns:
        An estimate; `bias_bound` is what truncation (`max_steps`) may hide.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import Overdamped, PathSettings, committor, half_space
        >>> free = Overdamped(lambda x: 0.0 * x.sum(1), kT=1.0)
        >>> x = torch.tensor([[0.0]], dtype=torch.float64)
        >>> settings = PathSettings(time_step=1e-2, paths_per_point=200)
        >>> result = committor(free, half_space([-1.0], 1.0), half_space([1.0], 1.0), x=x, settings=settings)
        >>> f"{result.value.item():.1f}"
        '0.5'
    """
    problem = StoppedProblem(sets=(A, B), payoffs=(0.0, 1.0), limits=(0.0, 1.0))
    return estimate(dynamics, problem, x, settings, surrogate)


def mfpt(
    dynamics: Dynamics, B: AbsorbingSet, *, x: Tensor, settings: PathSettings, surrogate: Guess = None
) -> Estimate:
    """Estimate the mean first-passage time to B.

    Args:
        dynamics: equation of motion.
        B: the target.
        x: [n, d], points outside it.
        settings: time step, accuracy and budget; `largest_error` bounds the bias of truncated paths.
        surrogate: approximate time, as for `committor`.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import Overdamped, PathSettings, ball, mfpt
        >>> free = Overdamped(lambda x: 0.0 * x.sum(1), kT=1.0)
        >>> away = ball([0.0, 0.0, 0.0], 1.0, outside=True)
        >>> result = mfpt(
        ...     free,
        ...     away,
        ...     x=torch.zeros(1, 3),
        ...     settings=PathSettings(time_step=1e-3),
        ...     surrogate=lambda x: (1.0 - (x**2).sum(1)) / 6.0,
        ... )
        >>> f"{result.value.item():.2f}"
        '0.17'
    """
    return estimate(dynamics, StoppedProblem(sets=(B,), payoffs=(0.0,), running=1.0), x, settings, surrogate)


def survival(
    dynamics: Dynamics,
    sets: AbsorbingSet | tuple[AbsorbingSet, ...],
    *,
    t: float,
    x: Tensor,
    settings: PathSettings,
    surrogate: Guess = None,
) -> Estimate:
    """Estimate the probability to have reached none of some sets until time t.

    Args:
        dynamics: equation of motion.
        sets: one or more.
        t: positive time; the time step is shortened to divide it.
        x: [n, d], points outside all sets.
        settings: time step, accuracy and budget.
        surrogate: approximate probability, a function of the time left [n] and points, to [n].

    Example:
        >>> import torch
        >>> from flashmd.kinetics import Overdamped, PathSettings, half_space, survival
        >>> free = Overdamped(lambda x: 0.0 * x.sum(1), kT=0.5)
        >>> x = torch.zeros(1, 1, dtype=torch.float64)
        >>> settings = PathSettings(time_step=1e-2, paths_per_point=2000)
        >>> f"{survival(free, half_space([1.0], 1.0), t=1.0, x=x, settings=settings).value.item():.1f}"
        '0.7'
    """
    several = sets if isinstance(sets, tuple) else (sets,)
    problem = StoppedProblem(sets=several, payoffs=(0.0,) * len(several), horizon=t, limits=(0.0, 1.0))
    return estimate(dynamics, problem, x, settings, surrogate)


def kolmogorov(
    dynamics: Dynamics,
    observable: Callable[[Tensor], Tensor],
    *,
    t: float,
    x: Tensor,
    settings: PathSettings,
    surrogate: Guess = None,
) -> Estimate:
    """Estimate the mean of an observable at time t on paths that begin at x.

    Args:
        dynamics: equation of motion.
        observable: maps coordinates [n, d] to [n].
        t: positive time.
        x: [n, d].
        settings: time step, accuracy and budget.
        surrogate: approximate mean, a function of the time left [n] and points, to [n].

    Example:
        >>> import torch
        >>> from flashmd.kinetics import Overdamped, PathSettings, kolmogorov
        >>> harmonic = Overdamped(lambda x: 0.5 * (x**2).sum(1), kT=1.0)
        >>> x = torch.ones(1, 4, dtype=torch.float64)
        >>> settings = PathSettings(time_step=1e-3, paths_per_point=64)
        >>> result = kolmogorov(harmonic, lambda x: x.sum(1), t=1.0, x=x, settings=settings)
        >>> f"{result.value.item():.2f}"
        '1.47'
    """
    return estimate(dynamics, StoppedProblem(horizon=t, final=observable), x, settings, surrogate)


def as_surrogate(guess: Guess, *, of_time: bool) -> Surrogate | None:
    """Return a surrogate of (t, x) for one, for a function of points alone, or for one of time left and points."""
    if guess is None or isinstance(guess, Surrogate):
        return guess
    if of_time:
        return Surrogate(guess)
    if isinstance(guess, nn.Module):
        return Surrogate(Stationary(guess))
    return Surrogate(lambda _, x: guess(x))


def estimate(
    dynamics: Dynamics,
    problem: StoppedProblem,
    x: Tensor,
    settings: PathSettings,
    surrogate: Guess,
    velocity: Tensor | None = None,
) -> Estimate:
    """Solve a problem at x [n, d] by paths, in rounds, until the tolerance or the budget is reached.

    Args:
        dynamics: equation of motion.
        problem: what paths earn.
        x: [n, d].
        settings: of the paths.
        surrogate: of the solution.
        velocity: [n, d], at the start; None takes the mean over Maxwell's distribution.
    """
    begin = time.perf_counter()
    x = torch.as_tensor(x).detach().to(torch.float64)
    problem.check_starts(x)
    moving = velocity is not None
    x = x if velocity is None else torch.cat([x, velocity], 1)
    guess = as_surrogate(surrogate, of_time=problem.horizon is not None)
    left = x.new_full((x.shape[0],), problem.horizon or 0.0)
    points = Points(left, x, streams=point_streams(left, x))
    simulator = Simulator(dynamics, problem, guess, settings)
    choice = choose_form(simulator, points)
    sampler = PathSampler(with_form(simulator, choice.form), moving)
    judge = _Judge(sampler, points, PathMoments(points.n, x.device), settings, choice)
    # The simulator keeps within the memory by itself.
    budget = CorrectionSettings(
        rtol=settings.rtol, atol=settings.atol, evaluations_per_point=settings.paths_per_point,
        max_seconds=settings.max_seconds, largest_tensor=_EVERYTHING,
    )  # fmt: skip
    # A round lasts as long as its longest path: without a tolerance to stop at, one is enough.
    first = (
        _FIRST_ROUND if max(settings.rtol, settings.atol) > 0.0 or settings.max_seconds else settings.paths_per_point
    )
    # Paths share one pool: in smaller ones the longest of each would be left alone sooner.
    rounds = Rounds(sampler, points, budget, judge.within, judge.moments, Workers(1), pieces=1, first_round=first)
    history = rounds.run(torch.arange(points.n, device=x.device), begin)
    return judge.estimate(history, begin)


@dataclass(frozen=True)
class _Judge:
    """Decides which points have converged and writes the result."""

    sampler: PathSampler
    points: Points
    moments: PathMoments
    settings: PathSettings
    choice: Choice

    def standard_error(self) -> Tensor:
        """Of all points, [n]; paths that all earned the same leave room for one that would not have."""
        error = self.moments.defect.standard_error()
        limits = self.sampler.simulator.problem.limits
        if limits is None:
            return error
        width = limits[1] - limits[0]
        unseen = width / self.moments.defect.count.clamp_min(1.0)
        # The control variate of such paths has a factor of zero up to rounding.
        return torch.where(self.moments.defect.variance() > (_ROUNDING * width) ** 2, error, unseen)

    def within(self, index: Tensor) -> Tensor:
        """Whether the points `index` have converged."""
        value = self.sampler.surrogate_at(self.points) + self.moments.defect.mean
        allowed = self.settings.atol + self.settings.rtol * value.abs()
        return (self.standard_error() + self.moments.excess.mean <= allowed)[index]

    def estimate(self, history: tuple[Round, ...], begin: float) -> Estimate:
        """Return value, error bars and counts."""
        before, defect, sampler = self.sampler.surrogate_at(self.points), self.moments.defect, self.sampler
        return Estimate(
            value=before + defect.mean,
            standard_error=self.standard_error(),
            bias_bound=self.moments.excess.mean,
            degrees_of_freedom=(defect.count - 1).clamp_min(0),
            skewness=defect.skewness(),
            surrogate=before,
            gradient=None,
            gradient_standard_error=None,
            evaluations=sampler.steps + self.choice.steps,
            seconds=time.perf_counter() - begin,
            converged=self.within(torch.arange(self.points.n, device=before.device)),
            history=history,
            diagnostics={
                "form": self.choice.form,
                "reason": self.choice.reason,
                "probability": self.choice.probability,
                "paths": float(sampler.paths),
                "mean_steps": sampler.steps / sampler.paths,
                "truncated": sampler.truncated / sampler.paths,
            },
        )
