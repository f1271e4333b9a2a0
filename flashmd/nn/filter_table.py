r"""Tables of the filters of a SchNet.

The filter of a block, envelope included, is a function of one distance. On a uniform grid of knots its values and
slopes define piecewise cubic polynomials that meet with equal values and equal first derivatives, so that an energy
which reads the table has continuous forces, and the exact gradient of that energy is a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.nn.mlp import value_and_slope
from flashmd.nn.radial_basis import ExpNormalBasis, GaussianBasis
from flashmd.nn.schnet import Convolution, SchNet
from flashmd.ops import Edges, sort_pairs, spline_conv


@dataclass(frozen=True)
class FilterTable:
    """Filters of all blocks at equally spaced distances from zero to the cutoff.

    Attributes:
        values: [n_blocks, n_knots, n_filters], filters with their envelope; the last knot holds the limit from below.
        slopes: [n_blocks, n_knots, n_filters], their derivatives, nm^-1.
        cutoff: distance of the last knot, nm; from there on the filters are zero.

    Raises:
        ValueError: fewer than two knots, or values and slopes of different shapes.
    """

    values: Tensor
    slopes: Tensor
    cutoff: float

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape)
        if len(shape) != 3 or shape[1] < 2:
            fix = "tabulate at least two knots"
            raise ValueError(message("`values`", "shape (n_blocks, n_knots >= 2, n_filters)", f"{shape}", fix))
        if tuple(self.slopes.shape) != shape:
            raise ValueError(message("`slopes`", f"shape {shape}", f"{tuple(self.slopes.shape)}", "use `tabulate`"))

    @property
    def n_knots(self) -> int:
        """Number of knots, both ends included."""
        return self.values.shape[1]

    @property
    def spacing(self) -> float:
        """Distance between two knots, nm."""
        return self.cutoff / (self.n_knots - 1)

    def to(self, target: torch.dtype | torch.device) -> FilterTable:
        """Return the table in another dtype or on another device."""
        return FilterTable(self.values.to(target), self.slopes.to(target), self.cutoff)

    def convolutions(self, edges: Edges, distance: Tensor, *, backend: str = "kernel") -> list[Convolution]:
        """Return the convolution of each block over pairs, differentiable twice in features, table and distances.

        Args:
            edges: one edge of each pair, see :func:`flashmd.nn.half_edges`.
            distance: [n_pairs], nm.
            backend: "kernel" or "reference".
        """
        pairs = sort_pairs(distance, edges, n_intervals=self.n_knots - 1, cutoff=self.cutoff, backend=backend)
        blocks = zip(self.values.unbind(0), self.slopes.unbind(0), strict=True)
        return [
            partial(spline_conv, values=values, slopes=slopes, pairs=pairs, backend=backend)
            for values, slopes in blocks
        ]


def tabulate(network: SchNet, n_knots: int) -> FilterTable:
    """Evaluate the filters of a network and their exact derivatives at equally spaced distances.

    Args:
        network: the network; the table is differentiable with respect to its parameters, in their dtype.
        n_knots: number of knots, at least two.

    Returns:
        The table.

    Example:
        >>> from flashmd.nn import SchNetConfig
        >>> network = SchNet(SchNetConfig(n_types=3, n_channels=8, n_filters=4, n_basis=5, n_blocks=2, readout=(4,)))
        >>> tabulate(network, 65).values.shape
        torch.Size([2, 65, 4])
    """
    if n_knots < 2:
        raise ValueError(message("`n_knots`", "at least 2 knots", f"{n_knots}", "use a larger table"))
    cutoff, weight = network.config.cutoff_upper, network.embedding.weight
    knots = torch.linspace(0.0, cutoff, n_knots, dtype=weight.dtype, device=weight.device)
    return FilterTable(*_filters_and_slopes(network, knots), cutoff)


def _filters_and_slopes(network: SchNet, distance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the filters with their envelope and their derivatives, both [n_blocks, n, n_filters]."""
    net, basis_of = network.filter_network, cast("GaussianBasis | ExpNormalBasis", network.basis)
    n_blocks, n_filters, n_basis = net.weight_in.shape
    basis, basis_slope = basis_of.value_and_slope(distance)
    envelope, envelope_slope = (each[:, None] for each in network.envelope.value_and_slope(distance))
    into = net.weight_in.reshape(n_blocks * n_filters, n_basis)
    inner = torch.addmm(net.bias_in.reshape(-1), basis, into.t())
    hidden, hidden_slope = value_and_slope(network.config.activation, inner)
    # The envelope is taken early into the small basis and late into the filters, which saves passes over large arrays.
    inner_slope = hidden_slope * ((basis_slope * envelope) @ into.t())
    out = net.weight_out.transpose(1, 2)
    filters, slopes = (
        torch.bmm(each.view(-1, n_blocks, n_filters).transpose(0, 1), out) for each in (hidden, inner_slope)
    )
    return filters * envelope, torch.addcmul(slopes, filters, envelope_slope)


def interpolate(table: FilterTable, distance: Tensor) -> Tensor:
    r"""Interpolate the filters between the knots.

    With :math:`u = d / h - i` in interval :math:`i` and :math:`\Delta = v_{i+1} - v_i`, the cubic Hermite polynomial is

    .. math:: W = v_i + u \bigl(h s_i + u \bigl((3 \Delta - 2 h s_i - h s_{i+1})
              + u (h s_i + h s_{i+1} - 2 \Delta)\bigr)\bigr)

    ===============  ==================================
    symbol           variable
    ===============  ==================================
    :math:`d`        `distance`
    :math:`h`        `table.spacing`
    :math:`v_i`      `table.values`
    :math:`s_i`      `table.slopes`
    ===============  ==================================

    Source: de Boor, A Practical Guide to Splines, doi:10.1007/978-1-4612-6333-3, chapter IV.

    Args:
        table: the table.
        distance: [n], nm; the result is differentiable in it to any order, the third derivative being piecewise
            constant.

    Returns:
        [n_blocks, n, n_filters]; zeros at the cutoff and beyond.
    """
    inside = distance < table.cutoff
    scaled = torch.where(inside, distance, torch.zeros_like(distance)) * (1.0 / table.spacing)
    interval = scaled.detach().floor().clamp(max=table.n_knots - 2)
    u = (scaled - interval)[:, None]
    left = interval.to(torch.int64)
    value, slope = table.values[:, left], table.slopes[:, left] * table.spacing
    next_slope = table.slopes[:, left + 1] * table.spacing
    # The difference of neighbouring values is taken first, so that its digits are not lost in sums of large terms.
    rise = table.values[:, left + 1] - value
    quadratic = 3.0 * rise - 2.0 * slope - next_slope
    cubic = slope + next_slope - 2.0 * rise
    return (value + u * (slope + u * (quadratic + u * cubic))) * inside[:, None]
