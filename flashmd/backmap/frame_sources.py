"""Where frames come from: models of a structure file, a trajectory beside a topology, arrays in memory.

A source hands out frames in pieces, so that a trajectory of any length takes the memory of one piece. Text of PDB
models is cut at their ends and read one by one; trajectories are read by mdtraj.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from flashmd.backmap.site_tables import SiteTable, table_of_mdtraj, table_of_model, tell_chains_apart
from flashmd.errors import message

PDB_SUFFIXES = (".pdb", ".ent", ".pdb.gz", ".ent.gz")
CIF_SUFFIXES = (".cif", ".mmcif", ".cif.gz", ".mmcif.gz")
TOPOLOGY_SUFFIXES = (".gro", ".h5", ".psf", ".prmtop", ".parm7")
TRAJECTORY_SUFFIXES = (".xtc", ".dcd", ".trr", ".h5")
_NM_PER_ANGSTROM = 0.1
_MODEL_ENDS = ("ENDMDL", "END")
_READ_ERRORS = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AssertionError)
"""What readers raise on files that are damaged or of another kind."""


@dataclass(frozen=True)
class RawFrames:
    """Consecutive frames of a source.

    Attributes:
        index: [n_frames], int64, place of each frame in its source.
        times: [n_frames], float64, ps; the index where the source has no times.
        positions: [n_frames, n_selected, 3], float32, nm.
    """

    index: Tensor
    times: Tensor
    positions: Tensor


class FrameSource(Protocol):
    """Frames of the atoms of a site table."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def n_frames(self) -> int | None:
        """Number of frames; None where only reading to the end would tell."""

    def read(self, atoms: Tensor, size: int) -> Iterator[RawFrames]:
        """Hand out all frames.

        Args:
            atoms: [n_selected], int64, atoms that are wanted.
            size: frames in one piece.
        """


@dataclass(frozen=True)
class ArraySource:
    """Frames in memory.

    Attributes:
        name: what errors call it.
        positions: [n_frames, n_atoms, 3], nm.
        times: [n_frames], ps.
    """

    name: str
    positions: Tensor
    times: Tensor

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.positions.shape[0]

    def read(self, atoms: Tensor, size: int) -> Iterator[RawFrames]:
        """Hand out all frames."""
        for begin in range(0, self.n_frames, size):
            part = slice(begin, min(begin + size, self.n_frames))
            positions = self.positions[part][:, atoms].to(torch.float32)
            yield RawFrames(torch.arange(part.start, part.stop), self.times[part].double(), positions)


@dataclass(frozen=True)
class PdbSource:
    """The models of a PDB file, read one at a time.

    Attributes:
        path: the file.
        table: atoms of the first model.
    """

    path: Path
    table: SiteTable

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"`{self.path}`"

    @property
    def n_frames(self) -> None:
        """Only reading to the end would tell."""
        return

    def read(self, atoms: Tensor, size: int) -> Iterator[RawFrames]:
        """Hand out all frames."""
        kept, first = [], 0
        for number, text in enumerate(pdb_models(self.path)):
            table, positions = parse_pdb(text, self.path)
            if table.n_atoms != self.table.n_atoms:
                expected = f"{self.table.n_atoms} atoms, as in the first model"
                fix = "write models of one molecule into one file"
                raise ValueError(message(f"model {number + 1} of {self.name}", expected, f"{table.n_atoms}", fix))
            kept.append(torch.tensor(positions, dtype=torch.float64)[atoms] * _NM_PER_ANGSTROM)
            if len(kept) == size:
                yield _pieces(kept, first)
                kept, first = [], number + 1
        if kept:
            yield _pieces(kept, first)


@dataclass(frozen=True)
class TrajectorySource:
    """A trajectory that mdtraj reads piece by piece.

    Attributes:
        path: the file.
        n_atoms: of each frame.
        n_frames: number of frames.
    """

    path: Path
    n_atoms: int
    n_frames: int

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"`{self.path}`"

    def read(self, atoms: Tensor, size: int) -> Iterator[RawFrames]:
        """Hand out all frames."""
        import mdtraj

        has_topology = self.path.suffix.lower() == ".h5"
        extra: dict[str, Any] = {} if has_topology else {"top": _anonymous(self.n_atoms)}
        first = 0
        try:
            for part in mdtraj.iterload(str(self.path), chunk=size, atom_indices=atoms.numpy(), **extra):
                index = torch.arange(first, first + part.n_frames)
                first += part.n_frames
                times = torch.from_numpy(np.asarray(part.time, dtype=np.float64))
                yield RawFrames(index, times, torch.from_numpy(np.ascontiguousarray(part.xyz)))
        except _READ_ERRORS as error:
            raise _unreadable(self.path, f"{error} after {first} frames") from error


