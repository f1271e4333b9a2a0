"""Side-by-side timing: contestants take turns, so that a slow minute of the machine meets all of them.

A turn is a row of consecutive steps of dynamics, long enough to hold several rebuilds of a neighbour list where the
contestant is fast. The motion itself is computed before the clock starts, and so is the first step of a turn, which
finds the caches full of what another contestant left there; in dynamics no step does. A run with one thread on the CPU
counts the time of that thread, so that other work on the machine disturbs little, all others that of the clock on the
wall.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

from contestants import Step
from machine import Machine, synchronize
from workloads import Motion

from flashmd.system import System

MOST_STEPS = 1000


@dataclass(frozen=True)
class Rounds:
    """How long to measure: the number of turns of each contestant and the length of a turn, s."""

    count: int = 5
    seconds: float = 1.0


class Runner:
    """One contestant on its way along the motion; every contestant follows the same path."""

    def __init__(self, step: Step, start: System, *, device: str, threads: int) -> None:
        self._step, self._device = step, device
        self._clock = time.thread_time if device == "cpu" and threads == 1 else time.perf_counter
        self._motion = Motion(start)
        self.seconds: list[float] = []
        self._n_steps = 1

    def warm_up(self, turn: float) -> None:
        """Build lists, then choose the number of steps that fill a turn."""
        self._time(1)
        seconds = self._time(1)
        if seconds < 0.1 * turn:
            seconds = self._time(10)
        self._n_steps = min(max(1, round(turn / seconds)), MOST_STEPS)

    def take_turn(self) -> None:
        """Measure one turn."""
        self.seconds.append(self._time(self._n_steps))

    @property
    def n_steps(self) -> int:
        """Timed steps of all turns."""
        return self._n_steps * len(self.seconds)

    def _time(self, n_steps: int) -> float:
        first, *frames = [self._motion.step() for _ in range(n_steps + 1)]
        self._step(first)
        synchronize(self._device)
        begin = self._clock()
        for frame in frames:
            self._step(frame)
        synchronize(self._device)
        return (self._clock() - begin) / n_steps


def race(steps: Mapping[str, Step], start: System, machine: Machine, *, rounds: Rounds) -> dict[str, Runner]:
    """Let the contestants take turns and return what was measured."""
    options = {"device": machine.device, "threads": machine.threads}
    runners = {name: Runner(step, start, **options) for name, step in steps.items()}
    for runner in runners.values():
        runner.warm_up(rounds.seconds)
    for _ in range(rounds.count):
        for runner in runners.values():
            runner.take_turn()
    return runners


def ratio(slow: Runner, fast: Runner) -> float:
    """How many times faster: the median over the rounds, each compared within itself."""
    return statistics.median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))
