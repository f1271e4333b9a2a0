"""Distances of atoms from a reference structure, without superposition: both lie where the trace lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flashmd.backmap.chains import Chains
from flashmd.backmap.quality._arrays import ArrayLike, FloatArray, IntArray, as_padded, as_reference, mean
from flashmd.backmap.residues import EQUIVALENT, N_SLOTS, RESIDUES, SLOT_C, SLOT_CA, SLOT_CB, SLOT_N, SLOT_O, slot


@dataclass(frozen=True)
class Deviations:
    """Root mean square deviations of each frame, nm.

    Attributes:
        ca: [n_frames], of the CA.
        backbone: [n_frames], of N, C and O.
        side_chain: [n_frames], of the atoms from CB on, equivalent atoms named as fits each residue better.
    """

    ca: FloatArray
    backbone: FloatArray
    side_chain: FloatArray


def deviations(chains: Chains, positions: ArrayLike, reference: ArrayLike) -> Deviations:
    """Compare structures with a reference, atom by atom and without superposition.

    Args:
        chains: the residues.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm.
        reference: one structure or one for each frame, nm.

    Example:
        >>> import torch
        >>> chains = Chains.from_sequence("GA")
        >>> moved = deviations(chains, torch.ones(2, 14, 3), torch.zeros(2, 14, 3))
        >>> moved.ca.round(3).tolist(), moved.side_chain.round(3).tolist()
        ([1.732], [1.732])
    """
    frames = as_padded(chains, positions)
    model = as_reference(chains, reference, frames.shape[0])
    squares = ((match_equivalent(chains, frames, model) - model) ** 2).sum(-1)
    return Deviations(
        ca=np.sqrt(mean(squares[:, :, SLOT_CA])),
        backbone=np.sqrt(mean(squares[:, :, [SLOT_N, SLOT_C, SLOT_O]], axis=(1, 2))),
        side_chain=np.sqrt(mean(squares[:, :, SLOT_CB:], axis=(1, 2))),
    )


def match_equivalent(chains: Chains, frames: FloatArray, model: FloatArray) -> FloatArray:
    """Return padded coordinates with equivalent atoms, such as OD1 and OD2, named as fits a reference better.

    The names of a residue are exchanged all together. NaN stays where an atom is missing.
    """
    table = _exchange_table()[chains.types.cpu().numpy()]
    swapped = np.take_along_axis(frames, table[None, :, :, None], axis=2)
    better = np.nansum((swapped - model) ** 2, axis=(-1, -2)) < np.nansum((frames - model) ** 2, axis=(-1, -2))
    return np.where(better[..., None, None], swapped, frames)


def _exchange_table() -> IntArray:
    """Return from which slot each slot is filled: [20, 14]."""
    table = np.tile(np.arange(N_SLOTS), (len(RESIDUES), 1))
    for name, pairs in EQUIVALENT.items():
        for first, second in pairs:
            places = [slot(name, first), slot(name, second)]
            table[RESIDUES.index(name), places] = places[::-1]
    return table
