"""What all measures share: padded coordinates as float64 arrays, NaN where an atom is absent, and means without NaN."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.residues import N_SLOTS, SLOT_CA
from flashmd.errors import message

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ArrayLike = npt.ArrayLike | Tensor


def as_padded(chains: Chains, positions: ArrayLike, name: str = "positions") -> FloatArray:
    """Return padded coordinates as [n_frames, n_residues, 14, 3] with NaN in the empty slots.

    Atoms that are NaN already are missing ones; every measure leaves them out.

    Raises:
        ValueError: the shape is another one, or a CA is missing.
    """
    if isinstance(positions, Tensor):
        positions = positions.detach().cpu().numpy()
    frames = np.array(positions, dtype=np.float64)
    shape = (chains.n_residues, N_SLOTS, 3)
    if frames.ndim not in (3, 4) or frames.shape[-3:] != shape:
        expected = f"shape (n_frames, {chains.n_residues}, {N_SLOTS}, 3)"
        raise ValueError(message(f"`{name}`", expected, f"{frames.shape}", "pad the coordinates with `Chains.pad`"))
    frames = frames.reshape(-1, *shape)
    lost = ~np.isfinite(frames[:, :, SLOT_CA]).all(axis=(0, 2))
    if lost.any():
        got = f"none in residue {chains.labels[int(np.flatnonzero(lost)[0])]}"
        raise ValueError(message(f"`{name}`", "finite coordinates of every CA", got, "leave the residue out"))
    frames[:, ~chains.mask.cpu().numpy()] = np.nan
    return frames


def as_reference(chains: Chains, reference: ArrayLike, n_frames: int) -> FloatArray:
    """Return reference coordinates as [1 or n_frames, n_residues, 14, 3], as `as_padded` does.

    Raises:
        ValueError: as for `as_padded`, or another number of frames.
    """
    frames = as_padded(chains, reference, "reference")
    if frames.shape[0] not in (1, n_frames):
        expected = f"one structure or {n_frames}"
        raise ValueError(message("`reference`", expected, f"{frames.shape[0]}", "select one for each frame"))
    return frames


def atoms_of(frames: FloatArray, indices: IntArray) -> FloatArray:
    """Return the atoms with the given flat indices, residue * 14 + slot: [n_frames, *indices.shape, 3]."""
    return frames.reshape(frames.shape[0], -1, 3)[:, indices]


def distances(frames: FloatArray, pairs: IntArray) -> FloatArray:
    """Return the distances of pairs of flat indices: [n_frames, n_pairs], nm."""
    ends = atoms_of(frames, pairs)
    return np.asarray(np.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1))


def mean(values: npt.ArrayLike, axis: int | tuple[int, ...] = -1) -> FloatArray:
    """Return the mean over the last axes of what is not NaN; NaN where nothing is."""
    array = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(array)
    total, number = np.where(there, array, 0.0).sum(axis=axis), there.sum(axis=axis)
    return np.asarray(np.where(number > 0, total / np.maximum(number, 1), np.nan))


def fraction(condition: npt.ArrayLike, of: npt.ArrayLike, axis: int | tuple[int, ...] = -1) -> FloatArray:
    """Return how large a part of what counts fulfils a condition; NaN where nothing counts."""
    return mean(np.where(of, np.asarray(condition, dtype=np.float64), np.nan), axis)
