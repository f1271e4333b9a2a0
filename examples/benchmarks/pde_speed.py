"""Speed of corrections: many points of Burgers' equation with one and two threads, and the cost of a step of a path.

    python examples/benchmarks/pde_speed.py --points 1000 --threads 2
    python examples/benchmarks/pde_speed.py --points 250 --threads 1 2

A network of 2 x 48 units is trained first, which is not timed. A step of the martingale form is compared with what it
cannot do without: the drift, the source with its slopes, and one gradient of the network, at the same paths.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from machine import counted, set_up

from flashmd.pde import CorrectionSettings, Surrogate, SurrogateTraining, correct, reference_problem, train_surrogate
from flashmd.pde.feynman_kac import LinearisedPaths, Points
from flashmd.pde.linearise import source_slopes
from flashmd.pde.problems import ReferenceProblem
from flashmd.pde.workers import PIECES


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Shortest time of some repetitions."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def cost_of_a_step(case: ReferenceProblem, surrogate: Surrogate, rows: int, repeats: int) -> float:
    """Time of a step over that of the coefficients and one gradient of the surrogate, both of `rows` paths."""
    steps = 20
    t, x = case.points(rows, seed=2)
    sampler = LinearisedPaths(case.problem, surrogate, "martingale", steps, seed=0, antithetic=False)
    step = seconds(lambda: sampler.draw(Points(t, x), 0, 1), repeats) / (steps + 1)

    def least() -> None:
        with torch.no_grad():
            case.problem.drift_at(t, x)
            jet = surrogate.gradient(t, x)
            source_slopes(case.problem, t, x, jet.value, jet.gradient)

    return step / seconds(least, 5 * repeats)


def correction(case: ReferenceProblem, surrogate: Surrogate, n_points: int, evaluations: int) -> tuple[float, float]:
    """Seconds and relative error of a correction."""
    t, x = case.points(n_points, seed=1)
    settings = CorrectionSettings(rtol=0.0, evaluations_per_point=evaluations, steps=8)
    estimate = correct(case.problem, surrogate, t, x, form="residual", settings=settings)
    exact = case.exact(t, x)
    return estimate.seconds, float((estimate.value - exact).norm() / exact.norm())


def main(d: int, n_points: int, evaluations: int, threads: list[int], iterations: int) -> dict[str, float]:
    """Print and return the figures."""
    machine = set_up(max(threads), "cpu")
    case = reference_problem("burgers", d)
    surrogate = train_surrogate(case.problem, case.points, SurrogateTraining(iterations=iterations))
    results = {}
    print(f"{n_points} points, d = {d}, {evaluations} evaluations each")
    for count in threads:
        torch.set_num_threads(count)
        results[f"seconds_{count}"], error = correction(case, surrogate, n_points, evaluations)
        label = counted(count, "thread")
        print(f"{label}: {results[f'seconds_{count}']:.1f} s, relative error {error:.1e}")
    torch.set_num_threads(1)
    results["step"] = cost_of_a_step(
        case, surrogate, rows=CorrectionSettings().largest_tensor // (PIECES * d), repeats=3
    )
    print(f"a step over coefficients and a gradient: {results['step']:.2f} (1 thread)")
    print(machine)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d", type=int, default=80, help="dimension of the space")
    parser.add_argument("--points", type=int, default=1000, help="how many points")
    parser.add_argument("--evaluations", type=int, default=400, help="evaluations of the network for each point")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="numbers of threads, one run with each")
    parser.add_argument("--iterations", type=int, default=300, help="training steps")
    arguments = parser.parse_args()
    main(arguments.d, arguments.points, arguments.evaluations, arguments.threads, arguments.iterations)
