"""Handedness of CA and of side-chain centres, and its repair by reflection.

The handedness of a centre is the sign of the volume (a x b) . c that three of its neighbours span, in the order of
`fragments.CENTERS`; it is positive in natural proteins.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.physics.fragments import CENTERS
from flashmd.backmap.residues import N_SLOTS, RESIDUES, SLOT_C, SLOT_CA, SLOT_CB, SLOT_N, slot

_NAMES_ONLY = ("VAL", "LEU")
_GLY = RESIDUES.index("GLY")


def _centers() -> tuple[Tensor, Tensor]:
    """Return slots of centre and neighbours of the side-chain centres, [20, 4], and which types have one, [20]."""
    table = torch.zeros(len(RESIDUES), 4, dtype=torch.int64)
    for name, atoms in CENTERS.items():
        table[RESIDUES.index(name)] = torch.tensor([slot(name, atom) for atom in atoms])
    return table, table.any(1)


def _volume(center: Tensor, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    volume: Tensor = (torch.linalg.cross(first - center, second - center) * (third - center)).sum(-1)
    return volume


def chirality(chains: Chains, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the signed volumes of the chiral centres.

    Args:
        chains: residues.
        positions: [n_frames, n_residues, 14, 3], nm.

    Returns:
        Volumes of CA and of the side-chain centre (CB of ILE and THR), both [n_frames, n_residues] in nm^3 and positive
        in natural proteins; infinite where a residue has no such centre.

    Example:
        >>> chains = Chains.from_sequence("A")
        >>> corner = torch.zeros(1, 1, 14, 3)
        >>> corner[0, 0, [0, 2, 4]] = 0.15 * torch.eye(3)
        >>> (
        ...     [bool(each > 0) for each in chirality(chains, corner)],
        ...     [bool(each > 0) for each in chirality(chains, -corner)],
        ... )
        ([True, True], [False, True])
    """
    absent = torch.full(positions.shape[:2], torch.inf).to(positions)
    ca = _volume(*(positions[:, :, each] for each in (SLOT_CA, SLOT_N, SLOT_C, SLOT_CB)))
    side = _side_volume(chains, positions)
    names_only = torch.isin(chains.types, torch.tensor([RESIDUES.index(name) for name in _NAMES_ONLY]).to(chains.types))
    return torch.where(chains.types == _GLY, absent, ca), torch.where(names_only, absent, side)


def _side_volume(chains: Chains, positions: Tensor) -> Tensor:
    """Return the volumes of all side-chain centres, those included that are a matter of names."""
    table, present = (each.to(chains.types.device) for each in _centers())
    index = table[chains.types][None, :, :, None].expand(positions.shape[0], -1, -1, 3)
    corners = positions.gather(2, index)
    volume = _volume(*corners.unbind(2))
    return torch.where(present[chains.types], volume, torch.full_like(volume, torch.inf))


def _mirrored(points: Tensor, origin: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Reflect points through the plane of three: [..., k, 3] and [..., 3]."""
    normal = torch.linalg.cross(one - origin, other - origin)
    length: Tensor = normal.norm(dim=-1, keepdim=True)
    normal = normal / length.clamp_min(1e-12)
    height: Tensor = ((points - origin[..., None, :]) * normal[..., None, :]).sum(-1, keepdim=True)
    mirrored: Tensor = points - 2 * height * normal[..., None, :]
    return mirrored


def repaired(chains: Chains, positions: Tensor, free: Tensor) -> Tensor:
    """Return positions in which every centre that may move has its natural handedness.

    A side chain on the wrong side of N, CA and C is reflected through their plane. CG2 of ILE and THR is reflected
    through the plane of CA, CB and the other branch. Methyl groups of VAL and LEU exchange their places.

    Args:
        chains: residues.
        positions: [n_frames, n_residues, 14, 3], nm.
        free: [n_residues, 14], bool, atoms that may move.

    Returns:
        [n_frames, n_residues, 14, 3], nm.
    """
    wrong = chirality(chains, positions)[0] < 0
    side = positions[:, :, SLOT_CB:]
    turned = _mirrored(side, *(positions[:, :, each] for each in (SLOT_CA, SLOT_N, SLOT_C)))
    movable = (free | ~chains.mask)[:, SLOT_CB:].all(1)
    filled = chains.mask[:, SLOT_CB:]
    change = (wrong & movable)[:, :, None] & filled
    positions = torch.cat([positions[:, :, :SLOT_CB], torch.where(change[..., None], turned, side)], 2)
    return _side_repaired(chains, positions, free)


def _side_repaired(chains: Chains, positions: Tensor, free: Tensor) -> Tensor:
    """Reflect one branch of wrong side-chain centres, or exchange the branches where only names are at stake."""
    table = _centers()[0].to(chains.types.device)[chains.types]
    wrong = _side_volume(chains, positions) < 0
    frames = positions.shape[0]

    def corner(column: int) -> Tensor:
        return positions.gather(2, table[None, :, column, None, None].expand(frames, -1, 1, 3))[:, :, 0]

    center, trunk, stays, moves = (corner(column) for column in range(4))
    reflected = _mirrored(moves[:, :, None], center, trunk, stays)[:, :, 0]
    exchange = torch.isin(chains.types, torch.tensor([RESIDUES.index(name) for name in _NAMES_ONLY]).to(chains.types))
    slots = torch.arange(N_SLOTS, device=table.device)
    is_moved, is_other = slots == table[:, 3:], (slots == table[:, 2:3]) & exchange[:, None]
    allowed = free.gather(1, table[:, 3:]) & (free.gather(1, table[:, 2:3]) | ~exchange[:, None])
    change = (wrong & allowed[:, 0])[:, :, None]
    fresh = torch.where(exchange[:, None], stays, reflected)
    positions = torch.where((change & is_moved)[..., None], fresh[:, :, None], positions)
    return torch.where((change & is_other)[..., None], moves[:, :, None], positions)
