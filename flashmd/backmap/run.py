"""The whole way in one call: read a trace, draw structures, measure them, write them."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from flashmd import __version__
from flashmd.backmap.chains import Chains
from flashmd.backmap.finishing import Finisher, check_force_fields
from flashmd.backmap.options import BackmapOptions
from flashmd.backmap.outputs import Cell, OutputFiles, RunWriter
from flashmd.backmap.progress import SampleProgress
from flashmd.backmap.sampling import BadFrame, Sampler, Structures, sample_structures
from flashmd.backmap.shipped import open_model
from flashmd.backmap.trace import Trace, read_trace
from flashmd.errors import message


@dataclass(frozen=True)
class BackmapResult:
    """What a run has made.

    Attributes:
        chains: the residues.
        n_structures: structures made.
        bad: frames of the input that are not those of a protein.
        notes: what was noticed while reading.
        medians: of the columns of the table.
        faults: for each column of reasons, structures that have one; absent where none has.
        files: what was written; None without an output.
        structures: [n_structures, n_residues, 14, 3], nm, without an output; else None.
        frames: [n_structures], frame of each structure, without an output; else None.
        samples: [n_structures], sample of each structure, without an output; else None.
    """

    chains: Chains
    n_structures: int
    bad: tuple[BadFrame, ...]
    notes: tuple[str, ...]
    medians: dict[str, float]
    faults: dict[str, int]
    files: OutputFiles | None
    structures: Tensor | None
    frames: Tensor | None
    samples: Tensor | None


def backmap(
    structure: str | PathLike[str] | Trace | Any,
    trajectory: str | PathLike[str] | None = None,
    *,
    output: str | PathLike[str] | None = None,
    options: BackmapOptions | None = None,
    overwrite: bool = False,
    model: Sampler | None = None,
    console: Console | None = None,
) -> BackmapResult:
    """Make all-atom structures of a coarse-grained structure or trajectory.

    Args:
        structure: file, mdtraj trajectory or `Trace`; see `read_trace`.
        trajectory: frames of the atoms of `structure`.
        output: PDB, mmCIF, XTC, DCD or HDF5 file; without one the structures are returned.
        options: choices.
        overwrite: replace files of earlier runs.
        model: draws the structures, in place of the one that the options name.
        console: where to show progress; nowhere by default.

    Raises:
        ValueError: the input or the choices do not fit, or an output exists; nothing has been written then.
        MissingDependencyError: hydrogens or dynamics were asked for, and OpenMM is not installed.
        BadFrameError: a frame is not that of a protein, and `on_bad_frame` is "stop".
        OutputError: the disk is full; what was written before is complete.

    Example:
        >>> import torch
        >>> from flashmd.backmap import backmap, read_trace
        >>> trace = read_trace("data/structures/chignolin_native_ca.pdb")
        >>> result = backmap(trace, options=BackmapOptions(samples=2))  # doctest: +SKIP
        >>> result.structures.shape  # doctest: +SKIP
        torch.Size([2, 10, 14, 3])
    """
    chosen = options or BackmapOptions()
    trace = structure if isinstance(structure, Trace) else _read(structure, trajectory, chosen)
    check_force_fields(trace, chosen)
    sampler = model if model is not None else open_model(chosen.model, chosen.device)
    paths = None
    if output is not None:
        paths = OutputFiles.beside(Path(output), trace.chains)
        paths.check([Path(each) for each in (structure, trajectory) if isinstance(each, str | PathLike)], overwrite)
    run = _Run(trace, chosen, paths)
    total = None if trace.n_frames is None else _count(trace.n_frames, chosen) * chosen.samples
    if total == 0:
        raise _no_frames(trace, chosen)
    try:
        with SampleProgress(total, console) as progress:
            for batch in sample_structures(trace, chosen, sampler):
                run.take(batch)
                progress.advance(len(batch.frames))
    finally:
        run.close()
    if not run.has_frames:
        raise _no_frames(trace, chosen)
    return run.result()


class _Run:
    """Collects what a run makes."""

    def __init__(self, trace: Trace, options: BackmapOptions, paths: OutputFiles | None) -> None:
        self._trace, self._options, self._paths = trace, options, paths
        self._finisher: Finisher | None = None
        self._writer: RunWriter | None = None
        self._bad: list[BadFrame] = []
        self._kept: list[Structures] = []
        self._columns: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._faults: Counter[str] = Counter()
        self._n_structures = 0

    @property
    def has_frames(self) -> bool:
        """Whether there was any frame, good or bad."""
        return bool(self._n_structures or self._bad)

    def take(self, batch: Structures) -> None:
        if self._finisher is None:
            self._finisher = Finisher(self._trace, self._options, batch.disulfides)
            if self._paths is not None:
                self._writer = RunWriter(self._paths, self._finisher.layout)
        self._bad += batch.bad
        faults = {bad.frame: bad.fault for bad in self._bad}
        positions, measures = self._finisher.finish(batch) if len(batch.frames) else (np.empty((0, 0, 3)), [])
        rows: list[dict[str, Cell]] = [
            _row(bad.frame, None, bad.time, bad.fault) for bad in batch.bad if not bad.written
        ]
        keys = zip(batch.frames.tolist(), batch.samples.tolist(), batch.times.tolist(), measures, strict=True)
        for frame, sample, time, measured in keys:
            rows.append(_row(frame, sample, time, faults.get(frame, "")) | measured)
            self._count(measured)
        if self._writer is not None:
            self._writer.append(positions, batch.times.tolist(), rows)
        else:
            self._kept.append(batch)
        self._n_structures += len(batch.frames)

    def _count(self, measured: dict[str, Cell]) -> None:
        for name, value in measured.items():
            if isinstance(value, float | int):
                self._columns[name].append(float(value))
            elif value:
                self._faults[name] += 1

    def close(self) -> None:
        """Finish the files, whatever stopped the run."""
        if self._writer is not None:
            self._writer.close(
                {
                    "flashmd": __version__,
                    "input": self._trace.name,
                    "beads": self._trace.beads,
                    "options": asdict(self._options),
                    "notes": self._trace.notes,
                    "structures": self._n_structures,
                    "bad_frames": [asdict(bad) for bad in self._bad],
                    "faults": self._faults,
                    "medians": self._medians(),
                }
            )

    def result(self) -> BackmapResult:
        """Return what was made."""
        kept = self._kept if self._paths is None else []
        return BackmapResult(
            self._trace.chains,
            self._n_structures,
            tuple(self._bad),
            self._trace.notes,
            self._medians(),
            dict(self._faults),
            self._paths,
            torch.cat([batch.positions for batch in kept]) if kept else None,
            torch.cat([batch.frames for batch in kept]) if kept else None,
            torch.cat([batch.samples for batch in kept]) if kept else None,
        )

    def _medians(self) -> dict[str, float]:
        medians = {}
        for name, values in self._columns.items():
            known = np.asarray(values)[~np.isnan(values)]
            medians[name] = float(np.median(known)) if known.size else math.nan
        return medians


def _read(structure: Any, trajectory: str | PathLike[str] | None, options: BackmapOptions) -> Trace:
    return read_trace(structure, trajectory, beads=options.beads, replace=options.replace, gaps=options.gaps)


def _count(n_frames: int, options: BackmapOptions) -> int:
    start, stop, step = options.frames
    return len(range(start, n_frames if stop is None else min(stop, n_frames), step))


def _no_frames(trace: Trace, options: BackmapOptions) -> ValueError:
    start, stop, step = options.frames
    chosen = f"{start}:{'' if stop is None else stop}:{step}"
    there = "" if trace.n_frames is None else f" of {trace.n_frames}"
    fix = "choose others with `--frames` (`frames`); they are counted from 0"
    return ValueError(message(trace.name, f"frames among {chosen}", f"none{there}", fix))


def _row(frame: int, sample: int | None, time: float, fault: str) -> dict[str, Cell]:
    return {"frame": frame, "sample": sample, "time_ps": time, "fault": fault}
