"""Problems that the tests of flashmd.pde share."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.pde import CorrectionSettings, Parabolic, Surrogate, problems
from flashmd.pde.problems import ReferenceProblem

SMALL = {name: make(6) for name, make in problems.REFERENCE_PROBLEMS.items()}
BURGERS = SMALL["burgers"]


def settings(**changes: object) -> CorrectionSettings:
    """A fixed number of evaluations: no tolerance stops it."""
    return CorrectionSettings(**{"rtol": 0.0, "evaluations_per_point": 640, "steps": 10, **changes})  # type: ignore[arg-type]


def bent(problem: ReferenceProblem) -> Surrogate:
    """The library's closed approximation."""
    return Surrogate(problem.rough)


def zero(t: Tensor, x: Tensor) -> Tensor:
    """No surrogate at all, as a function of both arguments."""
    return 0.0 * t + 0.0 * x.sum(1)


def quadratic_problem(d: int = 3) -> Parabolic:
    """Varying drift and diffusion that are linear in x, with a discount and a source; see `quadratic_exact`."""
    return Parabolic(
        d=d,
        T=1.0,
        drift=lambda t, x: -x,
        diffusion=torch.linspace(0.5, 1.0, d, dtype=torch.float64),
        source=lambda t, x, u, z: -0.5 * u,
        terminal=lambda x: x.square().sum(1),
    )


def quadratic_exact(t: Tensor, x: Tensor) -> Tensor:
    """Solution of `quadratic_problem`: the discounted second moment of an Ornstein-Uhlenbeck process."""
    left = 1.0 - t
    sigma = torch.linspace(0.5, 1.0, x.shape[1], dtype=x.dtype)
    decay = (-2.0 * left).exp()
    moment = x.square().sum(1) * decay + sigma.square().sum() * (1.0 - decay) / 2.0
    return (-0.5 * left).exp() * moment
