"""Problems that the tests of flashmd.kinetics share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flashmd.kinetics import KineticProblem, Overdamped, PathSettings, half_space
from flashmd.pde import Estimate

# Five standard errors: over all tests of this folder a false alarm has a probability below 1e-4.
ERRORS = 5.0
LEFT, RIGHT = half_space([-1.0], 1.0), half_space([1.0], 1.0)
FREE = Overdamped(lambda x: 0.0 * x.sum(1), kT=1.0)


def settings(**changes: object) -> PathSettings:
    """Few paths of coarse steps."""
    return PathSettings(**{"time_step": 1e-2, "paths_per_point": 200, **changes})  # type: ignore[arg-type]


def column(*values: float) -> Tensor:
    """Points of one dimension."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def biased(problem: KineticProblem) -> Callable[[Tensor], Tensor]:
    """A committor that is too steep and not centred."""
    return lambda x: 0.5 + 0.5 * torch.tanh(2.0 * problem.coordinate(x) - 0.1)


def assert_right(estimate: Estimate, exact: Tensor | float, tolerance: float) -> None:
    """The error is within the error bars, these are small, and so is the error itself."""
    error = (estimate.value - exact).abs()
    assert (error <= ERRORS * estimate.standard_error + estimate.bias_bound + 0.2 * tolerance).all()
    assert error.square().mean().sqrt() <= tolerance
