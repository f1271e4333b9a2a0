"""Handedness: amino acids that are mirrored at CA, and isoleucines and threonines that are mirrored at CB."""

from __future__ import annotations

import numpy as np

from flashmd.backmap.chains import Chains
from flashmd.backmap.quality._arrays import ArrayLike, FloatArray, IntArray, as_padded
from flashmd.backmap.residues import RESIDUES, SLOT_C, SLOT_CA, SLOT_CB, SLOT_N, slot


def handedness(chains: Chains, positions: ArrayLike) -> FloatArray:
    """Return ((N-CA) x (C-CA)) . (CB-CA) of each residue, positive for L amino acids.

    Args:
        chains: the residues.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm.

    Returns:
        [n_frames, n_residues], nm^3, NaN for glycine.

    Example:
        >>> import torch
        >>> left = torch.tensor([[0.1, 0, 0], [0, 0, 0], [0, 0.1, 0], [0, 0.2, 0], [0, 0, 0.1]])
        >>> chains = Chains.from_sequence("A")
        >>> (handedness(chains, chains.pad(left)) > 0).tolist(), (handedness(chains, chains.pad(-left)) > 0).tolist()
        ([[True]], [[False]])
    """
    frames = as_padded(chains, positions)
    arms = [frames[:, :, place] - frames[:, :, SLOT_CA] for place in (SLOT_N, SLOT_C, SLOT_CB)]
    return np.asarray((np.cross(arms[0], arms[1]) * arms[2]).sum(-1))


def d_residues(chains: Chains, positions: ArrayLike) -> IntArray:
    """Return how many residues of each frame are D amino acids: [n_frames]."""
    return np.asarray((handedness(chains, positions) < 0).sum(axis=-1), dtype=np.int64)


def mirrored_side_chains(chains: Chains, positions: ArrayLike) -> IntArray:
    """Return how many isoleucines and threonines of each frame have the wrong hand at CB: [n_frames]."""
    frames = as_padded(chains, positions)
    kinds = chains.types.cpu().numpy()
    wrong = np.zeros(frames.shape[0], dtype=np.int64)
    for name, first in (("ILE", "CG1"), ("THR", "OG1")):
        chosen = frames[:, kinds == RESIDUES.index(name)]
        centre = chosen[:, :, SLOT_CB]
        names = ("CA", first, "CG2")
        arms = [chosen[:, :, slot(name, atom)] - centre for atom in names]
        wrong += ((np.cross(arms[0], arms[1]) * arms[2]).sum(-1) < 0).sum(axis=-1)
    return wrong
