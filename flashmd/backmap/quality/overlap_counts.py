"""Atoms that lie on top of each other: overlaps of pairs that are not near in the bond graph, and the clash score."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from flashmd.backmap.chains import Chains
from flashmd.backmap.quality._arrays import ArrayLike, FloatArray, IntArray, as_padded
from flashmd.backmap.quality.bonded import Bonded, disulfide_pairs
from flashmd.backmap.residues import N_SLOTS, RESIDUES, SLOT_CB

CLASH_DISTANCE = 0.12
"""nm, of the clash score."""


def overlaps(chains: Chains, positions: ArrayLike, distance: float = 0.2) -> FloatArray:
    """Count heavy-atom pairs that are too close, for each 1,000 heavy atoms.

    Pairs count that are more than three bonds apart; two SG within 0.3 nm of each other in the first frame are bonded.

    Args:
        chains: the residues.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm.
        distance: nm, below which a pair counts; customary are 0.2 (never in a good structure) and 0.26.

    Returns:
        [n_frames], number of pairs for each 1,000 atoms that are present.

    Example:
        >>> import torch
        >>> apart = torch.arange(2)[:, None, None] * 0.38 + torch.arange(14)[:, None] * 0.01 * torch.ones(3)
        >>> overlaps(Chains.from_sequence(["G", "G"]), apart).tolist()
        [0.0]
    """
    frames = as_padded(chains, positions)
    near = Bonded.of(chains, disulfide_pairs(chains, frames)).near
    flat = frames.reshape(frames.shape[0], -1, 3)
    counts = [len(_close_pairs(frame, distance, near)) for frame in flat]
    present = np.isfinite(flat).all(axis=2).sum(axis=1)
    return np.asarray(1000.0 * np.array(counts) / present)


def clash_score(chains: Chains, positions: ArrayLike) -> FloatArray:
    """Return the percentage of residues that clash.

    A residue clashes if one of its heavy atoms is closer than 0.12 nm to one of a residue at least two places apart, or
    if its side chain is as close to that of a residue next to it, neither of them a glycine.

    Args:
        chains: the residues.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm.

    Returns:
        [n_frames], percent.

    Example:
        >>> import torch
        >>> alike = torch.zeros(3, 14, 3)
        >>> clash_score(Chains.from_sequence("GGG"), alike).round(1).tolist()
        [66.7]
    """
    frames = as_padded(chains, positions)
    glycine = chains.types.cpu().numpy() == RESIDUES.index("GLY")
    nothing = np.empty(0, dtype=np.int64)
    scores = []
    for frame in frames.reshape(frames.shape[0], -1, 3):
        pairs = _close_pairs(frame, CLASH_DISTANCE, nothing)
        residue, place = pairs // N_SLOTS, pairs % N_SLOTS
        apart = np.abs(residue[:, 0] - residue[:, 1])
        beside = (apart == 1) & (place >= SLOT_CB).all(axis=1) & ~glycine[residue].any(axis=1)
        scores.append(len(np.unique(residue[(apart >= 2) | beside])))
    return np.asarray(100.0 * np.array(scores) / chains.n_residues)


def _close_pairs(frame: FloatArray, distance: float, near: IntArray) -> IntArray:
    """Return the pairs of flat indices closer than a distance that are not among the near ones: [n_pairs, 2]."""
    present = np.flatnonzero(np.isfinite(frame).all(axis=1))
    pairs = present[cKDTree(frame[present]).query_pairs(distance, output_type="ndarray")].astype(np.int64)
    pairs.sort(axis=1)
    return np.asarray(pairs[~np.isin(pairs[:, 0] * frame.shape[0] + pairs[:, 1], near)])
