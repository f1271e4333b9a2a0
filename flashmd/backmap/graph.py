"""Residues of many frames in one row, and the graph of their neighbours, built once for all times of the flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.frames import local_frames, to_local
from flashmd.backmap.residues import slot_mask

MAX_OFFSET = 8
"""Neighbours along the chain are told apart up to so many residues."""
WINDOW = 4
"""So many CA atoms before and after a residue belong to what it knows of the trace."""


@dataclass(frozen=True)
class Trace:
    """Residues of one or more frames in one row, with what is given of them.

    Attributes:
        types: [n], int64.
        shapes: [n], int64, see `local_frames`.
        ca: [n, 3], nm.
        axes: [n, 3, 3], columns are the axes of the frames.
        known: [n, 14], bool, atoms that are given.
        centroids: [n, 3], nm, given centre of the side chain in the local frame, zero where there is none.
        has_centroid: [n], bool.
        window: [n, 2 * WINDOW, 4], nm, the CA atoms before and after along the chain in the local frame, each with a
            one; zeros where there is none.
        place: [n], int64, grows by one along a piece of chain and jumps by more between pieces and frames.
    """

    types: Tensor
    shapes: Tensor
    ca: Tensor
    axes: Tensor
    known: Tensor
    centroids: Tensor
    has_centroid: Tensor
    window: Tensor
    place: Tensor

    def __getitem__(self, chosen: Tensor) -> Trace:
        """Return some of the residues."""
        return Trace(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @property
    def free(self) -> Tensor:
        """Which atoms the flow moves: [n, 14], bool."""
        return slot_mask().to(self.types.device)[self.types] & ~self.known


@dataclass(frozen=True)
class Graph:
    """Neighbours and what the trace alone says of them.

    Attributes:
        neighbors: [n, k], int64.
        rotation: [n, k, 3, 3], from the neighbour's frame to the own one.
        shift: [n, k, 3], CA of the neighbour in the own frame, nm.
        offset: [n, k], int64, place of the neighbour along the chain, clamped; the last value is another piece.
        sizes: number of residues of each protein.
    """

    neighbors: Tensor
    rotation: Tensor
    shift: Tensor
    offset: Tensor
    sizes: tuple[int, ...]


def make_trace(
    chains: Chains, ca: Tensor, known: Tensor, centroids: Tensor | None = None, has_centroid: Tensor | None = None
) -> Trace:
    """Lay the residues of all frames in one row.

    Args:
        chains: the protein.
        ca: [n_frames, n_residues, 3], nm.
        known: [n_residues, 14], bool.
        centroids: [n_frames, n_residues, 3], nm, centres of side chains.
        has_centroid: [n_residues], bool, where `centroids` holds.
    """
    n_frames, n_residues = ca.shape[:2]
    axes, shapes = local_frames(ca, chains.joined)
    piece = torch.cat([chains.joined.new_zeros(1), chains.joined[:-1]]).logical_not().long().cumsum(0)
    index = torch.arange(n_residues, device=ca.device)
    place = index + 1000 * piece + 10**7 * torch.arange(n_frames, device=ca.device)[:, None]
    has = torch.zeros(n_residues, dtype=torch.bool, device=ca.device) if has_centroid is None else has_centroid
    given = ca if centroids is None else centroids
    centred = to_local(given[..., None, :], ca, axes)[..., 0, :] * has[:, None]
    return Trace(
        types=chains.types.repeat(n_frames),
        shapes=shapes.reshape(-1),
        ca=ca.reshape(-1, 3),
        axes=axes.reshape(-1, 3, 3),
        known=known.repeat(n_frames, 1),
        centroids=centred.reshape(-1, 3),
        has_centroid=has.repeat(n_frames),
        window=_window(ca, axes, piece).reshape(-1, 2 * WINDOW, 4),
        place=place.reshape(-1),
    )


def _window(ca: Tensor, axes: Tensor, piece: Tensor) -> Tensor:
    """Return the neighbours along the chain in the local frames: [n_frames, n_residues, 2 * WINDOW, 4]."""
    n_residues = ca.shape[1]
    offsets = torch.tensor([k for k in range(-WINDOW, WINDOW + 1) if k], device=ca.device)
    index = torch.arange(n_residues, device=ca.device)[:, None] + offsets
    inside = (index >= 0) & (index < n_residues)
    index = index.clamp(0, n_residues - 1)
    there = (inside & (piece[index] == piece[:, None]))[..., None].to(ca)
    local = to_local(ca[:, index], ca, axes)
    return torch.cat([local * there, there.expand(ca.shape[0], -1, -1, -1)], dim=-1)


def join_traces(parts: Sequence[Trace]) -> Trace:
    """Put several traces into one row."""
    return Trace(**{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Trace)})


def make_graph(trace: Trace, sizes: Sequence[int], n_neighbors: int) -> Graph:
    """Connect every residue with the residues of its frame whose CA atoms are closest.

    Args:
        trace: residues of all frames or proteins in one row.
        sizes: number of residues of each.
        n_neighbors: neighbours of a residue; where a protein has fewer, all of them count again from the nearest on, so
            that the mean of their messages stays what a network knows from larger proteins.
    """
    parts, start = [], 0
    for size, ca in zip(sizes, trace.ca.split(list(sizes)), strict=True):
        distance = torch.cdist(ca, ca, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
        near = distance.topk(max(1, min(n_neighbors, size - 1)), dim=-1, largest=False).indices
        parts.append(near.repeat(1, -(-n_neighbors // near.shape[1]))[:, :n_neighbors] + start)
        start += size
    neighbors = torch.cat(parts)
    back = trace.axes.transpose(1, 2)[:, None]
    offset = trace.place[neighbors] - trace.place[:, None]
    inside = offset.abs() < 500
    return Graph(
        neighbors=neighbors,
        rotation=back @ trace.axes[neighbors],
        shift=(back @ (trace.ca[neighbors] - trace.ca[:, None])[..., None])[..., 0],
        offset=torch.where(inside, offset.clamp(-MAX_OFFSET, MAX_OFFSET) + MAX_OFFSET, 2 * MAX_OFFSET + 1),
        sizes=tuple(sizes),
    )
