"""Correction of a surrogate: draws of its defect, in rounds, until the tolerance or the budget is reached."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.pde.checks import check_choice, check_instance
from flashmd.pde.derivatives import value_and_slopes
from flashmd.pde.estimate import DefectMoments, Estimate, Round
from flashmd.pde.feynman_kac import LinearisedPaths, Points
from flashmd.pde.picard import PicardTrees, check_picard, check_samples, largest_samples
from flashmd.pde.pilot import COEFFICIENT_DRAWS, choose_form, control_coefficient
from flashmd.pde.problem import Parabolic
from flashmd.pde.remainder import check_affine, remainder_bound
from flashmd.pde.rounds import Rounds, Sampler
from flashmd.pde.settings import FORMS, METHODS, CorrectionSettings
from flashmd.pde.sobol import check_sobol
from flashmd.pde.streams import point_streams
from flashmd.pde.surrogate import Surrogate
from flashmd.pde.workers import PIECES, Workers, worker_count

_PICARD = ("mlp", "mlp-quad")


def correct(
    problem: Parabolic,
    surrogate: Surrogate,
    t: float | Tensor,
    x: Tensor,
    *,
    method: str = "newton",
    form: str = "auto",
    settings: CorrectionSettings | None = None,
) -> Estimate:
    """Estimate the solution of a problem at some points by simulating the error of a surrogate.

    The law of defect: the error of any approximate solution obeys a parabolic problem of its own. Its solution is small
    where the surrogate is good, and so are its simulation noise and bias.

    Args:
        problem: the equation.
        surrogate: the approximate solution.
        t: time of all points, or [n].
        x: [n, d], points, float64 or float32.
        method: "newton" solves the linearised defect problem by plain paths, and reports the size of the remainder;
            "linear" is the same for sources that are affine in u and z, where it is exact; "mlp" is full-history
            multilevel Picard iteration, and "mlp-quad" the same with quadrature over time.
        form: "residual" needs second derivatives of the surrogate, "martingale" gradients only. "auto" takes the
            residual form where the surrogate has second derivatives and both forms agree on a pilot batch.
        settings: accuracy, budget and variance reduction.

    Raises:
        ValueError: arguments that do not fit together, or coefficients that are not finite. That the tolerance was
            not reached within the budget is no error: see `Estimate.converged`.

    Example:
        >>> import torch
        >>> from flashmd.pde import Parabolic, Surrogate, correct
        >>> heat = Parabolic(d=3, T=1.0, diffusion=2.0**0.5, terminal=lambda x: x.sum(1).exp())
        >>> exact = Surrogate(lambda t, x: (x.sum(1) + 3.0 * (1.0 - t)).exp())
        >>> estimate = correct(heat, exact, 0.5, torch.zeros(4, 3))
        >>> bool(estimate.converged.all()), f"{estimate.value[0]:.4f}"
        (True, '4.4817')
    """
    begin = time.perf_counter()
    settings = settings or CorrectionSettings()
    check_instance("the problem", problem, Parabolic)
    check_instance("the surrogate", surrogate, Surrogate)
    check_instance("`settings`", settings, CorrectionSettings)
    surrogate.check_mode()
    check_choice("method", method, METHODS)
    check_choice("form", form, FORMS)
    points = _points(problem, t, x)
    second = method in _PICARD or (form != "martingale" and surrogate.has_second)
    with Workers(worker_count(settings.workers, points.x.device, surrogate, second=second)) as workers:
        plan = _plan(_Task(problem, surrogate, points, method, form, settings), workers)
        points, before = plan.points, surrogate.value(plan.points.t, plan.points.x).detach()
        moments = DefectMoments(points.n, problem.d, points.x.device, gradient=settings.gradient)
        judge = _Judge(problem, surrogate, points, moments, before, method, settings)
        inside = points.t < problem.T
        _set_horizon(problem, surrogate, points.select(~inside), (~inside).nonzero()[:, 0], moments)
        # A GPU divides its work itself.
        pieces = PIECES if points.x.device.type == "cpu" else 1
        rounds = Rounds(plan.sampler, points, settings, judge.within, moments, workers, pieces, plan.pilot_per_point)
        history = rounds.run(inside.nonzero()[:, 0], begin)
        return _estimate(judge, plan, history, begin)


@dataclass(frozen=True)
class _Judge:
    """Decides which points have converged."""

    problem: Parabolic
    surrogate: Surrogate
    points: Points
    moments: DefectMoments
    before: Tensor
    method: str
    settings: CorrectionSettings

    def bias(self, index: Tensor) -> Tensor:
        """Size of what the method neglects at the points `index`."""
        points, defect = self.points.select(index), self.moments.defect.mean[index]
        if self.method == "newton":
            variance = self.moments.path_variance()[index]
            return remainder_bound(self.problem, self.surrogate, points, defect, variance)
        return torch.full_like(defect, 0.0 if self.method == "linear" else float("nan"))

    def within(self, index: Tensor) -> Tensor:
        """Whether the points `index` have converged."""
        error = self.moments.defect.standard_error()[index] + self.bias(index).nan_to_num(0.0)
        value = (self.before + self.moments.defect.mean)[index]
        known = (self.moments.defect.count[index] > 0) | (self.points.t[index] >= self.problem.T)
        return known & (error <= self.settings.atol + self.settings.rtol * value.abs())


def _set_horizon(
    problem: Parabolic, surrogate: Surrogate, points: Points, index: Tensor, moments: DefectMoments
) -> None:
    """The solution at the horizon is the terminal value."""
    if not points.n:
        return

    def defect(x: Tensor) -> Tensor:
        return problem.terminal_at(x) - surrogate.value(points.t, x)

    if moments.gradient is None:
        moments.defect.mean[index] = defect(points.x).detach()
    else:
        value, (slope,) = value_and_slopes(defect, points.x)
        moments.defect.mean[index] = value.detach()
        moments.gradient.mean[index] = slope.detach()


@dataclass(frozen=True)
class _Task:
    """What was asked for."""

    problem: Parabolic
    surrogate: Surrogate
    points: Points
    method: str
    form: str
    settings: CorrectionSettings


@dataclass(frozen=True)
class _Plan:
    """How a correction is done: the sampler, the points, and what the pilots cost and found."""

    sampler: Sampler
    points: Points
    diagnostics: dict[str, float | str]
    pilot_evaluations: int = 0
    pilot_per_point: int = 0


def _plan(task: _Task, workers: Workers) -> _Plan:
    if task.form == "residual" and not task.surrogate.has_second:
        got = 'a surrogate without them (kinks, or derivatives="none")'
        fix = 'pass form="martingale", or `smooth=True` if the surrogate is smooth'
        raise ValueError(message('form "residual"', "second derivatives", got, fix))
    if task.method in _PICARD:
        return _plan_picard(task)
    if task.method == "linear":
        check_affine(task.problem, task.surrogate, task.points)
    return _plan_paths(task, workers)


def _plan_picard(task: _Task) -> _Plan:
    settings = task.settings
    check_picard(task.problem, task.surrogate)
    if task.form == "martingale":
        fix = 'use method="newton", or form="residual"'
        raise ValueError(message("`form`", "the residual form for Picard iteration", repr(task.form), fix))
    for name in ("sobol", "coefficient"):
        if name in settings.variance:
            fix = 'use method="newton" or "linear", or leave it out'
            raise ValueError(message("`variance`", '"antithetic" at most for Picard iteration', repr(name), fix))
    nodes = settings.nodes if task.method == "mlp-quad" else 0
    samples = settings.samples
    if samples is None:
        samples = largest_samples(settings.evaluations_per_point // settings.replicates, nodes)
    check_samples(samples)
    trees = PicardTrees(
        task.problem, task.surrogate, samples, settings.seed,
        antithetic="antithetic" in settings.variance, gradient=settings.gradient, nodes=nodes,
    )  # fmt: skip
    return _Plan(trees, task.points, {"form": "residual", "reason": "Picard iteration has no other"})


def _plan_paths(task: _Task, workers: Workers) -> _Plan:
    points, form, settings, d = task.points, task.form, task.settings, task.problem.d
    if settings.gradient and task.surrogate.derivatives == "differences":
        fix = 'use method="mlp", or a torch function'
        raise ValueError(message("`gradient`", "a surrogate that can be differentiated", "differences", fix))
    if "sobol" in settings.variance:
        check_sobol(settings.sobol_paths, settings.steps * d)
    sampler = LinearisedPaths(
        task.problem, task.surrogate, "residual" if form == "auto" else form, settings.steps, settings.seed,
        antithetic="antithetic" in settings.variance,
        sobol_paths=settings.sobol_paths if "sobol" in settings.variance else 1,
        grading=settings.grading, quadrature=settings.quadrature, gradient=settings.gradient,
    )  # fmt: skip
    diagnostics: dict[str, float | str] = {"form": sampler.form, "reason": "it was asked for"}
    spent = per_point = 0
    if form == "auto":
        choice = choose_form(sampler, points, points.n * settings.evaluations_per_point, workers)
        sampler, spent = replace(sampler, form=choice.form), choice.evaluations
        diagnostics = {"form": choice.form, "reason": choice.reason, "probability": choice.probability}
    if "coefficient" in settings.variance and sampler.form == "martingale":
        rows = max(1, settings.largest_tensor // (PIECES * d))
        points = replace(points, coefficient=control_coefficient(sampler, points, rows, workers))
        per_point = COEFFICIENT_DRAWS * sampler.cost
        spent += per_point * points.n
    return _Plan(sampler, points, diagnostics, spent, per_point)


def _estimate(judge: _Judge, plan: _Plan, history: tuple[Round, ...], begin: float) -> Estimate:
    moments, points = judge.moments, plan.points
    everything = torch.arange(points.n, device=points.x.device)
    gradient = gradient_error = None
    if moments.gradient is not None:
        gradient = judge.surrogate.gradient(points.t, points.x).gradient.detach() + moments.gradient.mean
        gradient_error = moments.gradient.standard_error()
    spent = plan.pilot_evaluations + (history[-1].evaluations if history else 0)
    return Estimate(
        value=judge.before + moments.defect.mean,
        standard_error=moments.defect.standard_error(),
        bias_bound=judge.bias(everything),
        degrees_of_freedom=(moments.defect.count - 1).clamp_min(0),
        skewness=moments.defect.skewness(),
        surrogate=judge.before,
        gradient=gradient,
        gradient_standard_error=gradient_error,
        evaluations=spent,
        seconds=time.perf_counter() - begin,
        converged=judge.within(everything),
        history=history,
        diagnostics=plan.diagnostics,
    )


def _points(problem: Parabolic, t: float | Tensor, x: Tensor) -> Points:
    x = torch.as_tensor(x).detach().to(torch.float64)
    time_of_points = torch.as_tensor(t, dtype=torch.float64, device=x.device)
    if time_of_points.dim() == 0 and x.dim() == 2:
        time_of_points = time_of_points.expand(x.shape[0])
    problem.check_points(time_of_points, x)
    return Points(time_of_points.contiguous(), x, streams=point_streams(time_of_points, x))
