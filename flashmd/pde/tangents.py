r"""First and second derivatives of the units of a tanh network along the columns of sigma, layer by layer.

Along all columns a unit j has the tangents :math:`T_{mj}` and the sum of second derivatives :math:`c_j`. A linear layer
W maps both; the hyperbolic tangent with the values v and the slopes s makes

.. math:: c_j \to s_j \Big(c_j - 2 v_j \sum_m T_{mj}^2\Big), \qquad T_{mj} \to s_j T_{mj}.

Behind the first layer T is the same for all points. For the sums of squares behind the second one, products suffice,

.. math:: \sum_m \Big(\sum_k T_{mk} s_k W_{jk}\Big)^2 = \sum_{kl} s_k s_l\, \big(T^T T\big)_{kl} W_{jk} W_{jl},

one product of matrices for all points; by symmetry some of the pairs stand for two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

_STRIP = 24
_ROWS_IN_CACHE = 512


@dataclass(frozen=True)
class AlongTerminal:
    """What the terminal value adds to the tangents: the same vector to each, times the slope of g along it.

    So the tangents are ``rows + along column^T``, and sums of their squares need products of both parts only.

    Attributes:
        mixed: [n, width], ``along^T rows``.
        column: [n or 1, width].
        size: [n, 1], ``along^T along``.
    """

    mixed: Tensor
    column: Tensor
    size: Tensor

    def squares(self) -> Tensor:
        """Return what is added to the sums of squares of the rows, [n, width]."""
        return self.column * (2.0 * self.mixed + self.column * self.size)


@dataclass(frozen=True)
class Tangents:
    """Derivatives of all units of a layer at n points.

    Attributes:
        rows: [m, width], the tangents of all points, or [n, m, width]; only their products are meant.
        squares: [n or 1, width], sums of the squares of the rows.
        curvature: [n or 1, width], sums of the second derivatives.
        terminal: the part of the terminal value, or None without one.
        slope: [n, width], by which rows behind a hyperbolic tangent are still to be multiplied.
    """

    rows: Tensor
    squares: Tensor
    curvature: Tensor
    terminal: AlongTerminal | None = None
    slope: Tensor | None = None

    @classmethod
    def shared(cls, rows: Tensor, curvature: Tensor, terminal: AlongTerminal | None = None) -> Tangents:
        """Return tangents that are the same at all points, rows [m, width]."""
        return cls(rows, rows.square().sum(0, keepdim=True), curvature, terminal)

    def activated(self, values: Tensor, slope: Tensor) -> Tangents:
        """Return the tangents behind the hyperbolic tangent with these values and slopes, [n, width]."""
        squares = self.squares if self.terminal is None else self.squares + self.terminal.squares()
        return replace(self, curvature=slope * (self.curvature - 2.0 * values * squares), slope=slope)

    def through(self, layer: nn.Linear, last: bool) -> Tangents:
        """Return the tangents behind a linear layer; behind the last one rows are not needed."""
        assert self.slope is not None  # noqa: S101 - a linear layer follows an activation
        weight, slope, terminal = layer.weight, self.slope, self.terminal
        if terminal is not None:
            mixed, column = (slope * part @ weight.T for part in (terminal.mixed, terminal.column))
            terminal = AlongTerminal(mixed, column, terminal.size)
        curvature = self.curvature @ weight.T
        if last and self.rows.dim() == 2:
            return Tangents(self.rows, shared_squares(self.rows, slope, weight), curvature, terminal)
        rows = (slope[:, None, :] * _basis(self.rows)) @ weight.T
        return Tangents(rows, rows.square().sum(1), curvature, terminal)


def shared_squares(rows: Tensor, slope: Tensor, weight: Tensor) -> Tensor:
    """Return ``sum_m (sum_k rows[m, k] slope[n, k] weight[j, k])^2``, [n, j].

    Args:
        rows: [m, width].
        slope: [n, width].
        weight: [n_units, width].
    """
    products = rows.T @ rows
    totals = [slope.new_zeros(1, weight.shape[0])] * -(-slope.shape[0] // _ROWS_IN_CACHE)
    for begin in range(0, slope.shape[1], _STRIP):
        strip = slice(begin, begin + _STRIP)
        # Pairs of a strip with what follows it stand for both orders.
        pairs = weight[:, strip, None] * weight[:, None, begin:] * products[strip, begin:]
        twice = torch.cat([pairs[:, :, :_STRIP], 2.0 * pairs[:, :, _STRIP:]], 2).flatten(1).T
        left, right = (part.split(_ROWS_IN_CACHE) for part in (slope[:, strip, None], slope[:, None, begin:]))
        blocks = zip(totals, left, right, strict=True)
        totals = [torch.addmm(total, (one * other).flatten(1), twice) for total, one, other in blocks]
    return torch.cat(totals)


def _basis(rows: Tensor) -> Tensor:
    """Return rows with the same products, no more than they are wide; [n, m, width] stay as they are."""
    shared = rows.dim() == 2 and rows.shape[0] > rows.shape[1]
    return torch.linalg.qr(rows).R if shared else rows
