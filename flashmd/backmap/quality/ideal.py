"""Bond lengths and angles against the equilibrium values of the Amber ff14SB force field: no reference is needed."""

from __future__ import annotations

import numpy as np

from flashmd.backmap.chains import Chains
from flashmd.backmap.physics.parameters import force_field
from flashmd.backmap.quality._arrays import (
    ArrayLike,
    FloatArray,
    IntArray,
    as_padded,
    atoms_of,
    distances,
    fraction,
    mean,
)
from flashmd.backmap.quality.bonded import Bonded
from flashmd.backmap.quality.lengths import TOLERANCE
from flashmd.backmap.residues import ATOMS, N_SLOTS, RESIDUES


def ideal_bonds(chains: Chains, positions: ArrayLike) -> FloatArray:
    """Return the percentage of bonds within 10 % of their equilibrium length.

    Args:
        chains: the residues.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm.

    Returns:
        [n_frames], percent.

    Example:
        >>> import torch
        >>> ideal_bonds(Chains.from_sequence("AG"), torch.zeros(2, 14, 3)).tolist()
        [0.0]
    """
    frames, bonds = as_padded(chains, positions), Bonded.of(chains).bonds
    length = distances(frames, bonds)
    expected = np.array([force_field().bond(*kinds)[0] for kinds in _classes(chains, bonds)])
    return 100.0 * fraction(np.abs(length - expected) <= TOLERANCE * expected, ~np.isnan(length))


def angle_errors(chains: Chains, positions: ArrayLike) -> FloatArray:
    """Return the root mean square deviation of bond angles from their equilibrium values.

    Args:
        chains: the residues.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm.

    Returns:
        [n_frames], degrees.

    Example:
        >>> import torch
        >>> right = torch.tensor([[0.0, 0.1, 0], [0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0]])
        >>> chains = Chains.from_sequence("G")
        >>> angle_errors(chains, chains.pad(right)).round(1).tolist()
        [25.8]
    """
    frames, angles = as_padded(chains, positions), Bonded.of(chains).angles
    first, middle, last = np.moveaxis(atoms_of(frames, angles), -2, 0)
    a, b = first - middle, last - middle
    found = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))
    expected = np.degrees([_angle(kinds) for kinds in _classes(chains, angles)])
    return np.sqrt(mean((found - expected) ** 2))


def _angle(kinds: tuple[str, ...]) -> float:
    return force_field().angles[" ".join(min(kinds, kinds[::-1]))][0]


def _classes(chains: Chains, indices: IntArray) -> list[tuple[str, ...]]:
    """Return the force-field classes of the atoms of each row of flat indices."""
    table = {
        (kind, place): force_field().classes[name][atom]
        for kind, name in enumerate(RESIDUES)
        for place, atom in enumerate(ATOMS[name])
    }
    kinds = chains.types.tolist()
    return [tuple(table[kinds[index // N_SLOTS], index % N_SLOTS] for index in row) for row in indices.tolist()]
