"""What a run says while it works: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SECONDS_PER_LINE = 30.0
_SECONDS_PER_DAY = 86400.0


class ProgressReport:
    """Shows steps, simulated time and speed; to be used as a context manager.

    The speed is aggregate: nanoseconds of all replicas together per day of wall time.

    Args:
        first_step: step at which this part of the run starts.
        n_steps: last step.
        time_step: ps.
        n_replicas: replicas that advance together.
        console: where to write.
    """

    def __init__(self, *, first_step: int, n_steps: int, time_step: float, n_replicas: int, console: Console) -> None:
        self._first, self._last = first_step, n_steps
        self._time_step, self._n_replicas = time_step, n_replicas
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._begin = self._spoken = time.perf_counter()

    def __enter__(self) -> Self:
        self._begin = self._spoken = time.perf_counter()
        if self._console.is_terminal:
            columns = (TextColumn("step {task.completed}/{task.total}"), BarColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console)
            self._task = self._bar.add_task("", total=self._last, completed=self._first)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def elapsed(self) -> float:
        """Return the wall time since the start, s."""
        return max(time.perf_counter() - self._begin, 1e-9)

    def simulated(self, step: int) -> float:
        """Return the simulated time since the start, ns of all replicas together."""
        return (step - self._first) * self._time_step * 1e-3 * self._n_replicas

    def nanoseconds_per_day(self, step: int) -> float:
        """Return the speed since the start, ns/day of all replicas together."""
        return self.simulated(step) * _SECONDS_PER_DAY / self.elapsed()

    def update(self, step: int) -> None:
        """Show that `step` is reached."""
        simulated, speed = step * self._time_step * 1e-3, self.nanoseconds_per_day(step)
        done = f"{simulated:.3f} ns x {self._n_replicas}, {speed:,.0f} ns/day"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, description=done)
            return
        now = time.perf_counter()
        if now - self._spoken >= SECONDS_PER_LINE or step == self._last:
            self._spoken = now
            self._console.print(f"step {step}/{self._last}: {done}", highlight=False, soft_wrap=True)
