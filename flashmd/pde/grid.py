"""Time grids of paths: at which shares of the time left a path is seen, and how much each counts in an integral."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre

from flashmd.errors import message

QUADRATURES = ("trapezoid", "lobatto")


@dataclass(frozen=True)
class TimeGrid:
    """Nodes of an integral over [0, 1], both ends among them.

    Attributes:
        shares: [steps + 1], the nodes, from 0 to 1.
        weights: [steps + 1], of the values at the nodes; their sum is 1.
    """

    shares: tuple[float, ...]
    weights: tuple[float, ...]


@functools.lru_cache(maxsize=64)
def time_grid(steps: int, grading: float, quadrature: str) -> TimeGrid:
    """Return the grid of paths of some steps.

    Args:
        steps: gaps between the nodes.
        grading: of the trapezoidal rule: node k lies at ``(k / steps) ** grading``.
        quadrature: "trapezoid", or "lobatto", the rule of Gauss and Lobatto, which is exact for polynomials of
            degree ``2 * steps - 1``.

    >>> time_grid(2, 1.0, "lobatto").shares
    (0.0, 0.5, 1.0)
    """
    if quadrature == "lobatto":
        return _lobatto(steps)
    shares = (np.arange(steps + 1) / steps) ** grading
    gaps = np.diff(shares, prepend=0.0, append=1.0)
    return TimeGrid(tuple(shares.tolist()), tuple((0.5 * (gaps[1:] + gaps[:-1])).tolist()))


def _lobatto(steps: int) -> TimeGrid:
    """The ends and the extrema of the Legendre polynomial of degree `steps`."""
    polynomial = legendre.Legendre.basis(steps)
    inner = np.sort(np.asarray(polynomial.deriv().roots()).real)
    nodes = np.concatenate([[-1.0], inner, [1.0]])
    weights = 1.0 / (steps * (steps + 1) * polynomial(nodes) ** 2)
    return TimeGrid(tuple((0.5 * (nodes + 1.0)).tolist()), tuple(weights.tolist()))


def check_grid(grading: float, quadrature: str) -> None:
    """Raise ValueError where a rule has no grid of this grading."""
    if quadrature == "lobatto" and grading != 1.0:
        fix = 'leave it out, or take quadrature="trapezoid"'
        raise ValueError(message("`grading`", 'nothing but 1 with quadrature "lobatto"', str(grading), fix))
