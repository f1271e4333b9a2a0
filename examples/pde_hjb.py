"""A Hamilton-Jacobi-Bellman equation in 100 dimensions: a closed approximation, corrected with error bars.

The approximation replaces the mean of a logarithm by the logarithm of a mean and is wrong by half a per cent. The
exact solution is known by the Hopf-Cole transformation, so every interval can be checked.

    python examples/pde_hjb.py --d 100 --points 20
"""

from __future__ import annotations

import argparse

from flashmd.pde import CorrectionSettings, Surrogate, correct, reference_problem


def main(d: int, n_points: int) -> tuple[float, float]:
    """Print surrogate, corrected value with its interval and exact value; return the relative errors."""
    case = reference_problem("hamilton_jacobi", d)
    t, x = case.points(n_points, seed=0)
    settings = CorrectionSettings(rtol=3e-4, evaluations_per_point=4000)
    estimate = correct(case.problem, Surrogate(case.rough), t, x, settings=settings)
    low, high = estimate.confidence_interval(0.95)
    exact = case.exact(t, x)
    print("   time  surrogate  corrected  95% interval           exact")
    for row in zip(t, estimate.surrogate, estimate.value, low, high, exact, strict=True):
        time, before, value, begin, end, true = (float(number) for number in row)
        print(f"{time:7.3f} {before:10.5f} {value:10.5f}  [{begin:.5f}, {end:.5f}]  {true:10.5f}")
    before, after = ((v - exact).norm() / exact.norm() for v in (estimate.surrogate, estimate.value))
    spent = estimate.evaluations / n_points
    print(f"relative error {before:.1e} before, {after:.1e} after, {spent:.0f} evaluations a point")
    return float(before), float(after)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d", type=int, default=100, help="dimension of the space")
    parser.add_argument("--points", type=int, default=20, help="how many points")
    arguments = parser.parse_args()
    main(arguments.d, arguments.points)
