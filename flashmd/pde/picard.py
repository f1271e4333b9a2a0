r"""Full-history multilevel Picard iteration for the defect.

With samples :math:`R = t + (T - t)\tau` and :math:`V = (W_R - W_t)/(R - t)`, level n estimates the defect and
:math:`\sigma^T` times its gradient together as

.. math::
    U_n = (\breve g(x), 0) + \frac1{m_g}\sum [\breve g(X_T) - \breve g(x)](1, V_T)
        + \sum_{l<n} \frac{T - t}{m_l} \sum \frac{F(U_l) - 1_{l\ge1}F(U_{l-1})}{\varrho(\tau)}(R, X_R)\,(1, V_R).

The density :math:`\varrho(\tau) = \tau^{-1/2}/2` makes the variance of the gradient finite, and subtracting
:math:`\breve g(x)` keeps it bounded near the horizon, so nothing is clipped. With nodes, Gauss-Legendre quadrature
takes the place of the random time and each path runs through all nodes. Sources: doi:10.1098/rspa.2019.0630, and for
gradients doi:10.1007/s10208-021-09514-y.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import roots_legendre
from torch import Tensor

from flashmd.errors import message
from flashmd.pde.diffusion import solve, times
from flashmd.pde.feynman_kac import Draws, Points
from flashmd.pde.linearise import linearise
from flashmd.pde.problem import Parabolic, Watch
from flashmd.pde.streams import child_streams, normals, uniforms
from flashmd.pde.surrogate import Surrogate

_TREE, _TERMINAL, _SAMPLES, _TIME, _UPPER, _LOWER = 11, 12, 13, 14, 15, 16
_LEVELS = 2

Samples = Sequence[Sequence[int]]


class _Paths(NamedTuple):
    """Samples of paths: of each row m paths, each seen at q times, flattened to rows * m * q."""

    t: Tensor
    x: Tensor
    weight: Tensor
    bismut: Tensor
    keys: Tensor


@dataclass(frozen=True)
class PicardTrees:
    """Draws of the defect by Picard iteration; every draw is an independent tree.

    Attributes:
        problem: the equation, with constant diffusion.
        surrogate: the approximate solution, with second derivatives.
        samples: row n - 1 holds the samples of level n: at the horizon, then at levels 0 to n - 1.
        seed: seed of all noise.
        antithetic: sample paths in mirror pairs where a number of samples is even.
        gradient: return gradients too.
        nodes: quadrature nodes, or 0 for random times.
    """

    problem: Parabolic
    surrogate: Surrogate
    samples: Samples
    seed: int
    antithetic: bool = True
    gradient: bool = False
    nodes: int = 0

    @property
    def cost(self) -> int:
        """Evaluations of the surrogate or of the terminal value in one draw."""
        return _cost(self.samples, len(self.samples), max(1, self.nodes))

    @property
    def rows(self) -> int:
        """Vectors of d numbers that one draw holds at a time."""
        return max(row[0] + sum(row[1:]) * max(1, self.nodes) for row in self.samples) * len(self.samples)

    def draw(self, points: Points, first: int, count: int) -> Draws:
        """Return draws number `first` to ``first + count - 1``.

        Raises:
            ValueError: a coefficient or the surrogate is not finite; the message names it.
        """
        watch = Watch()
        keys = child_streams(points.keys, _TREE, first, count).flatten()
        t, x = points.t.repeat_interleave(count), points.x.repeat_interleave(count, 0)
        with torch.no_grad():
            y, zeta = self._level(len(self.samples), t, x, keys, watch)
        watch.raise_if_broken()
        value = y.reshape(points.n, count)
        gradient = None
        if self.gradient:
            sigma = self.problem.sigma.at(t, x)
            gradient = solve(sigma, zeta, transposed=True).reshape(points.n, count, -1)
        return Draws(value, value.square(), gradient)

    def _level(self, n: int, t: Tensor, x: Tensor, keys: Tensor, watch: Watch) -> tuple[Tensor, Tensor]:
        """U_n at t [r], x [r, d]: the defect [r] and sigma^T times its gradient [r, d]."""
        if n == 0:
            return torch.zeros_like(t), torch.zeros_like(x)
        value, zeta = self._terminal(n, t, x, keys, watch)
        left = self.problem.T - t
        for level in range(n):
            key = child_streams(keys, _SAMPLES, level, 1)[:, 0]
            paths = self._paths(t, x, key, self.samples[n - 1][1 + level])
            change = paths.weight * self._change(level, paths, watch)
            shape = (t.shape[0], -1)
            per_row = change.shape[0] // t.shape[0] // max(1, self.nodes)
            value = value + left * change.reshape(shape).sum(1) / per_row
            weighted = (change[:, None] * paths.bismut).reshape(*shape, x.shape[1])
            zeta = zeta + left[:, None] * weighted.sum(1) / per_row
        return value, zeta

    def _terminal(self, n: int, t: Tensor, x: Tensor, keys: Tensor, watch: Watch) -> tuple[Tensor, Tensor]:
        """Samples at the horizon; the value at the start is subtracted from what multiplies the Bismut weight."""
        left = (self.problem.T - t).clamp_min(torch.finfo(t.dtype).tiny)
        streams = child_streams(keys, _TERMINAL, 0, self._streams_of(self.samples[n - 1][0])).flatten()
        noise = normals(self.seed, streams, 0, x.shape[1], antithetic=self._mirrors(self.samples[n - 1][0]))
        repeats = noise.shape[0] // t.shape[0]
        end = self._advance(t.repeat_interleave(repeats), x.repeat_interleave(repeats, 0), left, noise)
        at_end = self._terminal_defect(end, watch).reshape(-1, repeats)
        at_start = self._terminal_defect(x, watch)
        bismut = (noise / left.sqrt().repeat_interleave(repeats)[:, None]).reshape(-1, repeats, x.shape[1])
        zeta = ((at_end - at_start[:, None])[:, :, None] * bismut).mean(1)
        return at_end.mean(1), zeta

    def _terminal_defect(self, x: Tensor, watch: Watch) -> Tensor:
        horizon = x.new_full((x.shape[0],), self.problem.T)
        surrogate = watch("surrogate", self.surrogate.value(horizon, x))
        return watch("terminal", self.problem.terminal_at(x)) - surrogate

    def _change(self, level: int, paths: _Paths, watch: Watch) -> Tensor:
        """F(U_l) - F(U_{l-1}), and F(0), the residual of the surrogate, at level 0."""
        around = linearise(self.problem, self.surrogate, paths.t, paths.x, watch, signs=level == 0)
        if level == 0:
            assert around.residual is not None  # noqa: S101 - checked when the method was chosen
            return around.residual
        results = []
        for label, depth in ((_UPPER, level), (_LOWER, level - 1)):
            keys = child_streams(paths.keys, label, depth, 1)[:, 0]
            y, zeta = self._level(depth, paths.t, paths.x, keys, watch)
            source = self.problem.source_at(paths.t, paths.x, around.value + y, around.z + zeta)
            if not self.problem.has_constant_drift:
                # Paths have no drift: what it does to the defect belongs to the source.
                drift = solve(around.sigma, self.problem.drift_at(paths.t, paths.x), transposed=False)
                source = source + (drift * zeta).sum(1)
            results.append(watch("source", source))
        return results[0] - results[1]

    def _paths(self, t: Tensor, x: Tensor, keys: Tensor, m: int) -> _Paths:
        streams = child_streams(keys, _SAMPLES, 0, self._streams_of(m)).flatten()
        mirrors = self._mirrors(m)
        if self.nodes:
            fraction, weight = _gauss_legendre(self.nodes, x)
        else:
            uniform = uniforms(self.seed, child_streams(streams, _TIME, 0, 1)[:, 0], 0)
            uniform = uniform.repeat_interleave(2) if mirrors else uniform
            fraction, weight = uniform.square()[:, None], 2.0 * uniform[:, None]
        steps = [
            normals(self.seed, streams, node, x.shape[1], antithetic=mirrors) for node in range(max(1, self.nodes))
        ]
        rows = steps[0].shape[0]
        fraction, weight = fraction.expand(rows, -1), weight.expand(rows, -1)
        repeats = rows // t.shape[0]
        gaps = torch.diff(fraction, dim=1, prepend=fraction.new_zeros(rows, 1)).sqrt()
        walk = torch.stack([gap[:, None] * noise for gap, noise in zip(gaps.T, steps, strict=True)], 1).cumsum(1)
        left = (self.problem.T - t).repeat_interleave(repeats)
        nodes = walk.shape[1]
        unit = (walk / fraction.sqrt()[:, :, None]).flatten(0, 1)
        elapsed = (left[:, None] * fraction).flatten()
        times_of_rows, starts = t.repeat_interleave(repeats * nodes), x.repeat_interleave(repeats * nodes, 0)
        places = self._advance(times_of_rows, starts, elapsed, unit)
        bismut = unit / elapsed.sqrt()[:, None]
        inner = child_streams(streams, _SAMPLES, 1, rows // streams.shape[0] * nodes).flatten()
        return _Paths(times_of_rows + elapsed, places, weight.flatten(), bismut, inner)

    def _advance(self, t: Tensor, x: Tensor, elapsed: Tensor, noise: Tensor) -> Tensor:
        """Move by a normal step of the constant coefficients; a drift that varies is left to the source."""
        elapsed = elapsed.repeat_interleave(x.shape[0] // elapsed.shape[0])[:, None]
        moved = x + elapsed.sqrt() * times(self.problem.sigma.at(t, x), noise)
        return moved + elapsed * self.problem.drift_at(t, x) if self.problem.has_constant_drift else moved

    def _mirrors(self, m: int) -> bool:
        return self.antithetic and m % 2 == 0

    def _streams_of(self, m: int) -> int:
        return m // 2 if self._mirrors(m) else m


def default_samples(levels: int, base: int) -> tuple[tuple[int, ...], ...]:
    """Return the classical numbers of samples, base^n at the horizon and base^(n - l) at level l of U_n.

    >>> default_samples(2, 10)
    ((10, 10), (100, 100, 10))
    """
    return tuple((base**n, *(base ** (n - level) for level in range(n))) for n in range(1, levels + 1))


def largest_samples(budget: int, nodes: int) -> tuple[tuple[int, ...], ...]:
    """Return the classical numbers of samples of the largest tree of two levels that `budget` evaluations allow.

    Raises:
        ValueError: they allow none.
    """
    fitting = None
    base = 2
    while _cost(default_samples(_LEVELS, base), _LEVELS, max(1, nodes)) <= budget:
        fitting = default_samples(_LEVELS, base)
        base += 1
    if fitting is None:
        needed = _cost(default_samples(_LEVELS, 2), _LEVELS, max(1, nodes))
        fix = "raise it, or reduce `replicates`"
        raise ValueError(message("`evaluations_per_point`", f"{needed} for each replicate", str(budget), fix))
    return fitting


def check_samples(samples: Samples) -> None:
    """Raise ValueError unless row n - 1 holds n + 1 positive numbers."""
    for n, row in enumerate(samples, 1):
        if len(row) != n + 1 or any(count < 1 or count != int(count) for count in row):
            fix = "begin with ((m_g, m_0), (m_g, m_0, m_1), ...)"
            raise ValueError(message(f"`samples[{n - 1}]`", f"{n + 1} positive whole numbers", f"{tuple(row)}", fix))
    if not samples:
        raise ValueError(message("`samples`", "a row for each level", "none", "pass ((10, 10), (100, 100, 10))"))


def check_picard(problem: Parabolic, surrogate: Surrogate) -> None:
    """Raise ValueError unless Picard iteration is possible."""
    if not problem.sigma.is_constant:
        fix = 'use method="newton", which takes any diffusion'
        raise ValueError(message("`diffusion`", "a constant for Picard iteration", "a function", fix))
    problem.sigma.check_invertible()
    if not surrogate.has_second:
        fix = 'use method="newton" with form="martingale"'
        raise ValueError(message("the surrogate", "second derivatives for Picard iteration", "none", fix))


def _cost(samples: Samples, n: int, nodes: int) -> int:
    if n == 0:
        return 0
    row = samples[n - 1]
    inner = (row[1 + level] * nodes * (1 + _inner(samples, level, nodes)) for level in range(n))
    return row[0] + sum(inner)


def _inner(samples: Samples, level: int, nodes: int) -> int:
    return 0 if level == 0 else _cost(samples, level, nodes) + _cost(samples, level - 1, nodes)


def _gauss_legendre(nodes: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights on (0, 1), [1, nodes] each."""
    places, weights = roots_legendre(nodes)
    both = np.stack([0.5 * (places + 1.0), 0.5 * weights])
    fraction, weight = torch.as_tensor(both, dtype=like.dtype, device=like.device)
    return fraction[None], weight[None]
