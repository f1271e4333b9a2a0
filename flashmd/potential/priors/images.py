"""Displacements between the atoms of listed terms, through the nearest periodic image."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.system import System


def displacements(system: System, start: Tensor, end: Tensor) -> Tensor:
    """Return ``x_end - x_start`` of the nearest image, differentiable in positions and cell.

    The rounding of fractional coordinates finds the nearest image for vectors shorter than half the smallest height of
    the cell, which bonded terms are.

    Args:
        system: batch; positions [n_atoms, 3], nm.
        start: [n], atom indices.
        end: [n], atom indices.

    Returns:
        [n, 3], nm.
    """
    positions = system.positions
    vectors = positions.index_select(0, end) - positions.index_select(0, start)
    if bool(system.pbc.any()):
        member = system.batch.index_select(0, start)
        vectors = vectors - image_shift(
            vectors, system.cell.index_select(0, member), system.pbc.index_select(0, member)
        )
    return vectors


def image_shift(vectors: Tensor, cell: Tensor, pbc: Tensor) -> Tensor:
    """Return the lattice vector [n, 3] (nm) nearest to each vector.

    Args:
        vectors: [n, 3], nm.
        cell: [n, 3, 3], nm, rows are lattice vectors.
        pbc: [n, 3], periodic directions.
    """
    # The pseudo-inverse covers slabs and wires: directions without a lattice vector get the coefficient zero.
    lattice = cell.detach() * pbc[:, :, None].to(cell.dtype)
    fractional = torch.bmm(vectors.detach()[:, None], torch.linalg.pinv(lattice))
    return torch.bmm(fractional.round(), cell)[:, 0]
