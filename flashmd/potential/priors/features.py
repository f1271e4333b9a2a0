r"""Internal coordinates of two, three and four atoms with their closed-form gradients.

A feature reads displacement vectors between the atoms of a term and gives one number. Its gradient with respect to
those vectors yields forces and virial alike. All forms stay finite for collinear atoms: a torsion is taken to be zero
there and every undefined gradient is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-20
"""Added to squared lengths (nm^2) and areas (nm^4): far below rounding of any regular geometry, safe in float32."""

Vectors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Feature:
    """An internal coordinate.

    Attributes:
        name: what it is.
        order: atoms of a term.
        ends: pairs (a, b) of atoms of the term; vector i is x_b - x_a, nm.
        value: maps the vectors, each [n, 3], to [n]; differentiable to any order.
        value_and_gradient: the same with the gradient with respect to each vector, [n, 3]; needs no autograd.
    """

    name: str
    order: int
    ends: tuple[tuple[int, int], ...]
    value: Callable[[Vectors], Tensor]
    value_and_gradient: Callable[[Vectors], tuple[Tensor, Vectors]]


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return torch.sum(left * right, -1)


def _distance(vectors: Vectors) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors[0], dim=-1)
    return length


def _distance_gradient(vectors: Vectors) -> tuple[Tensor, Vectors]:
    length = torch.linalg.vector_norm(vectors[0], dim=-1)
    return length, (vectors[0] / length.clamp_min(_TINY)[:, None],)


def _cosine(vectors: Vectors) -> Tensor:
    left, right = vectors
    return _dot(left, right) * torch.rsqrt(_dot(left, left) * _dot(right, right) + _TINY)


def _cosine_gradient(vectors: Vectors) -> tuple[Tensor, Vectors]:
    left, right = vectors
    left_square, right_square = _dot(left, left), _dot(right, right)
    inverse = torch.rsqrt(left_square * right_square + _TINY)
    cosine = _dot(left, right) * inverse
    to_left = right * inverse[:, None] - left * (cosine / left_square.clamp_min(_TINY))[:, None]
    to_right = left * inverse[:, None] - right * (cosine / right_square.clamp_min(_TINY))[:, None]
    return cosine, (to_left, to_right)


def _angle(vectors: Vectors) -> Tensor:
    normal = torch.linalg.cross(*vectors)
    return torch.atan2(torch.sqrt(_dot(normal, normal) + _TINY), _dot(*vectors))


def _angle_gradient(vectors: Vectors) -> tuple[Tensor, Vectors]:
    left, right = vectors
    normal = torch.linalg.cross(left, right)
    area = torch.sqrt(_dot(normal, normal) + _TINY)
    unit = normal / area[:, None]
    to_left = torch.linalg.cross(left, unit) / _dot(left, left).clamp_min(_TINY)[:, None]
    to_right = torch.linalg.cross(unit, right) / _dot(right, right).clamp_min(_TINY)[:, None]
    return torch.atan2(area, _dot(left, right)), (to_left, to_right)


def _torsion(vectors: Vectors) -> Tensor:
    first, middle, last = vectors
    normal, next_normal = torch.linalg.cross(first, middle), torch.linalg.cross(middle, last)
    sine = torch.sqrt(_dot(middle, middle) + _TINY) * _dot(first, next_normal)
    cosine = _dot(normal, next_normal)
    flat = (_dot(normal, normal) <= _TINY) | (_dot(next_normal, next_normal) <= _TINY)
    return torch.atan2(sine.masked_fill(flat, 0.0), cosine.masked_fill(flat, 1.0))


def _torsion_gradient(vectors: Vectors) -> tuple[Tensor, Vectors]:
    first, middle, last = vectors
    normal, next_normal = torch.linalg.cross(first, middle), torch.linalg.cross(middle, last)
    square, next_square = _dot(normal, normal), _dot(next_normal, next_normal)
    flat = (square <= _TINY) | (next_square <= _TINY)
    middle_square = _dot(middle, middle) + _TINY
    length = torch.sqrt(middle_square)
    sine = (length * _dot(first, next_normal)).masked_fill_(flat, 0.0)
    cosine = _dot(normal, next_normal).masked_fill_(flat, 1.0)
    to_first = normal * (length / square).masked_fill_(flat, 0.0)[:, None]
    to_last = next_normal * (length / next_square).masked_fill_(flat, 0.0)[:, None]
    along_first, along_last = _dot(first, middle) / middle_square, _dot(last, middle) / middle_square
    to_middle = -to_first * along_first[:, None] - to_last * along_last[:, None]
    return torch.atan2(sine, cosine), (to_first, to_middle, to_last)


DISTANCE = Feature("distance", 2, ((0, 1),), _distance, _distance_gradient)
"""Length of ``x_1 - x_0``, nm."""
COSINE = Feature("cosine", 3, ((1, 0), (1, 2)), _cosine, _cosine_gradient)
"""Cosine of the angle at the middle atom."""
ANGLE = Feature("angle", 3, ((1, 0), (1, 2)), _angle, _angle_gradient)
"""Angle at the middle atom, rad, in [0, pi]: ``atan2(|u x v|, u . v)``."""
TORSION = Feature("torsion", 4, ((0, 1), (1, 2), (2, 3)), _torsion, _torsion_gradient)
"""Dihedral angle, rad, in (-pi, pi], IUPAC sign:
``atan2(|b2| b1 . (b2 x b3), (b1 x b2) . (b2 x b3))``."""
FEATURES = (DISTANCE, COSINE, ANGLE, TORSION)
