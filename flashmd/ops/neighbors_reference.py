"""Neighbour pairs without compiled code of our own: brute force in PyTorch, and vesin for one large system."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from flashmd.errors import message, require
from flashmd.system import System

Pairs = tuple[Tensor, Tensor, Tensor]


def brute_force_pairs(system: System, cutoff: float) -> Pairs:
    """Test every pair of atoms of each system in every periodic image that can reach the cutoff.

    Returns:
        receiver [n_edges], sender [n_edges] and shift [n_edges, 3], int64, in no particular order.
    """
    bounds = system.ptr.tolist()
    found = [
        _pairs_of_one(
            system.positions[begin:end].detach(), system.cell[index].detach(), system.pbc[index], cutoff, begin
        )
        for index, (begin, end) in enumerate(itertools.pairwise(bounds))
    ]
    empty = system.ptr.new_zeros(0)
    found.append((empty, empty, empty.new_zeros(0, 3)))
    receiver, sender, shift = (torch.cat(parts) for parts in zip(*found, strict=True))
    return receiver, sender, shift


def _pairs_of_one(positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float, offset: int) -> Pairs:
    positions, cell = positions.to(torch.float64), cell.to(torch.float64)
    basis = complete_cell(cell, pbc)
    wrap = torch.where(pbc, torch.floor(positions @ torch.linalg.inv(basis)), 0.0)
    heights = 1.0 / torch.linalg.vector_norm(torch.linalg.inv(basis), dim=0)
    reach = [
        int(cutoff / height) + 1 if flag else 0 for height, flag in zip(heights.tolist(), pbc.tolist(), strict=True)
    ]
    axes = [torch.arange(-n, n + 1, device=positions.device, dtype=torch.float64) for n in reach]
    receivers, senders, shifts = [], [], []
    for image in torch.cartesian_prod(*axes):
        shift = image - wrap[None, :, :] + wrap[:, None, :]
        moved = shift[..., 0:1] * cell[0] + shift[..., 1:2] * cell[1] + shift[..., 2:3] * cell[2]
        vector = (positions[None, :, :] - positions[:, None, :]) + moved
        inside = vector.square().sum(-1) < cutoff * cutoff
        inside &= ~((shift == 0).all(-1) & torch.eye(len(positions), dtype=torch.bool, device=positions.device))
        receiver, sender = inside.nonzero(as_tuple=True)
        receivers.append(receiver + offset)
        senders.append(sender + offset)
        shifts.append(shift[receiver, sender].to(torch.int64))
    return torch.cat(receivers), torch.cat(senders), torch.cat(shifts)


def complete_cell(cell: Tensor, pbc: Tensor) -> Tensor:
    """Replace lattice vectors of open directions by unit vectors orthogonal to the periodic ones, [3, 3].

    Open directions carry no images, so their vectors (often zero) must not shape the search.
    """
    flags = pbc.tolist()
    if all(flags):
        return cell
    rows = [row for row, flag in zip(cell, flags, strict=True) if flag]
    normals: list[Tensor] = []
    if len(rows) == 2:
        normals = [torch.linalg.cross(rows[0], rows[1])]
    elif len(rows) == 1:
        start = torch.zeros_like(cell[0])
        start[int(rows[0].abs().argmin())] = 1.0
        normals = [torch.linalg.cross(rows[0], start)]
        normals.append(torch.linalg.cross(rows[0], normals[0]))
    else:
        normals = list(torch.eye(3, dtype=cell.dtype, device=cell.device))
    unit = iter(normal / torch.linalg.vector_norm(normal) for normal in normals)
    return torch.stack([row if flag else next(unit) for row, flag in zip(cell, flags, strict=True)])


def vesin_pairs(system: System, cutoff: float) -> Pairs:
    """Let vesin (cell list) find the pairs of a single system, open or periodic along all or some vectors."""
    try:
        from vesin import NeighborList
    except ImportError as error:
        raise require("vesin", "vesin") from error
    if system.n_systems != 1:
        fix = 'use `backend="kernel"` for batches'
        raise ValueError(message("`system`", "one system for vesin", f"{system.n_systems}", fix))
    cell = complete_cell(system.cell[0].to(torch.float64), system.pbc[0]).cpu().numpy()
    points = system.positions.detach().to(torch.float64).cpu().numpy()
    calculator = NeighborList(cutoff=math.nextafter(cutoff, 0.0), full_list=True)
    receiver, sender, shift = calculator.compute(points, cell, system.pbc[0].cpu().numpy(), "ijS")
    device = system.positions.device
    return tuple(torch.from_numpy(part.astype("int64")).to(device) for part in (receiver, sender, shift))  # type: ignore[return-value]
