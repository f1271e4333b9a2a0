"""Damped Gauss-Newton steps for many structures at once, solved by conjugate gradients.

A step p solves (H + damping) p = -g with H = sum phi'' dq/dx dq/dx^T. Atoms that may not move have no unknowns. The
preconditioner is the inverse of the 3 x 3 block of every atom. All scalars of the iteration belong to one frame, so
frames do not know of each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flashmd.backmap.physics.terms import Linear

_TINY = 1e-30


def gradient(terms: Sequence[Linear], positions: Tensor) -> Tensor:
    """Return the derivative of the energy of all terms: [3, n_atoms]."""
    total = torch.zeros_like(positions)
    for term in terms:
        term.add_(total, term.slope)
    return total


def energies(terms: Sequence[Linear], n_frames: int, n_atoms: int) -> Tensor:
    """Return the energy of every frame, kJ/mol: [n_frames], float64.

    Args:
        terms: linearised terms.
        n_frames: number of frames.
        n_atoms: atoms of one frame.
    """
    device = terms[0].energy.device
    total = torch.zeros(n_frames, dtype=torch.float64, device=device)
    for term in terms:
        total.index_add_(0, term.atoms[0] // n_atoms, term.energy.double())
    return total


def _blocks(terms: Sequence[Linear], positions: Tensor, damping: Tensor) -> Tensor:
    """Return the inverse 3 x 3 blocks of the damped Hessian: [6, n_atoms], order xx yy zz xy xz yz."""
    total = positions.new_zeros(6, positions.shape[1])
    total[:3] = damping
    for term in terms:
        for atoms, direction in zip(term.atoms, term.directions, strict=True):
            weighted = direction * term.curvature
            square = torch.cat([weighted * direction, weighted[:1] * direction[1:], weighted[1:2] * direction[2:]])
            total.index_add_(1, atoms, square)
    xx, yy, zz, xy, xz, yz = total.double()  # a stiff bond beside the damping leaves few digits of a determinant
    inverse = torch.stack(
        (
            yy * zz - yz * yz,
            xx * zz - xz * xz,
            xx * yy - xy * xy,
            xz * yz - xy * zz,
            xy * yz - xz * yy,
            xy * xz - xx * yz,
        )
    )
    determinant = xx * inverse[0] + xy * inverse[3] + xz * inverse[4]
    blocks: Tensor = inverse / determinant
    return blocks.to(positions)


def _apply(blocks: Tensor, vector: Tensor) -> Tensor:
    xx, yy, zz, xy, xz, yz = blocks
    x, y, z = vector
    return torch.stack((xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z))


def solve(
    terms: Sequence[Linear], slope: Tensor, free: Tensor, damping: Tensor, *, n_frames: int, iterations: int
) -> Tensor:
    """Return the step of every atom, nm: [3, n_atoms].

    Args:
        terms: linearised terms.
        slope: [3, n_atoms], gradient of the energy.
        free: [n_atoms], 1 for atoms that may move, 0 for others.
        damping: [n_atoms], kJ/mol/nm^2, the same for all atoms of a frame.
        n_frames: number of frames.
        iterations: conjugate-gradient iterations.
    """

    def dot(one: Tensor, other: Tensor) -> Tensor:
        return (one * other).reshape(3, n_frames, -1).sum(2).sum(0)

    def scaled(vector: Tensor, factor: Tensor) -> Tensor:
        return (vector.reshape(3, n_frames, -1) * factor[:, None]).reshape(3, -1)

    blocks = _blocks(terms, slope, damping) * free
    step, residual = torch.zeros_like(slope), -slope * free
    ready = _apply(blocks, residual)
    search, size = ready, dot(residual, ready)
    for _ in range(iterations):
        product = damping * search
        for term in terms:
            term.add_(product, term.curvature * term.along(search))
        product = product * free
        pace = size / dot(search, product).clamp_min(_TINY)
        step = step + scaled(search, pace)
        residual = residual - scaled(product, pace)
        ready = _apply(blocks, residual)
        fresh = dot(residual, ready)
        search = ready + scaled(search, fresh / size.clamp_min(_TINY))
        size = fresh
    return step


def clipped(step: Tensor, longest: float) -> Tensor:
    """Return a step with no atom moving farther than `longest`, nm."""
    length = step.square().sum(0).sqrt()
    return step * (longest / length.clamp_min(longest))
