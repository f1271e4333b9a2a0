"""Read the folder of a finished or interrupted run; what is missing or half-written is named in the error.

Everything is read from the files that `flashmd simulate` writes, see `flashmd.md.run_folder`. A last time of the log
whose lines are not all there (the run was killed while it wrote) is left out.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from flashmd.analysis import acceptance
from flashmd.cg.beads import Resolution
from flashmd.cg.mapping import map_structure
from flashmd.errors import FlashMDError, message
from flashmd.md.config import RunConfig
from flashmd.md.config_file import parse_config
from flashmd.md.run_folder import PERFORMANCE_COLUMNS, RunFolder, trajectory_names
from flashmd.report.types import FloatArray, IntArray

_STEP_PERIOD = 2**31  # XTC stores 31 bits of the step


class IncompleteRunError(FlashMDError):
    """A run folder lacks what a report needs; the message names it."""


@dataclass(frozen=True)
class Frames:
    """Saved frames at one temperature.

    Attributes:
        positions: [n_frames, n_beads, 3], nm.
        step: [n_frames].
        walker: [n_frames], the ladder each frame belongs to.
    """

    positions: FloatArray
    step: IntArray
    walker: IntArray


@dataclass(frozen=True)
class Run:
    """What is known of a run without its frames.

    Attributes:
        folder: its files.
        config: resolved configuration.
        notes: comment lines at the top of the configuration: versions, device, model.
        atom_names: [n_beads], name of each bead.
        residues: [n_beads], name of the residue of each bead.
        step: [n_times], steps of the log.
        rung: [n_times, n_replicas], index of the temperature each replica holds.
        energy: [n_times, n_replicas], kJ/mol.
        kinetic: [n_times, n_replicas], K.
        proposed: [n_temperatures - 1].
        accepted: [n_temperatures - 1].
        nanoseconds_per_day: of all replicas together; None where the run did not record it.
    """

    folder: RunFolder
    config: RunConfig
    notes: tuple[str, ...]
    atom_names: tuple[str, ...]
    residues: tuple[str, ...]
    step: IntArray
    rung: IntArray
    energy: FloatArray
    kinetic: FloatArray
    proposed: IntArray
    accepted: IntArray
    nanoseconds_per_day: float | None

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Temperatures of the ladder, K."""
        return self.config.temperatures

    @property
    def time(self) -> FloatArray:
        """Times of the log, ns."""
        return np.asarray(self.step * (self.config.time_step * 1e-3))

    @property
    def total_time(self) -> float:
        """Simulated time of all replicas together, ns."""
        return float(self.time[-1]) * self.config.n_replicas

    @property
    def acceptance(self) -> FloatArray:
        """Fraction of accepted exchanges of each pair, NaN where none was proposed."""
        return acceptance(self.proposed, self.accepted)


def read_run(path: str | Path) -> Run:
    """Read a run folder without its frames.

    Raises:
        IncompleteRunError: the folder is no run, or a file is missing, empty or malformed.
    """
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        fix = "pass the `output` folder of `flashmd simulate`"
        raise IncompleteRunError(message(f"run folder {folder.path}", "a folder", "nothing of that name", fix))
    text = _read(folder.config)
    config = parse_config(yaml.safe_load(text), source=str(folder.config))
    names, residues = _beads(folder.topology, config.resolution)
    step, rung, energy, kinetic = _read_log(folder.log, config.n_replicas)
    proposed, accepted = _read_exchanges(folder.exchanges, len(config.temperatures) - 1)
    return Run(
        folder=folder,
        config=config,
        notes=tuple(line[1:].strip() for line in text.splitlines() if line.startswith("#")),
        atom_names=names,
        residues=residues,
        step=step,
        rung=rung,
        energy=energy,
        kinetic=kinetic,
        proposed=proposed,
        accepted=accepted,
        nanoseconds_per_day=_read_speed(folder.performance),
    )


def read_frames(run: Run, rung: int, *, discard: float = 0.0) -> Frames:
    """Read the frames of one temperature, of all walkers.

    Args:
        run: the run.
        rung: index of the temperature.
        discard: fraction of the simulated time, from its start, that is left out.

    Raises:
        IncompleteRunError: a trajectory is missing, empty, or of another molecule.
    """
    walkers = run.config.walkers
    names = trajectory_names(run.temperatures, walkers)[rung * walkers : (rung + 1) * walkers]
    first = discard * float(run.step[-1])
    positions, steps, members = [], [], []
    for walker, name in enumerate(names):
        xyz, step = _read_xtc(run.folder.path / name, len(run.atom_names))
        keep = step > first if discard > 0 else np.ones(step.shape, dtype=bool)
        positions.append(xyz[keep])
        steps.append(step[keep])
        members.append(np.full(int(keep.sum()), walker))
    frames = Frames(np.concatenate(positions), np.concatenate(steps), np.concatenate(members))
    if not frames.step.size:
        fix = "let the run go on or discard less"
        what = f"trajectories at {run.temperatures[rung]:g} K"
        raise IncompleteRunError(message(what, f"frames after step {first:.0f}", "none", fix))
    return frames


