"""Rows of a benchmark: CSV and the table on the terminal."""

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import Machine

FEMTOSECONDS = 4.0


@dataclass(frozen=True)
class Row:
    """One contestant at one size; where `failure` says why it was not measured, the numbers are missing."""

    contestant: str
    beads: int
    replicas: int
    edges: int  # directed, within the cutoff, of all replicas together, at the start
    seconds_per_step: float | None = None  # median of the rounds
    fastest: float | None = None  # the quickest and the slowest round, s
    slowest: float | None = None
    ns_per_day: float | None = None  # of all replicas together, at 4 fs
    ratio: float | None = None  # how many times faster than `reference`, in the same run
    ratio_pyg: float | None = None  # and than `pyg`
    peak_bytes: int | None = None  # while steps are evaluated
    setup_bytes: int | None = None  # while the contestant is made
    force_error: float | None = None  # relative to float64, one replica
    steps: int = 0
    failure: str = ""


def ns_per_day(seconds_per_step: float, n_replicas: int) -> float:
    """Dynamics of all replicas together at 4 fs, ns/day."""
    return FEMTOSECONDS * 1e-6 * 86400.0 * n_replicas / seconds_per_step


def write_csv(path: Path, rows: Sequence[Any], machine: Machine) -> None:
    """Write dataclasses of one kind, a line each, followed by the machine; what is None stays empty.

    A field that the rows and the machine share, such as the number of threads, is the row's own.
    """
    names = [field.name for field in dataclasses.fields(rows[0])]
    common = {key: value for key, value in dataclasses.asdict(machine).items() if key not in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *common])
        for row in rows:
            writer.writerow([*(_digits(getattr(row, name)) for name in names), *common.values()])


def _digits(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


HEADER = (
    f"{'contestant':<19}{'ms/step':>10}{'spread':>9}{'x ref.':>8}{'x pyg':>8}{'peak MB':>10}{'ns/day':>10}{'error':>9}"
)


def line(row: Row) -> str:
    """One line of the table under `HEADER`."""
    if row.seconds_per_step is None:
        return f"{row.contestant:<19}not measured: {row.failure}"
    spread = (row.slowest - row.fastest) / row.seconds_per_step
    ratios = "".join(f"{'-' if each is None else f'{each:.1f}':>8}" for each in (row.ratio, row.ratio_pyg))
    return (
        f"{row.contestant:<19}{1e3 * row.seconds_per_step:>10.3f}{spread:>9.0%}{ratios}"
        f"{row.peak_bytes / 1e6:>10.1f}{row.ns_per_day:>10.1f}{row.force_error:>9.0e}"
    )
