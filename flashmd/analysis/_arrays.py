"""Checks and conversions shared by the analysis functions: everything enters as an array and is computed in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from flashmd.errors import message

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ArrayLike = npt.ArrayLike | Tensor


def as_float(values: ArrayLike) -> FloatArray:
    """Return `values` as a float64 array; tensors are detached and moved to the CPU."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def as_frames(positions: ArrayLike, name: str) -> FloatArray:
    """Return positions as [n_frames, n_atoms, 3] in float64; a single structure becomes one frame.

    Raises:
        ValueError: the shape is another one, or a coordinate is not finite.
    """
    frames = as_float(positions)
    if frames.ndim not in (2, 3) or frames.shape[-1] != 3 or frames.size == 0:
        fix = "pass coordinates in nm, frame by frame"
        raise ValueError(message(f"`{name}`", "shape (n_frames, n_atoms, 3)", f"{frames.shape}", fix))
    frames = frames.reshape(-1, *frames.shape[-2:])
    if not np.isfinite(frames).all():
        frame = int(np.flatnonzero(~np.isfinite(frames).all(axis=(1, 2)))[0])
        fix = "drop the frames of a simulation that failed"
        raise ValueError(message(f"`{name}`", "finite coordinates", f"a non-finite one in frame {frame}", fix))
    return frames


def as_structure(positions: ArrayLike, name: str, n_atoms: int | None = None) -> FloatArray:
    """Return one structure as [n_atoms, 3] in float64; with `n_atoms`, check the number of atoms.

    Raises:
        ValueError: more than one frame, or another number of atoms.
    """
    frames = as_frames(positions, name)
    if frames.shape[0] != 1:
        raise ValueError(message(f"`{name}`", "one structure", f"{frames.shape[0]} frames", "select one frame"))
    if n_atoms is not None and frames.shape[1] != n_atoms:
        fix = "select the same atoms in both (C-alpha atoms for a C-alpha model)"
        raise ValueError(message(f"`{name}`", f"{n_atoms} atoms as in the frames", f"{frames.shape[1]}", fix))
    return np.asarray(frames[0])
