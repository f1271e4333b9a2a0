"""Pairs of atoms that are close without being bonded, found through the CA atoms of their residues."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.physics.topology import Topology, disulfide_separation
from flashmd.backmap.residues import N_SLOTS, SLOT_CA

_CHUNK = 4096
"""Residue pairs whose atoms are compared at a time."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of atoms at least three bonds apart of which at least one may move.

    Attributes:
        atoms: [2, n], int64, numbers over all frames: (frame n_residues + residue) 14 + slot.
        kinds: [2, n], int64, united atoms.
        bonds: [n], int64, 3 or 4, the latter for four bonds and more.
    """

    atoms: Tensor
    kinds: Tensor
    bonds: Tensor


def close_pairs(positions: Tensor, topology: Topology, cutoff: float) -> Pairs:
    """Return all pairs of atoms closer than a cutoff.

    Residues are compared by their CA and by how far their atoms reach from it, so the cost of comparing atoms grows
    with the number of residues only.

    Args:
        positions: [n_frames, n_residues, 14, 3], nm.
        topology: tables of the chains.
        cutoff: nm.
    """
    n_residues = topology.n_residues
    ca = positions[:, :, SLOT_CA]
    reach = (positions - ca[:, :, None]).norm(dim=-1).masked_fill(~topology.filled, 0.0).amax(-1)
    near = (
        torch.cdist(ca, ca, compute_mode="donot_use_mm_for_euclid_dist") < reach[:, :, None] + reach[:, None] + cutoff
    )
    frame, first, second = near.triu().nonzero().T
    rows = positions.flatten(0, 1)
    upper = torch.ones(N_SLOTS, N_SLOTS, dtype=torch.bool, device=ca.device).triu(1)
    found = []
    for start in range(0, frame.shape[0], _CHUNK):
        one, other = first[start : start + _CHUNK], second[start : start + _CHUNK]
        offset = frame[start : start + _CHUNK] * n_residues
        here, there = rows[offset + one].permute(2, 0, 1), rows[offset + other].permute(2, 0, 1)
        squared = (here[:, :, :, None] - there[:, :, None, :]).square().sum(0)
        within = squared < cutoff**2
        within &= (topology.filled[one][:, :, None] & topology.filled[other][:, None]) & (
            topology.free[one][:, :, None] | topology.free[other][:, None]
        )
        within &= (one != other)[:, None, None] | upper
        pair, left, right = within.nonzero().T
        found.append(torch.stack([offset[pair], one[pair], other[pair], left, right]))
    offset, one, other, left, right = torch.cat(found, 1)
    bonds = _separation(topology, one, other, left, right)
    keep = bonds >= 3
    offset, one, other, left, right, bonds = (each[keep] for each in (offset, one, other, left, right, bonds))
    return Pairs(
        atoms=torch.stack([(offset + one) * N_SLOTS + left, (offset + other) * N_SLOTS + right]),
        kinds=torch.stack([topology.kinds[one, left], topology.kinds[other, right]]),
        bonds=bonds,
    )


def _separation(topology: Topology, one: Tensor, other: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return the number of bonds between atoms, 4 for four and more."""
    apart = other - one
    row = torch.where(apart == 0, topology.rows[one], torch.where(apart == 1, topology.next_rows[one], -1))
    bonds = torch.where(row >= 0, topology.separation[row.clamp_min(0), left, right], 4)
    bridge = disulfide_separation(topology)[left, right]
    return torch.where(topology.partner[one] == other, bridge, bonds)
