"""What a benchmark ran on: threads, processor, versions, commit."""

import ctypes
import datetime as dt
import os
import platform
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

from flashmd.errors import message


@dataclass(frozen=True)
class Machine:
    """One line of a report, and columns of a CSV."""

    processor: str
    device: str
    threads: int
    torch: str
    commit: str
    date: str

    def __str__(self) -> str:
        threads = counted(self.threads, "thread")
        return f"{self.processor}, {threads}, torch {self.torch}, commit {self.commit}, {self.date}"


def counted(number: int, noun: str) -> str:
    """1 thread, 2 threads."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def set_up(threads: int, device: str) -> Machine:
    """Set the number of threads, check the device and describe both.

    Raises:
        SystemExit: the machine has no such device or not so many processors.
    """
    available = len(os.sched_getaffinity(0))
    if not 1 <= threads <= available:
        raise SystemExit(
            message("`--threads`", f"1 to {available}, the processors here", f"{threads}", "ask for fewer")
        )
    if device not in ("cpu", "cuda"):
        raise SystemExit(message("`--device`", "cpu or cuda", repr(device), "choose one of these"))
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(message("`--device`", "a CUDA device", "none", "leave the option out to run on the CPU"))
    torch.set_num_threads(threads)
    name = _processor() if device == "cpu" else f"{torch.cuda.get_device_name()} beside {_processor()}"
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    return Machine(name, device, threads, torch.__version__, _commit(), today)


def _processor() -> str:
    """Name and vector instructions of the processor; platform knows the name on few systems."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name} ({os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()})"


def _commit() -> str:
    """Short name of the commit, with a + where tracked files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def limit_memory(n_bytes: int) -> None:
    """Let this process take no more than so many bytes beyond what it has; what asks for more fails."""
    taken = _own_memory("VmData")
    resource.setrlimit(resource.RLIMIT_DATA, (taken + n_bytes, taken + n_bytes))


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def default_memory_limit() -> int:
    """Three quarters of the machine's memory, bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4


class PeakMemory:
    """Memory taken since the object was made, at its highest.

    On the CPU this is the highest resident set of the process less the one at the start; the mark is Linux's and can be
    reset. On CUDA it is what torch's allocator handed out.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._before = 0
        self._reset()
        self._before = self._highest()

    def take(self) -> int:
        """Return the highest since the start or the last `take`, bytes."""
        highest = self._highest() - self._before
        self._reset()
        return highest

    def _reset(self) -> None:
        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return
        # What is free must not hide what the measured code takes.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")

    def _highest(self) -> int:
        if self._device == "cuda":
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated()
        return _own_memory("VmHWM")


def _own_memory(name: str) -> int:
    """Bytes under `name` in Linux's account of this process; getrusage would tell of the one that started it, too."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(row.split()[1]) for row in rows if row.startswith(name))
