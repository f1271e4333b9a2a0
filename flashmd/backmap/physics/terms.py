"""Energies of terms with the slopes and curvatures that a Gauss-Newton step needs.

Every term is a function phi(q) of one number q that its atoms define: a distance, a height over a plane, a torsion. Its
gradient is phi'(q) dq/dx; of the Hessian the part max(phi'', 0) dq/dx dq/dx^T is kept, which is never negative.
Coordinates are component-major, [3, n_atoms], with the atoms of all frames in a row, which is the fastest layout to
gather from and to add to.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-9


@dataclass(frozen=True)
class Linear:
    """Terms of the same sort around given coordinates.

    Attributes:
        atoms: [k, n], int64, atoms over all frames.
        energy: [n], kJ/mol.
        slope: [n], phi'(q).
        curvature: [n], max(phi''(q), 0).
        directions: k tensors [3, n], dq/dx of each atom.
    """

    atoms: Tensor
    energy: Tensor
    slope: Tensor
    curvature: Tensor
    directions: tuple[Tensor, ...]

    def along(self, moves: Tensor) -> Tensor:
        """Return the change of every q for moves of the atoms: [3, n_atoms] to [n]."""
        parts = (
            (direction * moves.index_select(1, atoms)).sum(0)
            for atoms, direction in zip(self.atoms, self.directions, strict=True)
        )
        return torch.stack(list(parts)).sum(0) if len(self.directions) > 2 else next(parts) + next(parts)

    def add_(self, target: Tensor, weight: Tensor) -> None:
        """Add weight dq/dx of every term to its atoms: [n] into [3, n_atoms]."""
        for atoms, direction in zip(self.atoms, self.directions, strict=True):
            target.index_add_(1, atoms, direction * weight)


def _pair(positions: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances [n] and unit vectors [3, n] from the second atom to the first."""
    apart = positions.index_select(1, atoms[0]) - positions.index_select(1, atoms[1])
    distance = apart.square().sum(0).sqrt()
    return distance, apart / distance.clamp_min(_TINY)


def springs(positions: Tensor, atoms: Tensor, length: Tensor, stiffness: Tensor) -> Linear:
    """Return harmonic distances, phi = k/2 (r - r0)^2.

    Args:
        positions: [3, n_atoms], nm.
        atoms: [2, n].
        length: [n], nm.
        stiffness: [n], kJ/mol/nm^2.
    """
    distance, unit = _pair(positions, atoms)
    slope = stiffness * (distance - length)
    return Linear(atoms, 0.5 * slope * (distance - length), slope, stiffness, (unit, -unit))


def contacts(positions: Tensor, atoms: Tensor, length: Tensor, stiffness: float) -> Linear:
    """Return springs that only push, phi = k/2 (r0 - r)^2 for r < r0."""
    distance, unit = _pair(positions, atoms)
    overlap = (length - distance).clamp_min(0)
    curvature = torch.where(overlap > 0, stiffness, 0.0).to(overlap)
    return Linear(atoms, 0.5 * stiffness * overlap.square(), -stiffness * overlap, curvature, (unit, -unit))


def heights(positions: Tensor, atoms: Tensor, area: Tensor, stiffness: float) -> Linear:
    """Return planarity, phi = k/2 h^2 with h = (a - d) . ((b - d) x (c - d)) / A.

    With A twice the ideal area of a, b, c, the height of d over their plane; smooth for all coordinates.

    Args:
        positions: [3, n_atoms], nm.
        atoms: [4, n], a, b, c and d.
        area: [n], A, nm^2.
        stiffness: kJ/mol/nm^2.
    """
    a, b, c, d = (positions.index_select(1, each) for each in atoms)
    height, directions = _volume(a - d, b - d, c - d, area)
    curvature = torch.full_like(height, stiffness)
    return Linear(atoms, 0.5 * stiffness * height.square(), stiffness * height, curvature, directions)


