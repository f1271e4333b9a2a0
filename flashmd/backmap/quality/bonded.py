"""Which atoms are bonded, and which pairs are so few bonds apart that their distance says nothing about overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from flashmd.backmap.chains import Chains
from flashmd.backmap.quality._arrays import FloatArray, IntArray, distances
from flashmd.backmap.residues import BONDS, N_SLOTS, RESIDUES, SLOT_C, SLOT_CA, SLOT_N, slot

LONGEST_CA_DISTANCE = 0.42
"""nm, between the CA of two residues that are joined; more is a gap."""
LONGEST_DISULFIDE = 0.3
"""nm, between two SG that are bonded."""


@dataclass(frozen=True)
class Bonded:
    """Bonds of some chains as flat indices, residue * 14 + slot.

    Attributes:
        bonds: [n_bonds, 2], within residues and from each to the next where they are joined.
        angles: [n_angles, 3], two bonds with a common atom, which is in the middle.
        near: [n_near], codes first * n_slots + second, first < second, of all pairs at most three bonds apart.
    """

    bonds: IntArray
    angles: IntArray
    near: IntArray

    @classmethod
    def of(cls, chains: Chains, disulfides: IntArray | None = None) -> Bonded:
        """Collect the bonds of some chains.

        Args:
            chains: the residues.
            disulfides: [n, 2], flat indices of SG atoms that are bonded; they count for `near` only.

        Example:
            >>> bonded = Bonded.of(Chains.from_sequence("GG"))
            >>> bonded.bonds.tolist(), len(bonded.angles), len(bonded.near)
            ([[0, 1], [1, 2], [2, 3], [14, 15], [15, 16], [16, 17], [2, 14]], 7, 20)
        """
        bonds = [*_inside(chains), *_peptide(np.flatnonzero(chains.joined.cpu().numpy()))]
        extra = [] if disulfides is None else disulfides.tolist()
        neighbours = _neighbours([*bonds, *extra])
        angles = [
            (first, middle, last)
            for middle, around in sorted(_neighbours(bonds).items())
            for first, last in combinations(sorted(around), 2)
        ]
        codes = _near_codes(neighbours, chains.n_residues * N_SLOTS)
        return cls(_array(bonds, 2), _array(angles, 3), codes)


def bonds_across_gaps(chains: Chains, reference: FloatArray) -> IntArray:
    """Return the bonds C-N of a standard topology that joins all residues of a chain although they are apart.

    Args:
        chains: the residues.
        reference: [n_frames, n_residues, 14, 3], nm; its first frame decides.

    Returns:
        [n, 2], flat indices.
    """
    same = np.array([a.chain == b.chain for a, b in zip(chains.labels, chains.labels[1:], strict=False)], dtype=bool)
    step = np.linalg.norm(np.diff(reference[0, :, SLOT_CA], axis=0), axis=-1)
    apart = ~chains.joined.cpu().numpy()[:-1] | (step > LONGEST_CA_DISTANCE)
    return _array(_peptide(np.flatnonzero(same & apart)), 2)


def disulfide_pairs(chains: Chains, frames: FloatArray) -> IntArray:
    """Return the pairs of SG closer than 0.3 nm in the first frame.

    Returns:
        [n, 2], flat indices.
    """
    cysteines = np.flatnonzero(chains.types.cpu().numpy() == RESIDUES.index("CYS"))
    sulfurs = cysteines * N_SLOTS + slot("CYS", "SG")
    pairs = _array([list(pair) for pair in combinations(sulfurs.tolist(), 2)], 2)
    return np.asarray(pairs[distances(frames[:1], pairs)[0] < LONGEST_DISULFIDE])


def _inside(chains: Chains) -> list[tuple[int, int]]:
    return [
        (residue * N_SLOTS + slot(RESIDUES[kind], first), residue * N_SLOTS + slot(RESIDUES[kind], second))
        for residue, kind in enumerate(chains.types.tolist())
        for first, second in BONDS[RESIDUES[kind]]
    ]


def _peptide(residues: IntArray) -> list[tuple[int, int]]:
    return [(residue * N_SLOTS + SLOT_C, (residue + 1) * N_SLOTS + SLOT_N) for residue in residues.tolist()]


def _neighbours(bonds: list[tuple[int, int]]) -> dict[int, set[int]]:
    neighbours: dict[int, set[int]] = {}
    for first, second in bonds:
        neighbours.setdefault(first, set()).add(second)
        neighbours.setdefault(second, set()).add(first)
    return neighbours


def _near_codes(neighbours: dict[int, set[int]], n_slots: int) -> IntArray:
    codes: set[int] = set()
    for atom in neighbours:
        reached = {atom}
        for _ in range(3):
            reached = reached.union(*(neighbours[each] for each in reached))
        codes.update(atom * n_slots + other for other in reached if other > atom)
    return np.array(sorted(codes), dtype=np.int64)


def _array(rows: Sequence[Sequence[int]], width: int) -> IntArray:
    return np.array(rows, dtype=np.int64).reshape(-1, width)
