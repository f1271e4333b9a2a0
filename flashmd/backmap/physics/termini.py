"""The two oxygens of the carboxylate at the end of a chain, by geometry."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.residues import SLOT_C, SLOT_CA, SLOT_N, SLOT_O

_LENGTH = 0.125
_ANGLE = math.radians(117.0)
_SMALL = 1e-6


def finish_termini(chains: Chains, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Build O and OXT of every residue that is not joined to a next one.

    Both lie 0.125 nm from C, at 117 degrees to CA-C and in one plane with it, as Amber has them. O keeps the side of
    that axis on which it was; where it lies on the axis, it is put opposite to N.

    Args:
        chains: residues.
        positions: [n_frames, n_residues, 14, 3], nm.

    Returns:
        Positions with O moved, [n_frames, n_residues, 14, 3], and OXT, [n_frames, n_residues, 3], which holds the
        position of C in residues that are joined to a next one.

    Example:
        >>> chains = Chains.from_sequence("G")
        >>> positions = torch.zeros(1, 1, 14, 3)
        >>> positions[0, 0, :4] = torch.tensor([[-0.05, 0.137, 0], [0.0, 0, 0], [0.15, 0, 0], [0.2, -0.1, 0]])
        >>> _, oxt = finish_termini(chains, positions)
        >>> [round(each, 4) for each in oxt[0, 0].tolist()]
        [0.2067, 0.1114, 0.0]
    """
    n, ca, c, o = (positions[:, :, each] for each in (SLOT_N, SLOT_CA, SLOT_C, SLOT_O))
    axis = _unit(c - ca)
    across = _across(o - c, axis)
    spare = _across(c - n, axis)
    side = _unit(torch.where(across.norm(dim=-1, keepdim=True) > _SMALL, across, spare))
    along, out = -math.cos(_ANGLE) * _LENGTH * axis, math.sin(_ANGLE) * _LENGTH * side
    ends = ~chains.joined[:, None]
    built = positions.clone()
    built[:, :, SLOT_O] = torch.where(ends, c + along + out, o)
    return built, torch.where(ends, c + along - out, c)


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = vector.norm(dim=-1, keepdim=True)
    return vector / length.clamp_min(1e-12)


def _across(vector: Tensor, axis: Tensor) -> Tensor:
    return vector - (vector * axis).sum(-1, keepdim=True) * axis
