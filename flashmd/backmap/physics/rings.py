"""Bonds that pass through a ring: found by intersecting them with the triangles of the ring around its centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.physics.terms import Linear
from flashmd.backmap.physics.topology import Topology, build_topology
from flashmd.backmap.residues import N_SLOTS, RESIDUES, RINGS, slot

_NEAR = 0.25
"""nm, the middle of a bond farther from the centre of a ring than this cannot pass through it."""
_OUT = 0.25
"""nm, distance within the plane of a ring to which a bond is pushed."""
_STIFFNESS = 20000.0
_CORNERS = 6


@dataclass(frozen=True)
class RingPenetrations:
    """Bonds inside rings.

    Attributes:
        frame: [n], int64.
        ring_residue: [n], int64, residue of the ring.
        bond_residue: [n], int64, residue of the first atom of the bond.
    """

    frame: Tensor
    ring_residue: Tensor
    bond_residue: Tensor

    def residues(self, n_frames: int, n_residues: int) -> Tensor:
        """Return the residues to draw anew, those of rings and of bonds: [n_frames, n_residues], bool.

        Args:
            n_frames: number of frames.
            n_residues: number of residues.
        """
        marked = torch.zeros(n_frames, n_residues, dtype=torch.bool, device=self.frame.device)
        marked[self.frame, self.ring_residue] = True
        marked[self.frame, self.bond_residue] = True
        return marked


@dataclass(frozen=True)
class Rings:
    """The rings of chains.

    Attributes:
        atoms: [6, n], int64; the last atom of a five-ring stands twice.
        weights: [6, n], of the atoms in the centre, 0 where an atom is repeated.
    """

    atoms: Tensor
    weights: Tensor


def find_rings(types: Tensor) -> Rings:
    """Return the rings of residues of given types, [n_residues]."""
    atoms, weights = [torch.zeros(_CORNERS, 0, dtype=torch.int64)], [torch.zeros(_CORNERS, 0)]
    for name, rings in RINGS.items():
        places = torch.nonzero(types.cpu() == RESIDUES.index(name))[:, 0] * N_SLOTS
        for ring in rings:
            corners = torch.tensor([slot(name, atom) for atom in (*ring, *ring[-1:] * (_CORNERS - len(ring)))])
            share = torch.tensor([1.0 / len(ring)] * len(ring) + [0.0] * (_CORNERS - len(ring)))
            atoms.append(corners[:, None] + places)
            weights.append(share[:, None].expand(-1, len(places)))
    return Rings(torch.cat(atoms, 1).to(types.device), torch.cat(weights, 1).to(types.device))


@dataclass(frozen=True)
class _Crossing:
    """Bonds that cross rings: [6, n] and [2, n] atoms over all frames, and [6, n] weights."""

    ring: Tensor
    weights: Tensor
    bond: Tensor


def _crossings(positions: Tensor, topology: Topology, rings: Rings) -> _Crossing:
    """Return every bond that crosses a ring of which it has no atom."""
    n_frames, stride = positions.shape[0], topology.n_residues * N_SLOTS
    flat = positions.reshape(n_frames, stride, 3)
    bonds = topology.terms.bonds
    weights = rings.weights.to(positions)
    center = (flat[:, rings.atoms] * weights[:, :, None]).sum(1)
    middle = flat[:, bonds].mean(1)
    frame, ring, bond = (torch.cdist(center, middle) < _NEAR).nonzero().T
    offset = frame * stride
    corners, ends = rings.atoms[:, ring] + offset, bonds[:, bond] + offset
    apart = (corners[:, None] != ends[None]).all(0).all(0)
    corners, ends, ring, frame = corners[:, apart], ends[:, apart], ring[apart], frame[apart]
    rows = positions.reshape(-1, 3)
    crossed = _crosses(rows[corners], center[frame, ring], rows[ends])
    return _Crossing(corners[:, crossed], weights[:, ring[crossed]], ends[:, crossed])


def _crosses(corners: Tensor, center: Tensor, ends: Tensor) -> Tensor:
    """Tell whether segments [2, n, 3] cross the fan of triangles between corners [6, n, 3] and centre [n, 3]."""
    one, other = corners, corners.roll(-1, 0)

    def side(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        volume: Tensor = (torch.linalg.cross(b - a, c - a) * (d - a)).sum(-1)
        return volume

    center, start, end = (each.expand_as(one) for each in (center, *ends))
    below, above = side(one, other, center, start), side(one, other, center, end)
    first, second, third = side(start, end, one, other), side(start, end, other, center), side(start, end, center, one)
    inside = ((first > 0) & (second > 0) & (third > 0)) | ((first < 0) & (second < 0) & (third < 0))
    return (inside & (below * above < 0)).any(0)


def ring_penetrations(
    chains: Chains, positions: Tensor, *, disulfides: Sequence[tuple[int, int]] = ()
) -> RingPenetrations:
    """Find bonds that pass through a five- or six-ring of HIS, PHE, PRO, TRP or TYR.

    Args:
        chains: residues.
        positions: [n_frames, n_residues, 14, 3], nm.
        disulfides: pairs of residues with a bond between their SG.

    Example:
        >>> chains = Chains.from_sequence("FA")
        >>> positions = torch.zeros(1, 2, 14, 3)
        >>> corners = torch.arange(6) * torch.pi / 3
        >>> positions[0, 0, 5:11, :2] = 0.14 * torch.stack([corners.cos(), corners.sin()], 1)
        >>> positions[0, 1, :2] = torch.tensor([[0.01, 0.01, -0.07], [0.01, 0.01, 0.07]])
        >>> ring_penetrations(chains, positions).bond_residue
        tensor([1])
    """
    topology = build_topology(chains, torch.zeros_like(chains.mask), disulfides)
    found = _crossings(positions, topology, find_rings(chains.types))
    residue = (found.ring[0] // N_SLOTS, found.bond[0] // N_SLOTS)
    n_residues = chains.n_residues
    return RingPenetrations(residue[0] // n_residues, residue[0] % n_residues, residue[1] % n_residues)


def pushed_out(positions: Tensor, columns: Tensor, topology: Topology, rings: Rings) -> Linear:
    """Return springs that push crossing bonds out of rings, along the plane of the ring and away from its centre.

    Args:
        positions: [n_frames, n_residues, 14, 3], nm, in which crossings are sought.
        columns: [3, n_atoms], nm, the same positions.
        topology: tables of the chains.
        rings: their rings.
    """
    found = _crossings(positions, topology, rings)
    corners, ends = columns[:, found.ring], columns[:, found.bond]
    center, middle = (corners * found.weights).sum(1), ends.mean(1)
    spoke = corners - center[:, None]
    normal = torch.linalg.cross(spoke[:, 0], spoke[:, 2], dim=0)
    normal = normal / normal.square().sum(0).sqrt().clamp_min(1e-12)
    apart = middle - center
    apart = apart - (apart * normal).sum(0) * normal
    distance = apart.square().sum(0).sqrt()
    unit = torch.where(distance > 1e-6, apart / distance.clamp_min(1e-6), spoke[:, 0] / _RADIUS)
    missing = (_OUT - distance).clamp_min(0)
    directions = (*(-unit * weight for weight in found.weights), 0.5 * unit, 0.5 * unit)
    stiffness = torch.full_like(missing, _STIFFNESS)
    atoms = torch.cat([found.ring, found.bond])
    return Linear(atoms, 0.5 * stiffness * missing.square(), -stiffness * missing, stiffness, directions)


_RADIUS = 0.14
