"""The files of a backmapping run: where they go, and that none of them is lost or overwritten by mistake."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flashmd import files
from flashmd.backmap.chains import Chains
from flashmd.backmap.layout import AtomLayout
from flashmd.backmap.structure_text import CifText, PdbText, why_not_pdb
from flashmd.backmap.writers import STRUCTURE_SUFFIXES, SUFFIXES, FrameWriter, GrowingFile, open_writer
from flashmd.errors import message

Cell = float | int | str | bool | None


@dataclass(frozen=True)
class OutputFiles:
    """Paths of what a run writes.

    Attributes:
        structures: all structures, frame by frame and sample by sample.
        topology: one structure that names the atoms of a trajectory; None where `structures` names them itself.
        table: CSV, a row for each structure.
        summary: JSON, choices, versions, medians and bad frames.
    """

    structures: Path
    topology: Path | None
    table: Path
    summary: Path

    @classmethod
    def beside(cls, output: Path, chains: Chains) -> OutputFiles:
        """Derive all paths from that of the structures.

        Raises:
            ValueError: its suffix is unknown.
        """
        suffix = output.suffix.lower()
        if suffix not in SUFFIXES:
            fix = "change the suffix"
            raise ValueError(message(f"output `{output}`", f"one of {', '.join(SUFFIXES)}", f"suffix {suffix!r}", fix))
        kind = ".cif" if why_not_pdb(chains.labels) else ".pdb"
        topology = None if suffix in STRUCTURE_SUFFIXES else output.with_suffix(kind)
        table = cls.table_of(output)
        return cls(output, topology, table, table.with_suffix(".json"))

    @staticmethod
    def table_of(output: Path) -> Path:
        """Return the path of the table beside the structures."""
        base = output.with_suffix("")
        return base.with_name(f"{base.name}_quality.csv")

    @property
    def all(self) -> list[Path]:
        """Every path."""
        return [path for path in (self.structures, self.topology, self.table, self.summary) if path is not None]

    def check(self, inputs: Iterable[Path], overwrite: bool) -> None:
        """Refuse to overwrite.

        Raises:
            ValueError: a file is an input, or is there and `overwrite` is false.
        """
        taken = {path.resolve() for path in inputs}
        for path in self.all:
            if path.resolve() in taken:
                fix = "choose another output"
                raise ValueError(message(f"output `{path}`", "a file that is not read", "an input", fix))
            if path.exists() and not overwrite:
                fix = "pass `--overwrite` (`overwrite=True`) or choose another output"
                raise ValueError(message(f"output `{path}`", "no file of that name", "one", fix))


class RunWriter:
    """The open files of a run.

    Args:
        paths: where they go.
        layout: atoms of the structures.
    """

    def __init__(self, paths: OutputFiles, layout: AtomLayout) -> None:
        self.paths, self._layout = paths, layout
        self._structures: FrameWriter = open_writer(paths.structures, layout)
        self._has_topology = paths.topology is None
        self._table = GrowingFile(paths.table)
        self._columns: list[str] = []
        self._rows: list[dict[str, Cell]] = []

    def append(self, positions: np.ndarray[Any, Any], times: list[float], rows: list[dict[str, Cell]]) -> None:
        """Add structures and their rows.

        Args:
            positions: [n, n_atoms, 3], nm.
            times: [n], ps.
            rows: of the table; those of frames without structures are among them.

        Raises:
            OutputError: the disk is full; what was written before is complete.
        """
        if len(positions):
            self._write_topology(positions[0])
            self._structures.append(np.ascontiguousarray(positions, dtype=np.float32), times)
        self._rows += rows
        if len(positions):
            self._write_rows()

    def close(self, summary: Mapping[str, Any]) -> None:
        """Finish the structures and write the summary."""
        self._write_rows()
        self._structures.close()
        text = json.dumps(_plain(summary), indent=1) + "\n"
        files.write_atomically(self.paths.summary, text.encode(), advice="run again")

    def _write_rows(self) -> None:
        """Write waiting rows; those of frames without structures wait for one that knows all columns."""
        if not self._rows:
            return
        header = ""
        if not self._columns:
            self._columns = list(dict.fromkeys(key for row in self._rows for key in row))
            header = ",".join(self._columns) + "\n"
        self._table.append((header + _csv(self._rows, self._columns)).encode())
        self._rows = []

    def _write_topology(self, positions: np.ndarray[Any, Any]) -> None:
        if self._has_topology or self.paths.topology is None:
            return
        pdb = self.paths.topology.suffix == ".pdb"
        text = PdbText(self._layout, one_model=True) if pdb else CifText(self._layout)
        data = (text.head + text.model(positions)).encode()
        files.write_atomically(self.paths.topology, data, advice="run again")
        self._has_topology = True


def _csv(rows: list[dict[str, Cell]], columns: list[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Cell) -> Cell:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value


def _plain(value: Any) -> Any:
    """Return a value with what JSON does not know written as null or text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