def pdb_models(path: Path) -> Iterator[str]:
    """Yield the text of each model of a PDB file; a file without models is one."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="latin-1") as file:
        lines: list[str] = []
        has_atoms = False
        for line in file:
            lines.append(line)
            has_atoms = has_atoms or line.startswith(("ATOM", "HETATM"))
            if has_atoms and line.split(maxsplit=1)[:1] and line.split(maxsplit=1)[0] in _MODEL_ENDS:
                yield "".join(lines)
                lines, has_atoms = [], False
        if has_atoms:
            yield "".join(lines)


def parse_pdb(text: str, path: Path) -> tuple[SiteTable, list[tuple[float, float, float]]]:
    """Read one model; positions are in Å."""
    import gemmi

    try:
        structure = gemmi.read_pdb_string(text, split_chain_on_ter=True)
    except _READ_ERRORS as error:
        raise _unreadable(path, str(error)) from error
    return table_of_model(structure[0])


def open_structure(path: Path) -> tuple[SiteTable, FrameSource | None]:
    """Read a structure file or a topology; a topology without positions has no source of frames.

    Args:
        path: PDB, mmCIF, HDF5, GRO, PSF or Amber topology file.

    Raises:
        ValueError: the file does not exist, is of another kind, cannot be read or holds no atoms.
    """
    if not path.is_file():
        raise ValueError(message(f"structure `{path}`", "a file", "nothing of that name", "check the path"))
    name = path.name.lower()
    if name.endswith(PDB_SUFFIXES):
        table, source = _open_pdb(path)
    elif name.endswith(CIF_SUFFIXES):
        table, source = _open_cif(path)
    elif name.endswith(TOPOLOGY_SUFFIXES):
        return _open_with_mdtraj(path)
    else:
        known = ", ".join((".pdb", ".cif", *TOPOLOGY_SUFFIXES))
        fix = "pass a structure file; a trajectory comes second, after the structure that names its atoms"
        raise ValueError(message(f"structure `{path}`", f"one of {known}", f"suffix {path.suffix!r}", fix))
    return table, source


def open_trajectory(path: Path, n_atoms: int) -> FrameSource:
    """Open a trajectory of atoms that a structure names.

    Args:
        path: XTC, DCD, TRR or HDF5 file, or a PDB file of many models.
        n_atoms: of the structure.

    Raises:
        ValueError: the file does not exist, is of another kind, cannot be read, is empty or holds other atoms.
    """
    if not path.is_file():
        raise ValueError(message(f"trajectory `{path}`", "a file", "nothing of that name", "check the path"))
    name = path.name.lower()
    if name.endswith(PDB_SUFFIXES):
        table, source = _open_pdb(path)
        found = table.n_atoms
    elif name.endswith(TRAJECTORY_SUFFIXES):
        found, n_frames = _measure(path)
        source = TrajectorySource(path, found, n_frames)
    else:
        known, fix = ", ".join((*TRAJECTORY_SUFFIXES, ".pdb")), "convert it, for example with mdtraj"
        raise ValueError(message(f"trajectory `{path}`", f"one of {known}", f"suffix {path.suffix!r}", fix))
    if found != n_atoms:
        fix = "pass the structure that the trajectory was written with"
        raise ValueError(message(f"trajectory `{path}`", f"the {n_atoms} atoms of the structure", f"{found}", fix))
    return source


def _open_pdb(path: Path) -> tuple[SiteTable, FrameSource]:
    try:
        text = next(pdb_models(path), None)
    except (OSError, EOFError) as error:
        raise _unreadable(path, str(error)) from error
    if text is None:
        raise _unreadable(path, "no atoms")
    table, _ = parse_pdb(text, path)
    return table, PdbSource(path, table)


def _open_cif(path: Path) -> tuple[SiteTable, FrameSource]:
    import gemmi

    try:
        block = gemmi.cif.read(str(path))[0]
        tell_chains_apart(block)
        structure = gemmi.make_structure_from_block(block)
    except _READ_ERRORS as error:
        raise _unreadable(path, str(error)) from error
    models = [table_of_model(model) for model in structure]
    if not models or not models[0][0].n_atoms:
        raise _unreadable(path, "no atoms")
    table = models[0][0]
    for number, (other, _) in enumerate(models[1:], start=2):
        if other.n_atoms != table.n_atoms:
            expected, fix = (
                f"{table.n_atoms} atoms, as in the first model",
                "write models of one molecule into one file",
            )
            raise ValueError(message(f"model {number} of `{path}`", expected, f"{other.n_atoms}", fix))
    positions = torch.tensor([each for _, each in models], dtype=torch.float64) * _NM_PER_ANGSTROM
    return table, ArraySource(f"`{path}`", positions, torch.arange(len(models)))


def _open_with_mdtraj(path: Path) -> tuple[SiteTable, FrameSource | None]:
    import mdtraj

    try:
        topology = mdtraj.load_topology(str(path))
        frames = mdtraj.load(str(path)) if path.suffix.lower() == ".gro" else None
    except _READ_ERRORS as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    table = table_of_mdtraj(topology)
    if path.suffix.lower() == ".h5":
        return table, open_trajectory(path, table.n_atoms)
    if frames is None:
        return table, None
    return table, ArraySource(f"`{path}`", torch.from_numpy(frames.xyz), torch.from_numpy(frames.time))


def _measure(path: Path) -> tuple[int, int]:
    """Return the number of atoms and of frames of a trajectory."""
    import mdtraj

    try:
        with mdtraj.open(str(path)) as file:
            n_frames = len(file)
            first = file.read(n_frames=1)
    except _READ_ERRORS as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    positions = first[0] if isinstance(first, tuple) else first
    if not n_frames or not len(positions):
        raise _unreadable(path, "no frames")
    return int(positions.shape[1]), int(n_frames)


def _anonymous(n_atoms: int) -> Any:
    """Return an mdtraj topology of so many atoms, all alike."""
    import mdtraj

    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(n_atoms):
        topology.add_atom("X", None, residue)
    return topology


def _pieces(kept: list[Tensor], first: int) -> RawFrames:
    index = torch.arange(first, first + len(kept))
    return RawFrames(index, index.double(), torch.stack(kept).to(torch.float32))


def _unreadable(path: Path, reason: str) -> ValueError:
    return ValueError(message(f"`{path}`", "a readable file of its kind", reason, "write or convert it again"))
