"""Backbone torsions against the regions of the Ramachandran plot that well-made structures populate.

The regions are bins of ten degrees in `ramachandran_table`, made from crystal structures by the script
`examples/data_generation/ramachandran.py`, for glycine, proline, residues before proline and all others.
"""

from __future__ import annotations

import numpy as np

from flashmd.backmap.chains import Chains
from flashmd.backmap.quality._arrays import ArrayLike, BoolArray, FloatArray, IntArray, fraction
from flashmd.backmap.quality.ramachandran_table import REGIONS
from flashmd.backmap.quality.torsion_angles import Torsions, torsions
from flashmd.backmap.residues import RESIDUES

CLASSES = ("general", "glycine", "proline", "before proline")
"""Classes of residues with regions of their own."""
N_BINS = 36
"""Bins of phi and of psi, from -180 degrees on."""


def ramachandran_classes(chains: Chains) -> IntArray:
    """Return the index of each residue's class in `CLASSES`: [n_residues].

    Example:
        >>> ramachandran_classes(Chains.from_sequence("AGAP")).tolist()
        [0, 1, 3, 2]
    """
    kinds = chains.types.cpu().numpy()
    proline = kinds == RESIDUES.index("PRO")
    before = np.append(proline[1:], False) & chains.joined.cpu().numpy()
    glycine = kinds == RESIDUES.index("GLY")
    return np.select([glycine, proline, before], [1, 2, 3], 0)


def bin_of(found: Torsions) -> tuple[IntArray, BoolArray]:
    """Return the bin phi * 36 + psi of each residue and whether it has both torsions: [n_frames, n_residues] each."""
    there = ~np.isnan(found.phi) & ~np.isnan(found.psi)
    phi, psi = (np.floor((np.where(there, angle, 0.0) + 180.0) / (360.0 / N_BINS)) for angle in (found.phi, found.psi))
    return (np.mod(phi, N_BINS) * N_BINS + np.mod(psi, N_BINS)).astype(np.int64), there


def ramachandran_outliers(chains: Chains, positions: ArrayLike) -> FloatArray:
    """Return the percentage of residues outside the region that holds 99.5 % of their class in crystal structures.

    Args:
        chains: the residues; those without phi or psi do not count.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm.

    Returns:
        [n_frames], percent.

    Example:
        >>> import torch
        >>> flat = torch.zeros(3, 14, 3)
        >>> flat[:, :4] = torch.tensor([[0.0, 0, 0], [0.1, 0.1, 0], [0.2, 0, 0], [0.2, -0.1, 0]])
        >>> flat += 0.3 * torch.arange(3)[:, None, None] * torch.tensor([1.0, 0, 0])
        >>> ramachandran_outliers(Chains.from_sequence("AAA"), flat).tolist()
        [0.0]
    """
    place, there = bin_of(torsions(chains, positions))
    allowed = _regions()[ramachandran_classes(chains)[None, :], place]
    return 100.0 * fraction(~allowed, there)


def _regions() -> BoolArray:
    """Return which bins are allowed: [4, 1296]."""
    digits = np.array([[int(digit, 16) for row in REGIONS[name] for digit in row] for name in CLASSES], dtype=np.uint8)
    return np.unpackbits(digits[:, :, None], axis=2)[:, :, 4:].reshape(len(CLASSES), -1).astype(bool)
