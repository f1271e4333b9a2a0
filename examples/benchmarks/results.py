"""Rows of a benchmark: CSV and the table on the terminal."""

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import Machine

FEMTOSECONDS = 4.0
_NS_PER_DAY = FEMTOSECONDS * 1e-6 * 86400.0


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
    ratio: float | None = None  # how many times faster than `reference`, in the same run
    ratio_pyg: float | None = None  # and than `pyg`
    peak_bytes: int | None = None  # while steps are evaluated
    setup_bytes: int | None = None  # while the contestant is made
    force_error: float | None = None  # relative to float64, one replica
    steps: int = 0
    failure: str = ""

    @property
    def ns_per_day(self) -> float | None:
        """Of all replicas together, at 4 fs."""
        return None if self.seconds_per_step is None else _NS_PER_DAY * self.replicas / self.seconds_per_step


def write_csv(path: Path, rows: Sequence[Row], machine: Machine) -> None:
    """Write one line for each row; what is missing stays empty."""
    common = dataclasses.asdict(machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*_COLUMNS, "ns_per_day", *common])
        for row in rows:
            values = [getattr(row, name) for name in (*_COLUMNS, "ns_per_day")]
            writer.writerow(["" if value is None else _digits(value) for value in values] + [*common.values()])


def _digits(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


_COLUMNS = tuple(field.name for field in dataclasses.fields(Row))

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
