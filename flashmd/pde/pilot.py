"""Pilot batches: the choice of a form by comparing both, and the coefficient of the control variate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy.special import stdtr
from torch import Tensor

from flashmd.pde.feynman_kac import LinearisedPaths, Points
from flashmd.pde.workers import Workers

_POINTS = 8
_SMALLEST_BATCH, _LARGEST_BATCH = 8, 128
_SHARE_OF_BUDGET = 0.1
_SIGNIFICANCE = 1e-3
_ROUNDING = 1e-10
COEFFICIENT_DRAWS = 16
# Draws of the estimate are numbered from zero; those of the pilots must differ from all of them.
_FIRST_COMPARISON, _FIRST_COEFFICIENT = 1 << 40, 1 << 41


@dataclass(frozen=True)
class Choice:
    """The form that was chosen, why, and what it cost."""

    form: str
    reason: str
    evaluations: int = 0
    probability: float = 1.0


def choose_form(sampler: LinearisedPaths, points: Points, budget: int, workers: Workers) -> Choice:
    """Take the residual form unless second derivatives are missing or the two forms disagree.

    The forms differ by discretisation errors, of first order in the step, and by what is wrong with the second
    derivatives, such as kinks of the surrogate. Two step sizes remove the former; Student's test of the rest, with
    Bonferroni's correction for the number of points, finds the latter.

    Args:
        sampler: draws of the residual form.
        points: all points; some of them are used.
        budget: evaluations of the whole correction; a tenth may be spent here.
        workers: threads that draw.
    """
    if not sampler.surrogate.has_second:
        return Choice("martingale", "the surrogate has no second derivatives")
    chosen = points.select(torch.linspace(0, points.n - 1, min(_POINTS, points.n), device=points.x.device).long())
    draws = int(_SHARE_OF_BUDGET * budget) // (3 * sampler.cost * chosen.n)
    if draws < _SMALLEST_BATCH:
        chosen = chosen.select(torch.zeros(1, dtype=torch.int64, device=points.x.device))
        draws = int(_SHARE_OF_BUDGET * budget) // (3 * sampler.cost)
    if draws < _SMALLEST_BATCH:
        return Choice("residual", "the budget does not allow to compare the forms")
    draws = min(draws, _LARGEST_BATCH)
    coarse = _difference(sampler, chosen, _FIRST_COMPARISON, draws, workers)
    finer = replace(sampler, steps=2 * sampler.steps)
    fine = _difference(finer, chosen, _FIRST_COMPARISON + draws, draws, workers)
    difference = 2.0 * fine.mean(1) - coarse.mean(1)
    variance = (4.0 * fine.var(1) + coarse.var(1)) / draws
    scale = _ROUNDING * (1.0 + sampler.surrogate.value(chosen.t, chosen.x).detach().abs())
    z = difference.abs() / (variance + scale.square()).sqrt()
    probability = min(1.0, 2.0 * chosen.n * float(stdtr(draws - 1, -float(z.max()))))
    spent = 3 * sampler.cost * chosen.n * draws
    if probability < _SIGNIFICANCE:
        return Choice("martingale", "the forms disagree", spent, probability)
    return Choice("residual", "the forms agree", spent, probability)


def control_coefficient(sampler: LinearisedPaths, points: Points, rows: int, workers: Workers) -> Tensor:
    """Return the factor of the stochastic integral with the least variance at each point, [n].

    It is fitted on paths of its own, so the estimate stays unbiased.

    Args:
        sampler: draws of the martingale form.
        points: [n].
        rows: rows that may be simulated at a time by each worker.
        workers: threads that draw.
    """
    group = max(1, rows // (sampler.rows * COEFFICIENT_DRAWS))

    def factor(index: Tensor) -> Tensor:
        payoffs = sampler.payoffs(points.select(index), _FIRST_COEFFICIENT, COEFFICIENT_DRAWS)
        plain, control = payoffs.plain.mean(2), payoffs.control.mean(2)
        control = control - control.mean(1, keepdim=True)
        square = control.square().sum(1)
        return torch.where(square > 0.0, (control * plain).sum(1) / square, 1.0)

    groups = torch.arange(points.n, device=points.x.device).split(group)
    return torch.cat(list(workers.map(factor, groups)))


def _difference(sampler: LinearisedPaths, points: Points, first: int, draws: int, workers: Workers) -> Tensor:
    """Residual minus martingale form of each draw, [n, draws]."""

    def difference(index: Tensor) -> Tensor:
        payoffs = sampler.payoffs(points.select(index), first, draws)
        return (payoffs.defect("residual") - payoffs.defect("martingale")).mean(2)

    return torch.cat(list(workers.map(difference, torch.arange(points.n, device=points.x.device).split(1))))
