"""The choice between the two forms of the correction: what is possible, and what a pilot batch of paths says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy.special import stdtr
from torch import Tensor

from flashmd.errors import message
from flashmd.kinetics.dynamics import Dynamics
from flashmd.kinetics.paths import Simulator
from flashmd.kinetics.sampler import PathSampler
from flashmd.kinetics.settings import PathSettings
from flashmd.pde.feynman_kac import Points
from flashmd.pde.surrogate import Surrogate

_POINTS = 8
_FEWEST_DRAWS, _MOST_DRAWS = 8, 32
_SHARE_OF_BUDGET = 0.1
_SIGNIFICANCE = 1e-3
# Draws of the estimate are numbered from zero; those of the pilot must differ from all of them.
_FIRST_DRAW = 1 << 40


@dataclass(frozen=True)
class Choice:
    """The form that was chosen, why, and the steps that it took.

    Attributes:
        form: "martingale" or "residual".
        reason: in words.
        probability: of a difference between the forms as large as that of the pilot, if both are right.
        steps: of all paths of the pilot.
    """

    form: str
    reason: str
    probability: float = 1.0
    steps: int = 0


def obstacle(dynamics: Dynamics, surrogate: Surrogate | None) -> tuple[str, str] | None:
    """Return what the residual form needs and what there is instead, or None where it exists."""
    if surrogate is None:
        return "a surrogate", "None"
    if dynamics.has_velocities:
        return "overdamped dynamics", "dynamics with velocities"
    if not surrogate.has_second:
        return "second derivatives", 'a surrogate without them (kinks, or derivatives="none")'
    return None


def choose_form(simulator: Simulator, points: Points) -> Choice:
    """Return the form that the settings ask for, or for "auto" the one that a pilot batch favours.

    Both forms run on the same noise. Where they differ by more than chance, second derivatives or time step are at
    fault, and the martingale form is right. Otherwise the residual form must have a variance that is smaller by a
    factor of at least 1 + d, which is what its second derivatives cost.

    Raises:
        ValueError: the residual form was asked for and does not exist.
    """
    settings, missing = simulator.settings, obstacle(simulator.dynamics, simulator.surrogate)
    if settings.form != "auto":
        if settings.form == "residual" and missing:
            raise ValueError(message('form "residual"', *missing, 'pass form="martingale"'))
        return Choice(settings.form, "it was asked for")
    if missing:
        return Choice("martingale", f"the residual form needs {missing[0]}")
    chosen = points.select(torch.linspace(0, points.n - 1, min(_POINTS, points.n), device=points.x.device).long())
    paths = int(_SHARE_OF_BUDGET * points.n * settings.paths_per_point)
    draws = min(paths // (2 * settings.paths_per_draw * chosen.n), _MOST_DRAWS)
    if draws < _FEWEST_DRAWS:
        return Choice("martingale", "the budget does not allow to compare the forms")
    samplers = [PathSampler(with_form(simulator, form)) for form in ("residual", "martingale")]
    residual, martingale = (sampler.draw(chosen, _FIRST_DRAW, draws).value for sampler in samplers)
    steps = sum(sampler.steps for sampler in samplers)
    probability = _chance_of(residual - martingale)
    if probability < _SIGNIFICANCE:
        return Choice("martingale", "the forms disagree", probability, steps)
    if (1 + points.x.shape[1]) * float(residual.var(1).mean()) < float(martingale.var(1).mean()):
        return Choice("residual", "its variance is smaller by more than it costs", probability, steps)
    return Choice("martingale", "the residual form does not pay", probability, steps)


def with_form(simulator: Simulator, form: str) -> Simulator:
    """Return the same simulator with another form."""
    settings: PathSettings = replace(simulator.settings, form=form)
    return replace(simulator, settings=settings)


def _chance_of(difference: Tensor) -> float:
    """Probability of the largest mean of some draws [n, m] of mean zero, by Student's test and Bonferroni's bound."""
    n, m = difference.shape
    error = (difference.var(1) / m).sqrt()
    z = torch.where(error > 0.0, difference.mean(1).abs() / error, 0.0)
    return min(1.0, 2.0 * n * float(stdtr(m - 1, -float(z.max()))))
