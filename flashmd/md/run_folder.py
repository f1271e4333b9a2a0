"""The folder of a run: the names of its files, refusing to overwrite it, and writes that are whole or absent.

======================================  =====================================================================
file                                    content
======================================  =====================================================================
`config.resolved.yaml`                  every key with its value; comments name versions, model hash, device
`topology.pdb`                          beads of one replica at its start, for reading the trajectories
`T_300.0K.xtc`                          frames of whichever replica holds 300.0 K
`T_300.0K_walker_1.xtc`                 the same for walker 1, where there is more than one walker
`log.csv`                               energies, temperature held and kinetic temperature of every replica
`exchanges.csv`                         proposed and accepted exchanges of each pair of temperatures
`performance.csv`                       simulated and wall time of each call of `simulate`
`checkpoint.safetensors`                all that a bitwise continuation needs
`failure.npz`, `failure.pdb`            last finite state of a replica that exploded
======================================  =====================================================================
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flashmd import files
from flashmd.errors import ConfigurationError, message

_OWN_PATTERNS = (
    "config.resolved.yaml",
    "topology.pdb",
    "T_*K.xtc",
    "T_*K_walker_*.xtc",
    "log.csv",
    "exchanges.csv",
    "performance.csv",
    "checkpoint.safetensors",
    "failure.npz",
    "failure.pdb",
)
PERFORMANCE_COLUMNS = ("simulated_ns", "wall_s")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """Resolved configuration."""
        return self.path / "config.resolved.yaml"

    @property
    def topology(self) -> Path:
        """Beads of one replica."""
        return self.path / "topology.pdb"

    @property
    def log(self) -> Path:
        """Energies and temperatures."""
        return self.path / "log.csv"

    @property
    def exchanges(self) -> Path:
        """Counts of exchanges."""
        return self.path / "exchanges.csv"

    @property
    def performance(self) -> Path:
        """Simulated and wall time of each call."""
        return self.path / "performance.csv"

    @property
    def checkpoint(self) -> Path:
        """State to continue from."""
        return self.path / "checkpoint.safetensors"

    def add_performance(self, *, simulated_ns: float, wall_s: float) -> None:
        """Append a line on one call: nanoseconds of all replicas together and seconds.

        Raises:
            OutputError: the disk is full or not writable; the old content stays.
        """
        header = ",".join(PERFORMANCE_COLUMNS) + "\n"
        known = self.performance.read_text(encoding="utf-8") if self.performance.exists() else header
        write_atomically(self.performance, f"{known}{simulated_ns:.9g},{wall_s:.3f}\n".encode())

    def create(self, *, overwrite: bool) -> None:
        """Make the folder, or clear it of an earlier run's files; files of others are left alone.

        Raises:
            ConfigurationError: a run is there and `overwrite` is false.
        """
        with files.writing(self.path, advice=resuming(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
        present = self._present()
        if present and not overwrite:
            fix = f"continue it with `flashmd simulate --resume {self.path}`, pass `--overwrite`, or change `output`"
            raise ConfigurationError(message(f"run folder {self.path}", "no run in it", f"{present[0].name}", fix))
        self.clear()

    def clear(self) -> None:
        """Remove the files of a run; files of others are left alone."""
        for file in self._present():
            file.unlink()

    def _present(self) -> list[Path]:
        return sorted({file for pattern in _OWN_PATTERNS for file in self.path.glob(pattern)})


def trajectory_names(temperatures: Sequence[float], n_walkers: int) -> list[str]:
    """Return the file name of each slot, temperature-major; decimals grow until the names differ.

    >>> trajectory_names([300.0, 310.0], 1)
    ['T_300.0K.xtc', 'T_310.0K.xtc']
    """
    decimals = 1
    while len({f"{each:.{decimals}f}" for each in temperatures}) < len(temperatures):
        decimals += 1
    labels = [f"T_{each:.{decimals}f}K" for each in temperatures]
    if n_walkers == 1:
        return [f"{label}.xtc" for label in labels]
    return [f"{label}_walker_{walker}.xtc" for label in labels for walker in range(n_walkers)]


def resuming(folder: Path) -> str:
    """Return the advice for a run that could not write."""
    return f"continue from the last checkpoint with `flashmd simulate --resume {folder}`"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file of a run at once, see :func:`flashmd.files.write_atomically`.

    Raises:
        OutputError: the disk is full or not writable; the old content stays.
    """
    files.write_atomically(path, data, advice=resuming(path.parent))


@dataclass
class GrowingFile:
    """A file that only grows, and can be cut back to what a checkpoint knows.

    Attributes:
        path: the file.
        size: bytes that belong to the run.
    """

    path: Path
    size: int = 0

    def truncate(self) -> None:
        """Create the file, or drop what lies beyond `size`."""
        with files.writing(self.path, advice=resuming(self.path.parent)), self.path.open("ab") as file:
            file.truncate(self.size)

    def append(self, data: bytes) -> None:
        """Write at the end of what belongs to the run.

        Raises:
            OutputError: the disk is full or not writable.
        """
        with files.writing(self.path, advice=resuming(self.path.parent)), self.path.open("r+b") as file:
            file.seek(self.size)
            files.write_all(file, data)
        self.size += len(data)

    def sync(self) -> None:
        """Wait until the content is on the disk."""
        with files.writing(self.path, advice=resuming(self.path.parent)), self.path.open("rb") as file:
            os.fsync(file.fileno())
