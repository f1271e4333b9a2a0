"""Errors and error bars of kinetics on problems with known solutions, and the cost of a step of a path.

python examples/benchmarks/kinetics_references.py --paths 2000
python examples/benchmarks/kinetics_references.py --only well_committors --points 40 --seed 1
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from flashmd.kinetics import (
    BoundaryNetwork,
    KineticProblem,
    Overdamped,
    PathSettings,
    ball,
    committor,
    hidden_double_well,
    kolmogorov,
    mfpt,
    mueller_brown,
    radial_problem,
    survival,
)
from flashmd.pde import Estimate

NAMES = ("well_committors", "well_times", "oscillator", "harmonic_shells", "free_shells", "cover", "cost")


def show(name: str, d: int, estimate: Estimate, exact: Tensor | float) -> None:
    """Print one row."""
    error, before = estimate.value - exact, estimate.surrogate - exact
    chi2 = (error / estimate.standard_error).square().mean()
    parts = (
        before.square().mean().sqrt(),
        error.square().mean().sqrt(),
        estimate.standard_error.square().mean().sqrt(),
    )
    numbers = " | ".join(f"{float(each):.5f}" for each in parts)
    steps = estimate.diagnostics["mean_steps"]
    print(f"| {name} | {d} | {numbers} | {float(chi2):.1f} | {steps:.0f} | {estimate.seconds:.0f} s |", flush=True)


def steep(problem: KineticProblem) -> Callable[[Tensor], Tensor]:
    """A committor that is too steep and not centred."""
    return lambda x: 0.5 + 0.5 * torch.tanh(2.0 * problem.coordinate(x) - 0.1)


def well_committors(paths: int, seed: int = 0, points: int = 10) -> None:
    """K1: a double well hidden in d dimensions."""
    for d in (1, 10, 50, 200):
        problem, s = hidden_double_well(d), torch.linspace(-0.5, 0.5, points)
        settings = PathSettings(time_step=2.5e-3, paths_per_point=paths, seed=seed)
        x = problem.place(s)
        estimate = committor(problem.dynamics, problem.A, problem.B, x=x, settings=settings, surrogate=steep(problem))
        show("double well, committor", d, estimate, problem.committor(s))


def well_times(paths: int, seed: int = 0) -> None:
    """K1 and K5: passage times and survival in the double well."""
    for d in (1, 50):
        problem, s = hidden_double_well(d), torch.tensor([-1.0, -0.5, 0.0, 0.5])
        estimate = mfpt(
            problem.dynamics, problem.B, x=problem.place(s),
            settings=PathSettings(time_step=5e-3, paths_per_point=max(4, paths // 4), seed=seed),
            surrogate=lambda x, p=problem: 7.5 * (1.0 - torch.tanh(2.0 * p.coordinate(x))),
        )  # fmt: skip
        show("double well, passage time", d, estimate, problem.passage(s))
    for d in (1, 50):
        problem = hidden_double_well(d)
        for t, exact in ((0.05, 0.98188), (0.1, 0.76715), (0.2, 0.29445), (0.5, 0.00999)):
            estimate = survival(
                problem.dynamics, (problem.A, problem.B), t=t, x=problem.place(torch.zeros(1)),
                settings=PathSettings(time_step=1.25e-3, paths_per_point=10 * paths, seed=seed),
                surrogate=lambda t, x, p=problem: (0.5 * math.pi * p.coordinate(x)).cos() * (-11.0 * t).exp(),
            )  # fmt: skip
            show(f"double well, survival to {t}", d, estimate, exact)


def oscillator(paths: int, seed: int = 0) -> None:
    """K5: the mean square of a harmonic oscillator, from a surrogate that is a tenth too small."""
    d = 50

    def exact(t: Tensor, x: Tensor) -> Tensor:
        decay = (-2.0 * t).exp()
        return x.square().sum(1) * decay + d * (1.0 - decay)

    x = torch.linspace(-1.0, 1.0, 5, dtype=torch.float64)[:, None].repeat(1, d)
    estimate = kolmogorov(
        Overdamped(lambda x: 0.5 * x.square().sum(1), kT=1.0), lambda x: x.square().sum(1), t=0.5, x=x,
        settings=PathSettings(time_step=1e-2, paths_per_point=paths, seed=seed),
        surrogate=lambda t, x: 0.9 * exact(t, x),
    )  # fmt: skip
    show("oscillator, mean square", d, estimate, exact(torch.tensor(0.5), x))


def harmonic_shells(paths: int, seed: int = 0) -> None:
    """K2: between two spheres in a harmonic potential."""
    for d in (10, 50, 100):
        inner, outer = math.sqrt(d) - 1.2, math.sqrt(d) + 0.8
        problem, r = radial_problem(d, inner=inner, outer=outer, stiffness=1.0), torch.linspace(0.3, 1.7, 8) + inner
        x, settings = problem.place(r), PathSettings(time_step=2e-3, paths_per_point=paths, seed=seed)
        estimate = committor(
            problem.dynamics, problem.A, problem.B, x=x, settings=settings,
            surrogate=lambda x, p=problem, a=inner, b=outer: ((p.coordinate(x) - a) / (b - a)).clamp_min(0.0) ** 2,
        )  # fmt: skip
        show("harmonic, committor", d, estimate, problem.committor(r))
        estimate = mfpt(
            problem.dynamics, problem.B, x=x, settings=settings,
            surrogate=lambda x, p=problem, b=outer: 2.0 * (b - p.coordinate(x)),
        )  # fmt: skip
        show("harmonic, passage time", d, estimate, problem.passage(r))


def free_shells(paths: int, seed: int = 0) -> None:
    """K3: a free particle between two spheres and in a ball."""
    free = Overdamped(lambda x: 0.0 * x.sum(1), kT=1.0)
    for d, radius in ((3, 1.5), (10, 1.2), (50, 1.05), (100, 1.02)):
        problem, r = radial_problem(d, inner=1.0, outer=2.0), torch.tensor([radius])
        settings = PathSettings(time_step=5e-3 / d, paths_per_point=paths, seed=seed)
        guess = lambda x, d=d: 1.0 - x.norm(dim=1).clamp_min(0.5) ** (2.2 - d)  # noqa: E731
        x = problem.place(r)
        estimate = committor(problem.dynamics, problem.A, problem.B, x=x, settings=settings, surrogate=guess)
        show("free shell, committor", d, estimate, problem.committor(r))
        estimate = mfpt(
            free, ball(torch.zeros(d), 1.0, outside=True), x=torch.zeros(1, d), settings=settings,
            surrogate=lambda x, d=d: 0.6 * (1.0 - x.square().sum(1)) / d,
        )  # fmt: skip
        show("free ball, passage time", d, estimate, 1.0 / (2 * d))


def cover(paths: int) -> None:
    """Coverage of 95% intervals over 200 independent streams."""
    problem = hidden_double_well(10)
    s = 0.1 + 1e-9 * torch.arange(200, dtype=torch.float64)
    settings = PathSettings(time_step=1e-3, paths_per_point=paths)
    x, exact = problem.place(s), problem.committor(s[:1])
    estimate = committor(problem.dynamics, problem.A, problem.B, x=x, settings=settings, surrogate=steep(problem))
    low, high = estimate.confidence_interval(0.95)
    inside = float(((low < exact) & (exact < high)).double().mean())
    print(f"95% intervals of {paths} paths that contain the exact value: {inside:.1%}")


def cost(rows: int) -> None:
    """Time of a path's step over that of one force and one gradient of the surrogate."""
    A, B = ball([-0.558, 1.442], 0.1), ball([0.623, 0.028], 0.1)
    network = BoundaryNetwork(2, [48, 48], A=A, B=B).requires_grad_(False)
    dynamics = Overdamped(mueller_brown, kT=20.0)
    x = torch.tensor([[-0.7, 0.65]], dtype=torch.float64).repeat(rows, 1)

    def bare() -> float:
        begin = time.perf_counter()
        for _ in range(40):
            dynamics.force_field.forces(x)
            place = x.float().requires_grad_()
            torch.autograd.grad(network(place).sum(), place)
        return (time.perf_counter() - begin) / (40 * rows)

    settings = PathSettings(time_step=1e-7, paths_per_point=rows, max_steps=160, largest_tensor=2 * rows)
    ratios = []
    for _ in range(5):
        plain = bare()
        estimate = committor(dynamics, A, B, x=x[:1], settings=settings, surrogate=network)
        ratios.append(estimate.seconds / estimate.evaluations / plain)
    print(f"a step of {rows} paths over force and gradient: {sorted(ratios)[2]:.2f} (median of 5)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=int, default=2000, help="paths of each point")
    parser.add_argument("--points", type=int, default=10, help="points between the wells of `well_committors`")
    parser.add_argument("--seed", type=int, default=0, help="of the paths")
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES, help="parts to run")
    given = parser.parse_args()
    wells = functools.partial(well_committors, points=given.points)
    torch.set_num_threads(1)
    print("| problem | d | surrogate's error | error | standard error | chi^2 per point | steps per path | time |")
    for name, part in zip(NAMES, (wells, well_times, oscillator, harmonic_shells, free_shells), strict=False):
        if name in given.only:
            part(given.paths, given.seed)
    if "cover" in given.only:
        cover(128)
    if "cost" in given.only:
        cost(8192)
