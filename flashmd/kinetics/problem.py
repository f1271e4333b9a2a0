"""The linear problems whose solution is the mean payoff of a stopped path."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.kinetics.sets import AbsorbingSet

Final = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StoppedProblem:
    """Hold what a path earns: on the way, in a set, or at the horizon.

    Attributes:
        sets: where paths end.
        payoffs: what they earn there.
        running: what they earn per time.
        horizon: when they end at the latest, or None.
        final: what they earn at the horizon, a function from x [n, d] to [n].
        limits: of the solution, or None where it is not bounded.
    """

    sets: tuple[AbsorbingSet, ...] = ()
    payoffs: tuple[float, ...] = ()
    running: float = 0.0
    horizon: float | None = None
    final: Final | None = None
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.horizon is not None and not 0.0 < self.horizon < math.inf:
            fix = "pass the time after which the question is asked"
            raise ValueError(message("the time", "a positive number", str(self.horizon), fix))

    def clock(self, time_step: float) -> tuple[float, int | None]:
        """Return the step that divides the horizon, and the number of steps (None without a horizon)."""
        if self.horizon is None:
            return time_step, None
        steps = max(1, math.ceil(self.horizon / time_step - 1e-9))
        return self.horizon / steps, steps

    def check_starts(self, x: Tensor) -> None:
        """Raise ValueError unless x [n, d] is finite and outside all sets."""
        if x.dim() != 2 or x.shape[0] == 0:
            raise ValueError(message("`x`", "shape (n, d) with n > 0", f"{tuple(x.shape)}", "give each point one row"))
        if not bool(x.isfinite().all()):
            index = int((~x.isfinite()).nonzero()[0, 0])
            raise ValueError(message(f"`x` of point {index}", "finite numbers", "NaN or infinity", "leave it out"))
        inside = torch.stack([each.contains(x) for each in self.sets]) if self.sets else x.new_zeros(1, len(x)).bool()
        if bool((inside.sum(0) > 1).any()):
            index = int((inside.sum(0) > 1).nonzero()[0, 0])
            raise overlap(f"point {index} lies in both")
        if bool(inside.any()):
            index = int(inside.any(0).nonzero()[0, 0])
            fix = "leave it out: the solution is known there"
            raise ValueError(message(f"`x` of point {index}", "a point outside the absorbing sets", "one inside", fix))

    def final_at(self, x: Tensor) -> Tensor:
        """Return the payoff at the horizon, [n].

        Raises:
            ValueError: the function returns another shape.
        """
        if self.final is None:
            return torch.ones_like(x[:, 0])
        result = self.final(x)
        if tuple(result.shape) != (x.shape[0],):
            got, fix = f"{tuple(result.shape)}", "return one number for each row of `x`"
            raise ValueError(message("the observable", f"a result of shape ({x.shape[0]},)", got, fix))
        return result


def overlap(got: str) -> ValueError:
    """Return the error for sets that are not disjoint."""
    return ValueError(message("the absorbing sets", "sets without common points", got, "make them smaller"))
