"""Many structures of one trace: how different samples are, how a trajectory moves, which rotamers are populated."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np

from flashmd.backmap.chains import Chains
from flashmd.backmap.quality._arrays import ArrayLike, FloatArray, IntArray, as_padded, as_reference, mean
from flashmd.backmap.quality.torsion_angles import symmetric_chi, torsions
from flashmd.backmap.residues import SLOT_CA, SLOT_CB
from flashmd.errors import message

N_ROTAMERS = 3
"""Bins of a side-chain torsion."""


def diversity(chains: Chains, samples: ArrayLike, reference: ArrayLike) -> float:
    r"""Return how alike the samples of one trace are: 1 where they are all the same, near 0 where they differ enough.

    .. math:: 1 - \langle d(x_i, x_j) \rangle_{i<j} \,/\, \langle d(x_i, x_\mathrm{ref}) \rangle

    with the root mean square deviation :math:`d` of all heavy atoms after superposition.

    Args:
        chains: the residues.
        samples: [n_samples, n_residues, 14, 3], nm, at least two.
        reference: [n_residues, 14, 3], nm.

    Raises:
        ValueError: fewer than two samples.

    Example:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(1)
        >>> reference, sample = torch.rand(2, 3, 14, 3, generator=generator)
        >>> diversity(Chains.from_sequence("AVL"), torch.stack([sample, sample]), reference)
        1.0
    """
    frames, model = _samples(chains, samples, reference)
    flat = _present(chains, np.concatenate([frames, model]))
    among = [superposed_rmsd(flat[i], flat[j]) for i, j in combinations(range(len(frames)), 2)]
    return float(1.0 - np.mean(among) / np.mean([superposed_rmsd(each, flat[-1]) for each in flat[:-1]]))


def side_chain_diversity(chains: Chains, samples: ArrayLike, reference: ArrayLike) -> float:
    """Return the measure of `diversity` for side chains only, without superposition."""
    frames, model = _samples(chains, samples, reference)
    side, expected = frames[:, :, SLOT_CB:], model[0, :, SLOT_CB:]
    among = [_rms(side[i] - side[j]) for i, j in combinations(range(len(side)), 2)]
    return float(1.0 - np.mean(among) / np.mean([_rms(each - expected) for each in side]))


def coherence(chains: Chains, trajectory: ArrayLike, reference: ArrayLike) -> float:
    """Return how far side chains move from frame to frame, relative to the all-atom trajectory; 1 is natural.

    Successive frames are superposed on their CA; what is compared is the mean length of the steps of side-chain atoms.

    Args:
        chains: the residues.
        trajectory: [n_frames, n_residues, 14, 3], nm, backmapped frame by frame from the CA of the reference.
        reference: [n_frames, n_residues, 14, 3], nm.

    Raises:
        ValueError: fewer than two frames, or another number of them in the reference.

    Example:
        >>> import torch
        >>> moving = torch.rand(4, 5, 14, 3, generator=torch.Generator().manual_seed(1))
        >>> round(coherence(Chains.from_sequence("AVLIK"), moving, moving), 6)
        1.0
    """
    frames, model = as_padded(chains, trajectory), as_padded(chains, reference, "reference")
    if len(frames) != len(model) or len(frames) < 2:
        fix = "pass the frames whose CA were backmapped, at least two"
        raise ValueError(message("`reference`", f"{max(len(frames), 2)} frames", f"{len(model)}", fix))
    return float(np.mean(_steps(frames)) / np.mean(_steps(model)))


def superposed_rmsd(first: FloatArray, second: FloatArray) -> float:
    """Return the root mean square distance of two sets of points [n, 3] after the best rotation of one, nm."""
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    size = np.linalg.svd(a.T @ b, compute_uv=False)
    size[-1] *= np.sign(np.linalg.det(a.T @ b))
    square = (a**2).sum() + (b**2).sum() - 2.0 * size.sum()
    return float(np.sqrt(max(square, 0.0) / len(a)))


def rotamer_counts(chains: Chains, positions: ArrayLike) -> IntArray:
    """Count the rotamers of each residue type.

    A rotamer is the pair of thirds of the circle in which chi1 and chi2 lie, [0, 120), [120, 240) and [240, 360)
    degrees; where the end of chi2 has two equivalent atoms, the thirds of half a circle.

    Args:
        chains: the residues.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm.

    Returns:
        [20, 9]; residues without chi2 fill the first three columns only.

    Example:
        >>> import torch
        >>> chains = Chains.from_sequence("AV")
        >>> counts = rotamer_counts(chains, torch.rand(2, 14, 3, generator=torch.Generator().manual_seed(1)))
        >>> int(counts.sum()), int(counts[19].sum())
        (1, 1)
    """
    chi = torsions(chains, positions).chi[..., :2]
    turn = np.where(symmetric_chi(chains)[:, :2], 180.0, 360.0)
    third = np.floor(np.mod(chi, turn) / turn * N_ROTAMERS)
    first, second = third[..., 0], np.where(np.isnan(third[..., 1]), 0.0, third[..., 1])
    counts = np.zeros((20, N_ROTAMERS**2), dtype=np.int64)
    known = ~np.isnan(first)
    kinds = np.broadcast_to(chains.types.cpu().numpy(), known.shape)
    np.add.at(counts, (kinds[known], (first + N_ROTAMERS * second)[known].astype(np.int64)), 1)
    return counts


def rotamer_divergence(counts: IntArray, reference: IntArray) -> float:
    """Return the Jensen-Shannon divergence of rotamer populations, averaged over residues; 0 for equal ones, at most 1.

    Args:
        counts: [20, 9], of `rotamer_counts`, summed over an ensemble.
        reference: [20, 9], of the reference; its residues are the weights of the mean over types.

    Raises:
        ValueError: no residue type occurs in both.

    Example:
        >>> one, other = np.zeros((2, 20, 9), dtype=int)
        >>> one[4, 0], other[4, 1] = 10, 10
        >>> rotamer_divergence(one, one), rotamer_divergence(one, other)
        (0.0, 1.0)
    """
    both = (counts.sum(axis=1) > 0) & (reference.sum(axis=1) > 0)
    if not both.any():
        expected = "rotamers of at least one residue type in both"
        raise ValueError(message("`counts` and `reference`", expected, "none", "compare proteins with side chains"))
    p, q = (table[both] / table[both].sum(axis=1, keepdims=True) for table in (counts, reference))
    middle = (p + q) / 2.0
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2.0
    return float(np.average(divergence, weights=reference[both].sum(axis=1)))


def _samples(chains: Chains, samples: ArrayLike, reference: ArrayLike) -> tuple[FloatArray, FloatArray]:
    frames = as_padded(chains, samples, "samples")
    if len(frames) < 2:
        raise ValueError(message("`samples`", "at least two structures", "1", "draw samples with other seeds"))
    return frames, as_reference(chains, reference, 1)


def _present(chains: Chains, frames: FloatArray) -> FloatArray:
    there = np.isfinite(frames).all(axis=(0, 3)) & chains.mask.cpu().numpy()
    return frames[:, there]


def _rms(vectors: FloatArray) -> float:
    return float(np.sqrt(mean((vectors**2).sum(axis=-1), axis=(0, 1))))


def _steps(frames: FloatArray) -> FloatArray:
    """Return the mean length of the steps of side-chain atoms: [n_frames - 1], nm."""
    steps = []
    for first, second in pairwise(frames):
        a, b = first[:, SLOT_CA], second[:, SLOT_CA]
        u, _, v = np.linalg.svd((b - b.mean(axis=0)).T @ (a - a.mean(axis=0)))
        rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v
        moved = (second - b.mean(axis=0)) @ rotation + a.mean(axis=0)
        steps.append(mean(np.linalg.norm(moved - first, axis=-1)[:, SLOT_CB:], axis=(0, 1)))
    return np.array(steps)


def _relative_entropy(p: FloatArray, q: FloatArray) -> FloatArray:
    return np.asarray(np.where(p > 0, p * np.log2(np.where(p > 0, p, 1.0) / np.where(q > 0, q, 1.0)), 0.0).sum(axis=1))