def frame_energies(run: Run, frames: Frames, rung: int) -> FloatArray:
    """Return the potential energy of each frame from the log, [n_frames], kJ/mol.

    Raises:
        IncompleteRunError: the log has no line for some frame.
    """
    row = np.searchsorted(run.step, frames.step)
    known = (row < run.step.size) & (run.step[np.minimum(row, run.step.size - 1)] == frames.step)
    if not known.all():
        missing = int(frames.step[~known][0])
        fix = "run with `log_interval` equal to `save_interval`"
        raise IncompleteRunError(message(str(run.folder.log), f"the energy of step {missing}", "no such line", fix))
    n_walkers = run.config.walkers
    replica_of = np.arange(run.config.n_replicas) % n_walkers
    held = (run.rung[row] == rung) & (replica_of[None, :] == frames.walker[:, None])
    return np.asarray(run.energy[row, held.argmax(axis=1)])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        fix = "pass the `output` folder of `flashmd simulate`"
        raise IncompleteRunError(message(f"run folder {path.parent}", path.name, got, fix)) from None


def _rows(path: Path, columns: tuple[str, ...]) -> dict[str, FloatArray]:
    reader = csv.DictReader(_read(path).splitlines())
    missing = set(columns) - set(reader.fieldnames or ())
    if missing:
        fix = "use the report of the version that wrote the run"
        expected = f"columns {', '.join(columns)}"
        raise IncompleteRunError(message(str(path), expected, f"no {', '.join(sorted(missing))}", fix))
    rows = list(reader)
    if rows and any(value is None or value == "" for value in rows[-1].values()):
        rows.pop()  # a line that was being written
    try:
        return {name: np.array([float(row[name]) for row in rows]) for name in columns}
    except (TypeError, ValueError) as error:
        fix = "restore the file, or continue the run from its checkpoint"
        raise IncompleteRunError(message(str(path), "numbers in every line", str(error), fix)) from None


def _read_log(path: Path, n_replicas: int) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    names = ("step", "replica", "temperature_index", "potential_energy_kJ_mol", "kinetic_temperature_K")
    table = _rows(path, names)
    n_times = table["step"].size // n_replicas
    if n_times == 0:
        fix = "let the run reach its first `log_interval`"
        raise IncompleteRunError(message(str(path), f"lines of {n_replicas} replicas", f"{table['step'].size}", fix))
    grid = {name: values[: n_times * n_replicas].reshape(n_times, n_replicas) for name, values in table.items()}
    if (grid["replica"] != np.arange(n_replicas)).any() or (grid["step"] != grid["step"][:, :1]).any():
        fix = "restore the file, or continue the run from its checkpoint"
        raise IncompleteRunError(
            message(str(path), f"replicas 0 to {n_replicas - 1} at each step", "another order", fix)
        )
    step, rung, energy, kinetic = (grid[name] for name in ("step", *names[2:]))
    return step[:, 0].astype(np.int64), rung.astype(np.int64), energy, kinetic


def _read_exchanges(path: Path, n_pairs: int) -> tuple[IntArray, IntArray]:
    table = _rows(path, ("proposed", "accepted"))
    if table["proposed"].size != n_pairs:
        fix = "continue the run from its checkpoint"
        raise IncompleteRunError(message(str(path), f"{n_pairs} pairs", f"{table['proposed'].size}", fix))
    return table["proposed"].astype(np.int64), table["accepted"].astype(np.int64)


def _read_speed(path: Path) -> float | None:
    if not path.is_file():
        return None
    table = _rows(path, PERFORMANCE_COLUMNS)
    wall = float(table["wall_s"].sum())
    return float(table["simulated_ns"].sum()) * 86400.0 / wall if wall > 0 else None


def _beads(path: Path, resolution: Resolution) -> tuple[tuple[str, ...], tuple[str, ...]]:
    _read(path)
    structure = map_structure(path, resolution)
    residues = tuple(structure.sequence[index] for index in structure.residue_index.tolist())
    return structure.bead_names, residues


def _read_xtc(path: Path, n_beads: int) -> tuple[FloatArray, IntArray]:
    from mdtraj.formats import XTCTrajectoryFile  # takes a second, so only where frames are read

    if not path.is_file() or path.stat().st_size == 0:
        got = "an empty file" if path.is_file() else "no such file"
        fix = "let the run reach its first `save_interval`"
        raise IncompleteRunError(message(f"run folder {path.parent}", f"frames in {path.name}", got, fix))
    with XTCTrajectoryFile(str(path)) as file:
        xyz, _, step, _ = file.read()
    if xyz.shape[1] != n_beads:
        fix = "restore the files of one run"
        raise IncompleteRunError(message(str(path), f"{n_beads} beads as in topology.pdb", f"{xyz.shape[1]}", fix))
    return xyz.astype(np.float64), np.unwrap(step.astype(np.int64), period=_STEP_PERIOD)
