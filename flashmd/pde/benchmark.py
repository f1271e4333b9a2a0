"""Measure a correction on a problem with an exact solution: errors before and after, coverage, time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from flashmd.pde.correction import correct
from flashmd.pde.problems import ReferenceProblem
from flashmd.pde.settings import CorrectionSettings
from flashmd.pde.surrogate import Surrogate
from flashmd.pde.training import SurrogateTraining, train_surrogate

_TEST_SEED, _COVERAGE_SEED = 1_000_003, 2_000_003


def _published_budget() -> CorrectionSettings:
    """The number of evaluations for each point in published comparisons, spent on many short paths."""
    return CorrectionSettings(rtol=0.0, evaluations_per_point=420, steps=7)


@dataclass(frozen=True)
class BenchmarkPlan:
    """Set what a benchmark measures.

    Attributes:
        training: how the surrogate is trained, or None for the closed approximation of the library.
        settings: of the correction; tolerances of zero use the whole budget.
        method: of the correction.
        form: of the correction.
        n_points: points at which errors are measured.
        seeds: corrections of the coverage test, each with noise of its own.
        coverage_points: points of the coverage test.

    Example:
        >>> from flashmd.pde import BenchmarkPlan
        >>> BenchmarkPlan().settings.evaluations_per_point
        420
    """

    training: SurrogateTraining | None = None
    settings: CorrectionSettings = field(default_factory=_published_budget)
    method: str = "newton"
    form: str = "residual"
    n_points: int = 1000
    seeds: int = 200
    coverage_points: int = 5


@dataclass(frozen=True)
class BenchmarkResult:
    """Hold what was measured; all errors are relative in the Euclidean norm over the points.

    Attributes:
        problem: name.
        d: dimension of the space.
        method: of the correction.
        before: error of the surrogate.
        after: error of the correction.
        standard_error: what the correction says its error is.
        bias_bound: what it says that it neglects.
        coverage: share of the 95% intervals of all seeds and points that hold the exact solution.
        evaluations: of the surrogate for each point.
        training_seconds: of the surrogate.
        seconds: of the correction of all points.

    Example:
        >>> from flashmd.pde import BenchmarkResult
        >>> BenchmarkResult("burgers", 20, "newton", 0.02, 0.001, 0.001, 0.0, 0.95, 413, 30.0, 2.0).reduction
        0.95
    """

    problem: str
    d: int
    method: str
    before: float
    after: float
    standard_error: float
    bias_bound: float
    coverage: float
    evaluations: int
    training_seconds: float
    seconds: float

    @property
    def reduction(self) -> float:
        """Share of the error that the correction removed."""
        return 1.0 - self.after / self.before


def run_benchmark(case: ReferenceProblem, plan: BenchmarkPlan | None = None) -> BenchmarkResult:
    """Train a surrogate, correct it and compare with the exact solution.

    Args:
        case: a problem with its exact solution.
        plan: what to measure.

    Example:
        >>> from flashmd.pde import BenchmarkPlan, reference_problem, run_benchmark
        >>> plan = BenchmarkPlan(n_points=20, seeds=2)
        >>> run_benchmark(reference_problem("burgers", 4), plan).reduction > 0.7
        True
    """
    plan = plan or BenchmarkPlan()
    begin = time.perf_counter()
    surrogate = Surrogate(case.rough)
    if plan.training is not None:
        surrogate = train_surrogate(case.problem, case.points, plan.training)
    training_seconds = time.perf_counter() - begin
    t, x = case.points(plan.n_points, _TEST_SEED)
    exact = case.exact(t, x)
    estimate = correct(case.problem, surrogate, t, x, method=plan.method, form=plan.form, settings=plan.settings)
    return BenchmarkResult(
        problem=case.name,
        d=case.problem.d,
        method=plan.method,
        before=_relative(estimate.surrogate - exact, exact),
        after=_relative(estimate.value - exact, exact),
        standard_error=_relative(estimate.standard_error, exact),
        bias_bound=_relative(estimate.bias_bound, exact),
        coverage=_coverage(case, surrogate, plan),
        evaluations=round(estimate.evaluations / plan.n_points),
        training_seconds=training_seconds,
        seconds=estimate.seconds,
    )


def _relative(difference: Tensor, exact: Tensor) -> float:
    return float(difference.norm() / exact.norm())


def _coverage(case: ReferenceProblem, surrogate: Surrogate, plan: BenchmarkPlan) -> float:
    t, x = case.points(plan.coverage_points, _COVERAGE_SEED)
    exact = case.exact(t, x)
    shares = []
    for seed in range(plan.seeds):
        settings = replace(plan.settings, seed=plan.settings.seed + 1 + seed)
        estimate = correct(case.problem, surrogate, t, x, method=plan.method, form=plan.form, settings=settings)
        low, high = estimate.confidence_interval(0.95)
        shares.append(((low <= exact) & (exact <= high)).to(torch.float64).mean())
    return float(torch.stack(shares).mean())
