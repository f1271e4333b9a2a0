"""Signals, sent to a process of its own: SIGINT and SIGTERM leave a checkpoint, SIGKILL leaves the last one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashmd.md.interruption import Interruption
from flashmd.md.restart import read_checkpoint
from tests.md.analytic import Harmonic, contents, run
from tests.md.stepping import interrupted_config

ENDLESS = 10_000_000
PATIENCE_S = 120.0
"""Start-up of the process takes seconds on a busy machine; waiting ends with the first checkpoint."""


def step_of(folder: Path) -> int:
    path = folder / "checkpoint.safetensors"
    return int(read_checkpoint(path).metadata["step"]) if path.exists() else -1


def interrupt(folder: Path, number: int, root: Path) -> int:
    """Start the run, wait until it is well under way, send the signal; return the exit code."""
    command = [sys.executable, str(Path(__file__).with_name("stepping.py")), str(folder), str(ENDLESS)]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, cwd=root) as process:
        deadline = time.monotonic() + PATIENCE_S
        while step_of(folder) < 64 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        return process.wait(PATIENCE_S)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_an_interrupted_process_continues_without_a_trace(tmp_path: Path, root: Path, name: str) -> None:
    number, folder = signal.Signals[name], tmp_path / "run"
    code = interrupt(folder, number, root)
    step = step_of(folder)
    if number == signal.SIGKILL:
        assert code == -number
        assert step % 64 == 0
    else:
        assert code == 128 + number
    assert step >= 64
    n_steps = step + 100
    model = Harmonic(300.0)
    run(interrupted_config(folder, n_steps), model, resume=True)
    run(interrupted_config(tmp_path / "whole", n_steps), model)
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.fixture
def python_handler() -> Iterator[None]:
    """Python's own answer to SIGINT, which a process started in the background of a shell does not have."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("python_handler")
def test_a_second_signal_acts_as_usual() -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_earlier_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_other_threads_run_without_signals() -> None:
    seen: list[int | None] = []

    def enter() -> None:
        with Interruption() as interruption:
            seen.append(interruption.received)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [None]