def sides(positions: Tensor, atoms: Tensor, area: Tensor, least: float, stiffness: float) -> Linear:
    """Return walls that keep heights positive, phi = k/2 (h0 - h)^2 for h < h0 with h as in `heights`.

    Args:
        positions: [3, n_atoms], nm.
        atoms: [4, n], neighbours a, b and c of a chiral centre d.
        area: [n], A, nm^2.
        least: h0, nm.
        stiffness: kJ/mol/nm^2.
    """
    a, b, c, d = (positions.index_select(1, each) for each in atoms)
    height, directions = _volume(a - d, b - d, c - d, area)
    missing = (least - height).clamp_min(0)
    curvature = torch.where(missing > 0, stiffness, 0.0).to(missing)
    return Linear(atoms, 0.5 * stiffness * missing.square(), -stiffness * missing, curvature, directions)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Return the vector product of component-major vectors, [3, n]."""
    return torch.stack((a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]))


def _volume(a: Tensor, b: Tensor, c: Tensor, scale: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return a . (b x c) / scale and its derivatives by four corners, of which the last is the origin."""
    of_a, of_b, of_c = cross(b, c) / scale, cross(c, a) / scale, cross(a, b) / scale
    return (a * of_a).sum(0), (of_a, of_b, of_c, -(of_a + of_b + of_c))


def torsions(positions: Tensor, atoms: Tensor, values: Tensor) -> Linear:
    """Return cosines of torsions, phi = sum k (1 + cos(n w - w0)).

    Derivatives of the torsion w follow Blondel and Karplus, J. Comput. Chem. 17, 1132 (1996), eq. 27.

    Args:
        positions: [3, n_atoms], nm.
        atoms: [4, n].
        values: [3 c, n], n, w0 (rad) and k (kJ/mol) of the c cosines of every torsion.
    """
    one, two, three, four = (positions.index_select(1, each) for each in atoms)
    f, g, h = one - two, two - three, four - three
    a, b = cross(f, g), cross(h, g)
    aa, bb = a.square().sum(0).clamp_min(_FLAT), b.square().sum(0).clamp_min(_FLAT)
    length = g.square().sum(0).clamp_min(_FLAT).sqrt()
    angle = torch.atan2((cross(b, a) * g).sum(0) / length, (a * b).sum(0))
    first, last = -a * (length / aa), b * (length / bb)
    shift = a * ((f * g).sum(0) / (aa * length)) - b * ((h * g).sum(0) / (bb * length))
    order, phase, k = values.unflatten(0, (-1, 3)).unbind(1)
    argument = order * angle - phase
    cosine = argument.cos()
    slope, bend = -(k * order * argument.sin()).sum(0), -(k * order.square() * cosine).sum(0)
    directions = (first, shift - first, -shift - last, last)
    return Linear(atoms, (k * (1 + cosine)).sum(0), slope, bend.clamp_min(0), directions)


_FLAT = 1e-8


def lennard_jones(positions: Tensor, atoms: Tensor, minimum: Tensor, depth: Tensor, cutoff: float) -> Linear:
    """Return phi = e [(m/r)^12 - 2 (m/r)^6], shifted to 0 at a cutoff and beyond it.

    Below 0.8 m the energy goes on as its parabola, so that overlaps stay finite.

    Args:
        positions: [3, n_atoms], nm.
        atoms: [2, n].
        minimum: [n], m, nm.
        depth: [n], e, kJ/mol.
        cutoff: nm.
    """
    distance, unit = _pair(positions, atoms)
    inner = distance.clamp_min(_SOFT * minimum)
    sixth, end = (minimum / inner) ** 6, (minimum / cutoff) ** 6
    energy, slope = depth * (sixth * (sixth - 2) - end * (end - 2)), -12 * depth * sixth * (sixth - 1) / inner
    bend = 12 * depth * sixth * (13 * sixth - 7) / inner.square()
    inside = distance - inner
    energy = energy + inside * (slope + 0.5 * bend * inside)
    near = distance < cutoff
    return Linear(atoms, energy * near, (slope + bend * inside) * near, bend.clamp_min(0) * near, (unit, -unit))


_SOFT = 0.8
