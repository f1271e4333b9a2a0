"""Bond lengths against those of a reference structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flashmd.backmap.chains import Chains
from flashmd.backmap.quality._arrays import (
    ArrayLike,
    FloatArray,
    IntArray,
    as_padded,
    as_reference,
    distances,
    fraction,
    mean,
)
from flashmd.backmap.quality.bonded import LONGEST_CA_DISTANCE, Bonded, bonds_across_gaps, disulfide_pairs
from flashmd.backmap.residues import N_SLOTS, SLOT_CA

TOLERANCE = 0.1
"""Largest relative deviation of a good bond."""


@dataclass(frozen=True)
class BondErrors:
    """Deviations of bond lengths from a reference, for each frame.

    Attributes:
        within: [n_frames], fraction of bonds within 10 % of the reference, without S-S bonds and bonds across gaps.
        within_all: [n_frames], the same with the S-S bonds of the reference and with the bonds that a standard topology
            draws across the gaps of a chain.
        mean_absolute: [n_frames], nm, without S-S bonds and bonds across gaps, as the next two.
        rms: [n_frames], nm.
        largest: [n_frames], nm.
    """

    within: FloatArray
    within_all: FloatArray
    mean_absolute: FloatArray
    rms: FloatArray
    largest: FloatArray


def bond_errors(chains: Chains, positions: ArrayLike, reference: ArrayLike) -> BondErrors:
    """Compare the bond lengths of structures with those of a reference.

    Args:
        chains: the residues.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm.
        reference: one structure or one for each frame, nm.

    Example:
        >>> import torch
        >>> chains = Chains.from_sequence("G")
        >>> reference = chains.pad(torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [0.3, 0, 0]]))
        >>> longer = chains.pad(torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [0.35, 0, 0]]))
        >>> errors = bond_errors(chains, longer, reference)
        >>> round(float(errors.within[0]), 3), round(float(errors.largest[0]), 3)
        (0.667, 0.05)
    """
    frames = as_padded(chains, positions)
    model = as_reference(chains, reference, frames.shape[0])
    bonds = Bonded.of(chains).bonds
    residues = bonds // N_SLOTS
    whole = distances(model[:1], residues * N_SLOTS + SLOT_CA)[0] <= LONGEST_CA_DISTANCE
    bonds = bonds[whole]
    extra = [bonds_across_gaps(chains, model), disulfide_pairs(chains, model)]
    every = np.unique(np.concatenate([bonds, *extra]), axis=0)
    error = np.abs(distances(frames, bonds) - distances(model, bonds))
    return BondErrors(
        within=_within(frames, model, bonds),
        within_all=_within(frames, model, every),
        mean_absolute=mean(error),
        rms=np.sqrt(mean(error**2)),
        largest=np.nanmax(error, axis=1),
    )


def _within(frames: FloatArray, model: FloatArray, bonds: IntArray) -> FloatArray:
    length, expected = distances(frames, bonds), distances(model, bonds)
    return fraction(np.abs(length - expected) <= TOLERANCE * expected, ~np.isnan(length - expected))
