"""Independent pieces of work side by side, on threads of their own.

Operations on some thousand numbers are too small for torch to divide among threads: starting and joining takes as long
as the work. Here every thread takes whole pieces, and torch stays on one thread in each; while it computes it releases
the interpreter's lock. Pieces are the same for any number of threads and results come in their order, so sums over them
have the same bits.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

from flashmd.pde.surrogate import Surrogate

PIECES = 8
"""Pieces that share the memory which is allowed, and so the largest number of workers."""

# Short operations of one worker would keep the interpreter's lock from another for a switch interval, by default 5 ms.
_SECONDS_TO_WAIT = 1e-4

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Workers:
    """Hold some threads; as a context, so that they end and the settings of torch and Python are those of before.

    Args:
        count: how many. With one, the caller works itself and torch keeps its threads.

    Example:
        >>> from flashmd.pde.workers import Workers
        >>> with Workers(2) as workers:
        ...     list(workers.map(lambda number: number**2, [1, 2, 3]))
        [1, 4, 9]
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._before = torch.get_num_threads(), sys.getswitchinterval()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        """Start."""
        if self.count > 1:
            torch.set_num_threads(1)
            sys.setswitchinterval(_SECONDS_TO_WAIT)
            # The number is one of each thread: what the caller sets holds for itself.
            self._pool = ThreadPoolExecutor(self.count, initializer=torch.set_num_threads, initargs=(1,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let pieces under way end, drop those that wait, and restore what was set."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._before[0])
            sys.setswitchinterval(self._before[1])

    def map(
        self, function: Callable[[Piece], Result], pieces: Iterable[Piece], *, at_a_time: int = PIECES
    ) -> Iterator[Result]:
        """Yield the result for each piece in order; an exception is that of the first piece that has one.

        Args:
            function: is called on several threads at a time.
            pieces: any number.
            at_a_time: pieces that memory allows side by side.
        """
        if self._pool is None or at_a_time == 1:
            yield from map(function, pieces)
            return
        # Results are small: where memory allows all workers, each finds its next piece without waiting for the caller.
        most = at_a_time if at_a_time < self.count else 2 * self.count
        with_gradients = torch.is_grad_enabled()

        def work(piece: Piece) -> Result:
            with torch.set_grad_enabled(with_gradients):
                return function(piece)

        waiting: deque[Future[Result]] = deque()
        for piece in pieces:
            if len(waiting) == most:
                yield waiting.popleft().result()
            waiting.append(self._pool.submit(work, piece))
        while waiting:
            yield waiting.popleft().result()


def worker_count(asked: int | None, device: torch.device, surrogate: Surrogate, *, second: bool) -> int:
    """Return how many threads may work on an estimate.

    Args:
        asked: by the settings; None are as many as torch has.
        device: of the points; a GPU divides its work itself.
        surrogate: code that is no torch function may not stand several threads, and torch's forward mode does not.
        second: whether second derivatives are needed.
    """
    if device.type != "cpu":
        return 1
    if surrogate.derivatives == "differences" or (second and surrogate.uses_forward_mode):
        return 1
    return min(PIECES, torch.get_num_threads() if asked is None else asked)
