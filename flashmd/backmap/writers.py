"""Output trajectories that grow frame by frame and stay readable whatever stops the run.

Frames are encoded in memory and appended. What a full disk has cut off is removed again, so that the file ends with a
complete frame. HDF5 files are flushed after each piece instead.
"""

from __future__ import annotations

import struct
import tempfile
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from flashmd import files
from flashmd.backmap.layout import AtomLayout
from flashmd.backmap.structure_text import CifText, PdbText
from flashmd.errors import OutputError, message, require
from flashmd.xtc import encode_xtc

STRUCTURE_SUFFIXES = (".pdb", ".cif")
SUFFIXES = (*STRUCTURE_SUFFIXES, ".xtc", ".dcd", ".h5")
ADVICE = "go on behind the last frame with `--frames`"
_DCD_COUNT_OFFSET = 8


class FrameWriter(Protocol):
    """A growing file of frames."""

    def append(self, positions: np.ndarray[Any, Any], times: list[float]) -> None:
        """Add frames.

        Args:
            positions: [n_frames, n_atoms, 3], nm, float32.
            times: [n_frames], ps.

        Raises:
            OutputError: the disk is full or not writable; the frames before are kept.
        """

    def close(self) -> None:
        """Finish the file."""


def open_writer(path: Path, layout: AtomLayout) -> FrameWriter:
    """Create an output file of the kind that its suffix says.

    Args:
        path: with one of `SUFFIXES`.
        layout: atoms of each frame.

    Raises:
        ValueError: the suffix is unknown, or a PDB file cannot hold the identity of a residue.
        OutputError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        fix = "change the suffix"
        raise ValueError(message(f"output `{path}`", f"one of {', '.join(SUFFIXES)}", f"suffix {suffix!r}", fix))
    if suffix == ".h5":
        return _Hdf5Writer(path, layout)
    if suffix in STRUCTURE_SUFFIXES:
        return _TextWriter(path, PdbText(layout) if suffix == ".pdb" else CifText(layout))
    return _XtcWriter(path) if suffix == ".xtc" else _DcdWriter(path)


class GrowingFile:
    """A file whose size is known: what a failure leaves behind it is cut off.

    Args:
        path: created, or emptied.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        with files.writing(path, advice="run again"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")

    def append(self, data: bytes) -> None:
        """Add bytes, all or none.

        Raises:
            OutputError: the disk is full or not writable.
        """
        # Without a buffer, so that nothing is written after what lies behind a failure has been cut off.
        with files.writing(self.path, advice=ADVICE), self.path.open("r+b", buffering=0) as file:
            file.seek(self.size)
            try:
                write_all(file, data)
            except (OSError, KeyboardInterrupt):
                file.truncate(self.size)
                raise
        self.size += len(data)

    def patch(self, offset: int, data: bytes) -> None:
        """Replace bytes.

        Raises:
            OutputError: the file is not writable.
        """
        with files.writing(self.path, advice=ADVICE), self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)


def write_all(file: FileIO, data: bytes) -> None:
    """Write all bytes to a file without a buffer, which may take a part of them at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


class _TextWriter:
    def __init__(self, path: Path, text: PdbText | CifText) -> None:
        self._file, self._text = GrowingFile(path), text
        self._file.append(text.head.encode())

    def append(self, positions: np.ndarray[Any, Any], times: list[float]) -> None:
        del times  # neither format has them
        self._file.append("".join(self._text.model(frame) for frame in positions).encode())

    def close(self) -> None:
        if isinstance(self._text, PdbText):
            self._file.append(b"END\n")


class _XtcWriter:
    def __init__(self, path: Path) -> None:
        self._file, self._n_frames = GrowingFile(path), 0

    def append(self, positions: np.ndarray[Any, Any], times: list[float]) -> None:
        steps = range(self._n_frames, self._n_frames + len(times))
        (data,) = encode_xtc(positions[:, None], steps, times)
        self._file.append(data)
        self._n_frames += len(times)

    def close(self) -> None:
        pass


class _DcdWriter:
    def __init__(self, path: Path) -> None:
        self._file, self._n_frames = GrowingFile(path), 0

    def append(self, positions: np.ndarray[Any, Any], times: list[float]) -> None:
        header, body = _encode_dcd(positions)
        self._file.append(body if self._n_frames else header + body)
        self._n_frames += len(times)
        self._file.patch(_DCD_COUNT_OFFSET, struct.pack("<i", self._n_frames))

    def close(self) -> None:
        pass


class _Hdf5Writer:
    def __init__(self, path: Path, layout: AtomLayout) -> None:
        from mdtraj.formats import HDF5TrajectoryFile

        try:
            import tables  # noqa: F401
        except ImportError as error:
            raise require("tables", "h5") from error
        self._path = path
        with files.writing(path, advice="run again"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = HDF5TrajectoryFile(str(path), "w", force_overwrite=True)
            self._file.topology = mdtraj_topology(layout)

    def append(self, positions: np.ndarray[Any, Any], times: list[float]) -> None:
        with files.writing(self._path, advice=ADVICE):
            try:
                self._file.write(coordinates=positions, time=np.asarray(times, dtype=np.float32))
                self._file.flush()
            except Exception as error:
                if type(error).__name__ != "HDF5ExtError":
                    raise
                fix = f"free some space, then {ADVICE}"
                raise OutputError(
                    message(f"writing {self._path}", "a disk with room to write to", "HDF5 error", fix)
                ) from error

    def close(self) -> None:
        self._file.close()


def mdtraj_topology(layout: AtomLayout) -> Any:
    """Return an mdtraj topology with the bonds of the standard residues; it cannot hold insertion codes."""
    import mdtraj

    topology = mdtraj.Topology()
    chains: dict[int, Any] = {}
    residues: dict[int, Any] = {}
    for index, name, symbol in zip(layout.residues, layout.names, layout.elements, strict=True):
        label, segment = layout.labels[index], layout.segments[index]
        if segment not in chains:
            chains[segment] = topology.add_chain(label.chain or None)
        if index not in residues:
            residues[index] = topology.add_residue(label.name, chains[segment], resSeq=label.number)
        topology.add_atom(name, mdtraj.element.Element.getBySymbol(symbol), residues[index])
    topology.create_standard_bonds()
    return topology


def _encode_dcd(positions: np.ndarray[Any, Any]) -> tuple[bytes, bytes]:
    """Return the header of a DCD file and the frames behind it."""
    from mdtraj.formats import DCDTrajectoryFile

    n_frames, n_atoms, _ = positions.shape
    frame_bytes = 3 * (4 * n_atoms + 8)
    with tempfile.TemporaryDirectory(prefix="flashmd-") as scratch:
        path = Path(scratch) / "frames.dcd"
        with DCDTrajectoryFile(str(path), "w") as file:
            file.write(np.asarray(positions, dtype=np.float32) * np.float32(10.0))
        data = path.read_bytes()
    begin = len(data) - n_frames * frame_bytes
    return data[:begin], data[begin:]
