"""A bar that shows how many structures are done."""

from __future__ import annotations

import io
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class SampleProgress:
    """Shows structures on a terminal; to be used as a context manager.

    Args:
        total: structures; None where the end of the input is not known.
        console: where to write; nowhere by default, and nothing where it is no terminal.
    """

    def __init__(self, total: int | None, console: Console | None) -> None:
        shown = console if console is not None else Console(file=io.StringIO())
        columns = (
            TextColumn("structures"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=shown, disable=not shown.is_terminal)
        self._task = self._bar.add_task("structures", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, count: int) -> None:
        """Show that so many more structures are done."""
        self._bar.advance(self._task, count)
