"""Burgers' equation with the gradient in its nonlinearity: train a network, correct it, refit it on the corrections.

python examples/pde_burgers.py --d 20 --iterations 300
"""

from __future__ import annotations

import argparse

from flashmd.pde import (
    CorrectionSettings,
    SurrogateTraining,
    correct,
    distill,
    reference_problem,
    train_surrogate,
)


def main(d: int, iterations: int) -> tuple[float, float, float]:
    """Return the relative errors of the network, of its correction, and of the refitted network."""
    case = reference_problem("burgers", d)
    training = SurrogateTraining(iterations=iterations, batch=128, learning_rate=5e-3)
    surrogate = train_surrogate(case.problem, case.points, training)

    settings = CorrectionSettings(rtol=0.0, evaluations_per_point=420, steps=7)
    t, x = case.points(200, seed=1_000_003)
    estimate = correct(case.problem, surrogate, t, x, settings=settings)
    low, high = estimate.confidence_interval(0.95)
    exact = case.exact(t, x)
    inside = float(((low < exact) & (exact < high)).double().mean())

    t_fit, x_fit = case.points(1000, seed=1_000_004)
    labels = correct(case.problem, surrogate, t_fit, x_fit, settings=settings)
    refit = SurrogateTraining(iterations=4 * iterations, batch=128, learning_rate=2e-3)
    refitted = distill(surrogate, labels, t_fit, x_fit, refit)

    network, corrected, again = (
        float((value - exact).norm() / exact.norm())
        for value in (estimate.surrogate, estimate.value, refitted.value(t, x))
    )
    print(
        f"network {network:.1e}, corrected {corrected:.1e}, refitted {again:.1e}; {inside:.0%} in their 95% intervals"
    )
    return network, corrected, again


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d", type=int, default=20, help="dimension of the space")
    parser.add_argument("--iterations", type=int, default=300, help="training steps")
    arguments = parser.parse_args()
    main(arguments.d, arguments.iterations)
