"""A right-handed frame on every C-alpha, built from the trace alone.

Axes of residue i: e1 along CA(i+1) - CA(i-1), e2 from the middle of those two towards CA(i), e3 = e1 x e2. Whatever is
expressed in these frames is invariant under rotations and translations but not under reflections: left- and
right-handed residues differ. Where a neighbour is missing, a virtual one continues the trace.
"""

from __future__ import annotations

import torch
from torch import Tensor

CA_SPACING = 0.38
"""nm, distance of neighbouring C-alphas over a trans peptide bond."""
DEGENERATE = 1e-4
"""nm, below this length a direction is undefined."""
N_SHAPES = 6
"""Classes of `trace_shape`."""
_SHAPE_EDGES = (0.585, 0.660)
"""nm, limits of CA(i-1)-CA(i+1) between helix-like, intermediate and extended residues."""


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = vector.norm(dim=-1, keepdim=True)
    return vector / length.clamp_min(DEGENERATE)


def _perpendicular(axis: Tensor) -> Tensor:
    """Return a unit vector at right angles to a unit vector: [..., 3]."""
    smallest = torch.nn.functional.one_hot(axis.abs().argmin(-1), 3).to(axis)
    return _unit(torch.linalg.cross(axis, smallest))


def _third_points(ca: Tensor, partner: Tensor) -> Tensor:
    """Return the CA closest to each residue that is neither itself nor its partner: [n_frames, n_residues, 3]."""
    n_residues = ca.shape[-2]
    if n_residues < 3:
        return ca + CA_SPACING * torch.tensor([0.0, 0.0, 1.0]).to(ca)
    distance = torch.cdist(ca, ca)
    own = torch.arange(n_residues, device=ca.device)
    distance[:, own, own] = torch.inf
    distance[:, own, partner] = torch.inf
    nearest = distance.argmin(-1)
    return ca.gather(1, nearest[..., None].expand_as(ca))


def trace_neighbors(ca: Tensor, joined: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positions before and after every residue along the trace, virtual ones at its ends.

    The virtual point before a first residue i lies along CA(i+1) - CA(i+2), so that the trace goes on as a zigzag in
    its plane. Pieces of fewer than three residues take the nearest other CA in place of the missing one.

    Args:
        ca: [n_frames, n_residues, 3], nm.
        joined: [n_residues], bool, bonded to the next residue.
    """
    n_residues = ca.shape[1]
    index = torch.arange(n_residues, device=ca.device)
    has_next = joined
    has_previous = torch.cat([joined.new_zeros(1), joined[:-1]])
    after, before = (index + 1).clamp_max(n_residues - 1), (index - 1).clamp_min(0)
    previous, following = ca[:, before], ca[:, after]
    partner = torch.where(has_next, after, before)
    other = _third_points(ca, partner) if not bool((has_next & has_previous).all()) else ca
    second_after = torch.where(
        (has_next & has_next[after])[:, None], ca[:, (index + 2).clamp_max(n_residues - 1)], other
    )
    second_before = torch.where((has_previous & has_previous[before])[:, None], ca[:, (index - 2).clamp_min(0)], other)
    lone = (~has_next & ~has_previous)[:, None]
    nearby = torch.where(lone, other, following)
    start = ca + CA_SPACING * _unit(nearby - torch.where(lone, ca, second_after))
    following = torch.where(has_next[:, None], following, ca + CA_SPACING * _unit(previous - second_before))
    previous = torch.where(has_previous[:, None], previous, start)
    across = _unit(previous - ca)
    following = torch.where(lone, ca + CA_SPACING * _perpendicular(across), following)
    return previous, following


def local_frames(ca: Tensor, joined: Tensor) -> tuple[Tensor, Tensor]:
    """Return frames and the class of the local shape of the trace.

    Classes: 0 helix-like, 1 intermediate, 2 extended (by the distance CA(i-1)-CA(i+1)); 3 first, 4 last residue of a
    piece of the chain; 5 a residue on its own.

    Args:
        ca: [n_frames, n_residues, 3], nm.
        joined: [n_residues], bool, bonded to the next residue.

    Returns:
        Axes as columns [n_frames, n_residues, 3, 3] and classes [n_frames, n_residues], int64.

    Example:
        >>> import torch
        >>> ca = torch.tensor([[[0.0, 0, 0], [0.3, 0.2, 0], [0.6, 0, 0], [0.9, 0.2, 0]]])
        >>> axes, shape = local_frames(ca, torch.tensor([True, True, True, False]))
        >>> axes[0, 1, :, 0].tolist(), shape.tolist()
        ([1.0, 0.0, 0.0], [[3, 1, 1, 4]])
    """
    previous, following = trace_neighbors(ca, joined)
    along = following - previous
    folded = along.norm(dim=-1, keepdim=True) < DEGENERATE
    e1 = _unit(torch.where(folded, following - ca, along))
    bend = ca - (previous + following) / 2
    bend = bend - (bend * e1).sum(-1, keepdim=True) * e1
    straight = bend.norm(dim=-1, keepdim=True) < DEGENERATE
    e2 = torch.where(straight, _perpendicular(e1), _unit(bend))
    axes = torch.stack([e1, e2, torch.linalg.cross(e1, e2)], dim=-1)
    span = along.norm(dim=-1)
    shape = torch.bucketize(span.contiguous(), torch.tensor(_SHAPE_EDGES, dtype=span.dtype, device=span.device))
    has_previous = torch.cat([joined.new_zeros(1), joined[:-1]])
    shape = torch.where(has_previous & joined, shape, torch.where(joined, 3, torch.where(has_previous, 4, 5)))
    return axes, shape


def to_local(positions: Tensor, ca: Tensor, axes: Tensor) -> Tensor:
    """Express points of each residue in its frame: [..., n_residues, k, 3], nm."""
    return (positions - ca[..., None, :]) @ axes


def to_world(local: Tensor, ca: Tensor, axes: Tensor) -> Tensor:
    """Undo `to_local`."""
    return local @ axes.transpose(-1, -2) + ca[..., None, :]
