"""Residues that are drawn again because a bond passes through a ring, while all others stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.physics import ring_penetrations

TRIES = 4
"""Draws of the residues of one structure before the bonds that are left in rings are left there."""

Draw = Callable[[int, Tensor, Tensor, int], Tensor]
"""Draws some residues: place of the structure in the batch, its positions [1, n_residues, 14, 3] in nm, the residues to
draw [n_residues], number of the try from 1; returns positions of the same shape."""


def redraw_pierced(
    chains: Chains, positions: Tensor, draw: Draw, *, disulfides: Sequence[tuple[int, int]] = ()
) -> tuple[Tensor, Tensor]:
    """Draw residues again whose ring has a bond inside, and those of the bond.

    A try is kept if fewer bonds pass through rings than before it. Each structure is drawn on its own, so it does not
    depend on the others.

    Args:
        chains: residues.
        positions: [n, n_residues, 14, 3], nm.
        draw: draws residues of one structure.
        disulfides: pairs of residues with a bond between their SG.

    Returns:
        positions: [n, n_residues, 14, 3], nm.
        redrawn: [n], int64, residues that are not those of `positions`.
    """
    found = ring_penetrations(chains, positions, disulfides=disulfides)
    redrawn = torch.zeros(len(positions), dtype=torch.int64)
    result = positions.clone() if len(found.frame) else positions
    for row in found.frame.unique().tolist():
        result[row], redrawn[row] = _one(chains, positions[row : row + 1], row, draw, disulfides)
    return result, redrawn


def _one(
    chains: Chains, structure: Tensor, row: int, draw: Draw, disulfides: Sequence[tuple[int, int]]
) -> tuple[Tensor, int]:
    """Return the best structure of all tries, [n_residues, 14, 3], and how many of its residues are new."""
    found = ring_penetrations(chains, structure, disulfides=disulfides)
    new = torch.zeros_like(chains.joined)
    for attempt in range(1, TRIES + 1):
        chosen = found.residues(1, chains.n_residues)[0]
        drawn = torch.where(chosen[:, None, None], draw(row, structure, chosen, attempt), structure)
        left = ring_penetrations(chains, drawn, disulfides=disulfides)
        if len(left.frame) < len(found.frame):
            structure, found, new = drawn, left, new | chosen
        if not len(found.frame):
            break
    return structure[0], int(new.sum())
