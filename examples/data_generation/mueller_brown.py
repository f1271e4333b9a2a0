"""Committors and rates on the surface of Mueller and Brown by finite volumes: the table of `MuellerBrownTable`.

Between two neighbours of a square grid flows ``exp(-V/kT)`` at their middle times the difference of the committor;
where a disc cuts the edge, its boundary takes the neighbour's place, nearer by what is cut off. Grids of two spacings
are extrapolated.

python examples/data_generation/mueller_brown.py --kT 10 15 20
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import RectBivariateSpline
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from flashmd.kinetics import MuellerBrownTable, mueller_brown

LOW, HIGH = (-1.5, -0.5), (1.2, 2.0)
CENTRES, RADIUS = ((-0.558, 1.442), (0.623, 0.028)), 0.1
Array = np.ndarray


class Solution(NamedTuple):
    """Committor at the points of the table, mean of q and flux."""

    committor: Array
    mean: float
    flux: float

    @property
    def rates(self) -> tuple[float, float]:
        """From A to B and back."""
        return self.flux / (1.0 - self.mean), self.flux / self.mean


def density(x: Array, y: Array, kT: float) -> Array:
    """Boltzmann factor, relative to a bottom of -147."""
    points = torch.tensor(np.stack([x, y], -1).reshape(-1, 2))
    return np.exp(-(mueller_brown(points).numpy() + 147.0) / kT).reshape(x.shape)


def cut(x: Array, y: Array, dx: float, dy: float) -> tuple[Array, Array]:
    """Part of the edges from points outside the discs that lies outside, 1 without a cut, and q at its end."""
    share, value = np.ones_like(x), np.full_like(x, -1.0)
    for q, (a, b) in enumerate(CENTRES):
        u, v = x - a, y - b
        dot, square = u * dx + v * dy, dx * dx + dy * dy
        inside = dot * dot - square * (u * u + v * v - RADIUS**2)
        first = (-dot - np.sqrt(np.maximum(inside, 0.0))) / square
        hit = (inside > 0.0) & (first > 0.0) & (first < 1.0)
        share, value = np.where(hit, first, share), np.where(hit, float(q), value)
    return share, value


class Edges(NamedTuple):
    """Edges that leave cells: their cell, conductance, other cell, and q where a disc cuts them, otherwise -1."""

    cell: Array
    flow: Array
    other: Array
    wall: Array


def edges(x: Array, y: Array, number: Array, kT: float, axis: int, sign: int) -> Edges:
    """Return the edges from all numbered cells to their neighbours along one axis; none leaves the box."""
    spacing = x[1, 0] - x[0, 0]
    step = (sign * spacing, 0.0) if axis == 0 else (0.0, sign * spacing)
    here = number >= 0
    border = np.moveaxis(here, axis, 0)
    border[-1 if sign > 0 else 0] = False
    share, wall = cut(x[here], y[here], *step)
    flow = density(x[here] + 0.5 * share * step[0], y[here] + 0.5 * share * step[1], kT) / share
    return Edges(number[here], flow, np.roll(number, -sign, axis)[here], wall)


def solve(kT: float, spacing: float) -> Solution:
    """Solve on cells of one size."""
    axes = [
        low + spacing * (np.arange(round((high - low) / spacing)) + 0.5) for low, high in zip(LOW, HIGH, strict=True)
    ]
    x, y = np.meshgrid(*axes, indexing="ij")
    discs = [np.hypot(x - a, y - b) <= RADIUS for a, b in CENTRES]
    free = ~(discs[0] | discs[1])
    number = np.where(free, np.cumsum(free).reshape(free.shape) - 1, -1)
    parts = [edges(x, y, number, kT, axis, sign) for axis in (0, 1) for sign in (1, -1)]
    every = Edges(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    inner = every.wall < 0.0
    entries = np.concatenate([every.flow, -every.flow[inner]])
    places = np.concatenate([every.cell, every.cell[inner]]), np.concatenate([every.cell, every.other[inner]])
    from_walls = np.bincount(every.cell[~inner], (every.flow * every.wall)[~inner], free.sum())
    q = discs[1].astype(float)
    q[free] = spsolve(coo_matrix((entries, places)).tocsc(), from_walls)
    # What flows out of A is the flux: all edges that end on its boundary, where q is 0.
    out = float((every.flow * q[free][every.cell])[every.wall == 0.0].sum())
    weight = density(x, y, kT)
    spline = RectBivariateSpline(*axes, q, kx=3, ky=3, s=0)
    points = MuellerBrownTable.at(20.0).points.numpy()
    mean, whole = float((weight * q).sum() / weight.sum()), float(weight.sum()) * spacing**2
    return Solution(spline(*points.T, grid=False), mean, kT * out / whole)


def extrapolate(kT: float, spacing: float) -> tuple[Solution, float]:
    """Combine a grid with one twice as fine; return also the largest change of the committor between them."""
    coarse, fine = solve(kT, spacing), solve(kT, 0.5 * spacing)
    change = float(np.abs(fine.committor - coarse.committor).max())
    return (
        Solution(
            (4.0 * fine.committor - coarse.committor) / 3.0,
            (4.0 * fine.mean - coarse.mean) / 3.0,
            (4.0 * fine.flux - coarse.flux) / 3.0,
        ),
        change,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kT", type=float, nargs="+", default=[10.0, 15.0, 20.0])
    parser.add_argument("--spacing", type=float, default=0.01, help="of the coarser grid")
    given = parser.parse_args()
    for temperature in given.kT:
        found, moved = extrapolate(temperature, given.spacing)
        forward, backward = found.rates
        print(f"kT = {temperature}: rates {forward:.6g} {backward:.6g}; committor (changed by {moved:.1e})")
        print(" ".join(f"{value:.6f}" for value in found.committor))
