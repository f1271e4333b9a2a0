"""The terms of chains for a number of frames, ready to be evaluated around coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.connectivity import LONGEST_CIS
from flashmd.backmap.physics.pairs import Pairs, close_pairs
from flashmd.backmap.physics.parameters import contact_distances
from flashmd.backmap.physics.terms import Linear, contacts, heights, sides, springs
from flashmd.backmap.physics.topology import Topology
from flashmd.backmap.residues import N_SLOTS

PLANE_STIFFNESS = 8000.0
"""kJ/mol/nm^2, of heights over planes; about what Amber's torsions of a peptide bond or an aromatic bond amount to."""
CONTACT_STIFFNESS = 10000.0
"""kJ/mol/nm^2, of contacts that are too short."""


PEPTIDE_STIFFNESS = 150000.0
"""kJ/mol/nm^2, of O and the next CA outside the distances of their peptide bond: more than planarity can withstand."""
_TRANS_LONGEST, _CIS_SHORTEST = 0.3, 0.35
"""nm, from O to the next CA; in 96 chains 99.9 % of trans bonds have less, all cis bonds more."""
_LEAST_HEIGHT = 0.09
"""nm, of a neighbour of a chiral centre over the plane of the centre and two others, which is 0.12 in nature."""
_WALL_STIFFNESS = 50000.0
"""kJ/mol/nm^2: to turn a centre over costs 200 kJ/mol."""


@dataclass(frozen=True)
class Mechanics:
    """Bonded terms of all frames in one row.

    Attributes:
        topology: tables of one frame.
        n_frames: number of frames.
        bonds: [2, n] atoms.
        bond_values: [2, n], length and stiffness.
        angles: [2, n] atoms.
        angle_values: [2, n], length and stiffness.
        planes: [4, n] atoms.
        areas: [n], nm^2.
        peptides: [3, n] atoms.
        hands: [4, n] atoms.
        hand_areas: [n], nm^2.
        free: [n_atoms], 1 for atoms that may move.
    """

    topology: Topology
    n_frames: int
    bonds: Tensor
    bond_values: Tensor
    angles: Tensor
    angle_values: Tensor
    planes: Tensor
    areas: Tensor
    peptides: Tensor
    hands: Tensor
    hand_areas: Tensor
    free: Tensor

    @classmethod
    def of(cls, topology: Topology, n_frames: int, like: Tensor) -> Mechanics:
        """Lay the terms of a topology out for frames, in the precision and on the device of `like`."""
        terms = topology.terms

        def atoms(table: Tensor) -> Tensor:
            return spread(table, n_frames, topology.n_residues)

        def values(table: Tensor) -> Tensor:
            return table.to(like).repeat(1, n_frames)

        return cls(
            topology,
            n_frames,
            *(atoms(terms.bonds), values(terms.bond_values)),
            *(atoms(terms.angles), values(terms.angle_values)),
            *(atoms(terms.planes), values(terms.plane_values)[0]),
            atoms(terms.peptides),
            *(atoms(terms.hands), values(terms.hand_values)[0]),
            topology.free.flatten().to(like).repeat(n_frames),
        )

    def bonded(self, columns: Tensor, names: frozenset[str]) -> list[Linear]:
        """Return the terms among "bonds", "angles", "planarity" and "chirality" around [3, n_atoms] positions."""
        terms = []
        if "bonds" in names:
            terms.append(springs(columns, self.bonds, *self.bond_values))
        if "angles" in names:
            terms.append(springs(columns, self.angles, *self.angle_values))
        if "planarity" in names:
            terms.append(heights(columns, self.planes, self.areas, PLANE_STIFFNESS))
            terms += self._turned(columns)
        if "chirality" in names:
            terms.append(sides(columns, self.hands, self.hand_areas, _LEAST_HEIGHT, _WALL_STIFFNESS))
        return terms

    def _turned(self, columns: Tensor) -> list[Linear]:
        """Return springs on peptide bonds that are not trans or cis as the distance of their CA says; often on none.

        Planarity alone would leave a bond half way where its CA atoms cannot follow.
        """
        first, oxygen, second = self.peptides

        def distance(one: Tensor) -> Tensor:
            return (columns.index_select(1, one) - columns.index_select(1, second)).square().sum(0).sqrt()

        cis, reach = distance(first) < LONGEST_CIS, distance(oxygen)
        wrong = torch.where(cis, reach < _CIS_SHORTEST, reach > _TRANS_LONGEST)
        if not bool(wrong.any()):
            return []
        atoms, cis = torch.stack((oxygen, second))[:, wrong], cis[wrong]
        length = torch.where(cis, _CIS_SHORTEST, _TRANS_LONGEST).to(columns)
        return [springs(columns, atoms, length, torch.full_like(length, PEPTIDE_STIFFNESS))]

    def overlaps(self, positions: Tensor) -> tuple[Pairs, Tensor]:
        """Return the pairs that might become too close, and their shortest natural distance, nm."""
        table = contact_distances().to(positions)
        pairs = close_pairs(positions, self.topology, float(table.max()) + _MARGIN)
        return pairs, table[(pairs.bonds > 3).long(), pairs.kinds[0], pairs.kinds[1]]

    def pushed(self, columns: Tensor, pairs: Pairs, shortest: Tensor) -> Linear:
        """Return the springs between pairs that are too close."""
        return contacts(columns, pairs.atoms, shortest, CONTACT_STIFFNESS)


_MARGIN = 0.02


def spread(table: Tensor, n_frames: int, n_residues: int) -> Tensor:
    """Return atoms of one frame repeated for frames that lie one after the other: [k, n] to [k, n_frames n]."""
    offset = torch.arange(n_frames, device=table.device) * (n_residues * N_SLOTS)
    return (table[:, None, :] + offset[None, :, None]).flatten(1)


def columns_of(positions: Tensor) -> Tensor:
    """Return component-major coordinates: [n_frames, n_residues, 14, 3] to [3, n_atoms]."""
    return positions.reshape(-1, 3).T.contiguous()


def rows_of(columns: Tensor, like: Tensor) -> Tensor:
    """Return padded coordinates: [3, n_atoms] to the shape of `like`."""
    return columns.T.reshape(like.shape)
