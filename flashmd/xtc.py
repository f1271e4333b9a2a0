"""Frames as XTC data: bytes that can be appended to a file, so that a full disk is noticed and nothing half stays."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flashmd.errors import OutputError, message

_UNCOMPRESSED_ATOMS = 9
_HEADER_BYTES, _COMPRESSED_HEADER_BYTES = 56, 92


def encode_xtc(
    positions: np.ndarray[Any, Any],
    steps: Sequence[int],
    times: Sequence[float],
    *,
    cells: np.ndarray[Any, Any] | None = None,
) -> list[bytes]:
    """Encode frames of several trajectories as XTC.

    A chunk is encoded into a scratch file and handed over as bytes: the library cannot append to an XTC file, and does
    not notice a full disk.

    Args:
        positions: [n_frames, n_slots, n_beads, 3], nm, float32.
        steps: [n_frames].
        times: [n_frames], ps.
        cells: [n_frames, n_slots, 3, 3], nm.

    Returns:
        For each slot its frames one after the other.

    Raises:
        OutputError: the scratch file is incomplete.
    """
    from mdtraj.formats import XTCTrajectoryFile

    n_frames, n_slots, n_beads, _ = positions.shape
    flat = np.ascontiguousarray(positions.swapaxes(0, 1).reshape(-1, n_beads, 3), dtype=np.float32)
    box = None if cells is None else np.ascontiguousarray(cells.swapaxes(0, 1).reshape(-1, 3, 3), dtype=np.float32)
    # The format holds 32-bit steps; the time still tells frames of longer runs apart.
    numbers = np.tile(np.asarray(steps, dtype=np.int64) & 0x7FFFFFFF, n_slots).astype(np.int32)
    with tempfile.TemporaryDirectory(prefix="flashmd-") as scratch:
        path = Path(scratch) / "frames.xtc"
        with XTCTrajectoryFile(str(path), "w") as file:
            file.write(flat, time=np.tile(np.asarray(times, dtype=np.float32), n_slots), step=numbers, box=box)
        frames = _split_xtc(path.read_bytes(), n_beads)
    if len(frames) != n_frames * n_slots:
        got, fix = f"{len(frames)}", "free space in the folder for temporary files"
        raise OutputError(message("encoding of frames", f"{n_frames * n_slots} frames", got, fix))
    return [b"".join(frames[slot * n_frames : (slot + 1) * n_frames]) for slot in range(n_slots)]


def _split_xtc(data: bytes, n_beads: int) -> list[bytes]:
    """Cut XTC data into its complete frames; few atoms are stored as plain numbers, more as a counted block."""
    frames, begin = [], 0
    while begin + _COMPRESSED_HEADER_BYTES <= len(data) or (n_beads <= _UNCOMPRESSED_ATOMS and begin < len(data)):
        if n_beads <= _UNCOMPRESSED_ATOMS:
            end = begin + _HEADER_BYTES + 12 * n_beads
        else:
            (block,) = struct.unpack_from(">i", data, begin + _COMPRESSED_HEADER_BYTES - 4)
            end = begin + _COMPRESSED_HEADER_BYTES + (block + 3) // 4 * 4
        if end > len(data):
            break
        frames.append(data[begin:end])
        begin = end
    return frames
