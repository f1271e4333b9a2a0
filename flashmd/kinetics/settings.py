"""Settings of estimates from paths."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flashmd.errors import message

FORMS = ("martingale", "residual", "auto")
EXITS = ("bridge", "shift", "steps")
BLOCK = 16
"""Steps between two looks at which paths have ended."""


@dataclass(frozen=True)
class PathSettings:
    """Set time step, accuracy and budget of an estimate from paths.

    Attributes:
        time_step: of the dynamics.
        atol: absolute tolerance of standard error plus bias bound.
        rtol: relative tolerance; a point has converged below ``atol + rtol * |value|``.
        paths_per_point: budget of paths for each point.
        max_seconds: wall-clock budget after which no round begins, or None. Results then depend on the machine.
        max_steps: steps after which a path is truncated. Its future is replaced by the surrogate, and the bias bound
            says how much that may matter.
        largest_error: bound on the error of the surrogate, for the bias of truncated first-passage times.
        roulette_steps: mean number of steps after which a path ends at random, with weights that keep the estimate
            unbiased, or None. It pays where the surrogate is good and paths are long; weights grow with the length.
        antithetic: follow each path by one with mirrored noise.
        form: "martingale" needs gradients of the surrogate, "residual" second derivatives (overdamped only); "auto"
            compares both on a tenth of the budget and takes the cheaper one if they agree.
        exits: how overdamped paths leave between steps: "bridge" draws whether and when they do, "shift" enlarges the
            sets, "steps" looks at the steps only, as always where noise acts on velocities.
        seed: seed of all noise.
        largest_tensor: numbers in the largest tensor [paths, d]; bounds the memory.

    Example:
        >>> from flashmd.kinetics import PathSettings
        >>> PathSettings(time_step=1e-3, atol=0.01).paths_per_point
        10000
    """

    time_step: float
    atol: float = 0.0
    rtol: float = 0.0
    paths_per_point: int = 10_000
    max_seconds: float | None = None
    max_steps: int = 1_000_000
    largest_error: float | None = None
    roulette_steps: float | None = None
    antithetic: bool = True
    form: str = "martingale"
    exits: str = "bridge"
    seed: int = 0
    largest_tensor: int = 1 << 16

    def __post_init__(self) -> None:
        if not 0.0 < self.time_step < math.inf:
            fix = "choose one well below the fastest relaxation time"
            raise ValueError(message("`time_step`", "a positive number", str(self.time_step), fix))
        if min(self.rtol, self.atol) < 0.0:
            got = f"rtol={self.rtol}, atol={self.atol}"
            raise ValueError(message("the tolerances", "numbers of at least 0", got, "pass 0 to use the whole budget"))
        least = 2 * self.paths_per_draw
        if self.paths_per_point < least:
            got = str(self.paths_per_point)
            raise ValueError(message("`paths_per_point`", f"at least {least} for two draws", got, "raise it"))
        for name in ("max_steps", "largest_tensor"):
            if getattr(self, name) < 1:
                raise ValueError(message(f"`{name}`", "at least 1", str(getattr(self, name)), "raise it"))
        if self.roulette_steps is not None and not self.roulette_steps > BLOCK:
            got, fix = str(self.roulette_steps), "raise it, or pass None for paths that run to their end"
            raise ValueError(message("`roulette_steps`", f"more than {BLOCK}", got, fix))
        for name, known in (("form", FORMS), ("exits", EXITS)):
            got = getattr(self, name)
            if got not in known:
                raise ValueError(message(f"`{name}`", f"one of {', '.join(known)}", repr(got), "choose one of these"))

    @property
    def paths_per_draw(self) -> int:
        """Paths whose average is one independent draw."""
        return 2 if self.antithetic else 1

    @property
    def continuation(self) -> float:
        """Probability with which roulette lets a path live on after each block of steps."""
        return 1.0 if self.roulette_steps is None else 1.0 - BLOCK / self.roulette_steps
