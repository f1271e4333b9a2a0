"""Rounds of draws: each doubles the number of draws of the points that have not converged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from flashmd.errors import message
from flashmd.pde.estimate import DefectMoments, Round
from flashmd.pde.feynman_kac import Draws, Points
from flashmd.pde.settings import CorrectionSettings
from flashmd.pde.workers import Workers

_FIRST_ROUND = 16
_SMALLEST_COUNT = 2
# Below so many numbers in its largest tensor, a chunk takes the interpreter as long as the processor.
_SMALLEST_PIECE = 1 << 17


class Sampler(Protocol):
    """Independent draws of a quantity at many points; draw i of a point is a function of seed, point and i only."""

    @property
    def cost(self) -> int:
        """Evaluations of one draw."""
        ...

    @property
    def rows(self) -> int:
        """Vectors of d numbers that one draw holds at a time."""
        ...

    def draw(self, points: Points, first: int, count: int) -> Draws:
        """Return draws number `first` to ``first + count - 1``."""
        ...


@dataclass(frozen=True)
class Rounds:
    """Draw until every point has converged or its budget ends.

    The number of draws of a point depends on its own results only, so other points of a batch do not change it.

    Attributes:
        sampler: source of the draws.
        points: [n].
        settings: tolerance and budget.
        within: maps indices of points to whether their present moments are within the tolerance.
        moments: running moments of all points.
        workers: threads that draw.
        pieces: chunks that share the memory, and into which a large round is divided at least.
        reserved: evaluations for each point that were spent before.
        first_round: draws of each point in the first round.
    """

    sampler: Sampler
    points: Points
    settings: CorrectionSettings
    within: Callable[[Tensor], Tensor]
    moments: DefectMoments
    workers: Workers
    pieces: int
    reserved: int = 0
    first_round: int = _FIRST_ROUND

    def run(self, active: Tensor, begin: float) -> tuple[Round, ...]:
        """Draw for the points `active` and return the history.

        Args:
            active: [m], int64, indices of the points to begin with.
            begin: time at which the clock started, as of `time.perf_counter`.

        Raises:
            ValueError: the budget is too small for two draws.
        """
        history: list[Round] = []
        affordable = self._affordable()
        drawn = evaluations = 0
        while len(active) and drawn < affordable and not self._is_late(begin):
            count = min(max(drawn, self.first_round), affordable - drawn)
            evaluations += self._draw(active, drawn, count)
            drawn += count
            largest = float(self.moments.defect.standard_error().max())
            history.append(Round(drawn, len(active), evaluations, largest, time.perf_counter() - begin))
            active = active[~self.within(active)]
        return tuple(history)

    def _affordable(self) -> int:
        budget = self.settings.evaluations_per_point - self.reserved
        draws = budget // self.sampler.cost
        if draws < _SMALLEST_COUNT:
            needed = _SMALLEST_COUNT * self.sampler.cost + self.reserved
            fix = "raise it, or reduce `steps`, `samples` or `sobol_paths`"
            got = f"{self.settings.evaluations_per_point}"
            raise ValueError(message("`evaluations_per_point`", f"at least {needed} for two draws", got, fix))
        return draws

    def _is_late(self, begin: float) -> bool:
        limit = self.settings.max_seconds
        return limit is not None and bool(self.moments.defect.count.max() > 0) and time.perf_counter() - begin > limit

    def _draw(self, active: Tensor, first: int, count: int) -> int:
        """Draw in chunks that keep within the memory that is allowed; return the evaluations that they took."""
        per_chunk, group = self._chunk(len(active), count)
        chunks = (
            (index, begin, min(per_chunk, first + count - begin))
            for index in active.split(group)
            for begin in range(first, first + count, per_chunk)
        )

        def draw(chunk: tuple[Tensor, int, int]) -> tuple[Tensor, Draws]:
            index, begin, size = chunk
            return index, self.sampler.draw(self.points.select(index), begin, size)

        at_a_time = max(1, self._rows // (self.sampler.rows * per_chunk))
        evaluations = 0
        for index, draws in self.workers.map(draw, chunks, at_a_time=at_a_time):
            self.moments.add(index, draws)
            taken = draws.evaluations
            evaluations += draws.value.numel() * self.sampler.cost if taken is None else taken
        return evaluations

    @property
    def _rows(self) -> int:
        """Vectors of d numbers that may be held at a time."""
        return max(1, self.settings.largest_tensor // self.points.x.shape[1])

    def _chunk(self, n: int, count: int) -> tuple[int, int]:
        """Return how many draws of how many points make a chunk, the same for any number of workers."""
        most, whole = max(1, self._rows // self.pieces), n * count * self.sampler.rows
        pieces = min(self.pieces, max(1, whole * self.points.x.shape[1] // _SMALLEST_PIECE))
        rows = min(most, -(-whole // pieces))
        per_chunk = min(count, max(1, rows // self.sampler.rows))
        unit = per_chunk * self.sampler.rows
        return per_chunk, max(1, min(most // unit, -(-rows // unit)))
