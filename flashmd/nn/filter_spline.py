r"""Tables of filters as polynomials of each interval, which training differentiates.

Force matching needs second derivatives of the energy, among them those by the numbers of the table. Written in powers
of the fraction :math:`u` of an interval, no number belongs to two intervals, so the gradient of each is a sum over the
pairs of its interval alone. The network is evaluated at the knots only, however many pairs there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from flashmd.ops import Edges, sort_pairs, spline_conv

Convolution = Callable[[Tensor], Tensor]
"""From sent features [n_atoms, n_filters] to summed messages of the same shape."""


@dataclass(frozen=True)
class FilterSpline:
    """Filters of all blocks, cubic in each of equal intervals from zero to the cutoff.

    Attributes:
        coefficients: [n_blocks, n_intervals, 4, n_filters], of the powers 0 to 3 of the fraction of the interval.
        cutoff: end of the last interval, nm; from there on the filters are zero.
    """

    coefficients: Tensor
    cutoff: float

    def convolutions(self, edges: Edges, distance: Tensor, *, backend: str = "kernel") -> Sequence[Convolution]:
        """Return the convolution of each block over one edge of each pair, at distances [n_pairs] in nm."""
        n_intervals = self.coefficients.shape[1]
        pairs = sort_pairs(distance, edges, n_intervals=n_intervals, cutoff=self.cutoff, backend=backend)
        blocks = self.coefficients.unbind(0)
        return [partial(spline_conv, coefficients=block, pairs=pairs, backend=backend) for block in blocks]


def hermite_coefficients(values: Tensor, slopes: Tensor, spacing: float) -> Tensor:
    r"""Return the powers of the cubics that meet given values and slopes at the knots.

    With :math:`\Delta = v_{i+1} - v_i` and the spacing :math:`h`,

    .. math:: c_{i0} = v_i, \quad c_{i1} = h s_i, \quad c_{i2} = 3 \Delta - 2 h s_i - h s_{i+1}, \quad
              c_{i3} = h s_i + h s_{i+1} - 2 \Delta

    Source: de Boor, A Practical Guide to Splines, doi:10.1007/978-1-4612-6333-3, chapter IV.

    Args:
        values: [..., n_knots, n_filters].
        slopes: [..., n_knots, n_filters], nm^-1.
        spacing: distance between two knots, nm.

    Returns:
        [..., n_knots - 1, 4, n_filters], differentiable.

    >>> import torch
    >>> line = torch.tensor([[1.0], [3.0]])
    >>> hermite_coefficients(line, torch.full((2, 1), 4.0), 0.5)[0, :, 0].tolist()
    [1.0, 2.0, 0.0, 0.0]
    """
    rise = values.diff(dim=-2)
    scaled = slopes * spacing
    left = scaled[..., :-1, :]
    bend = left + scaled[..., 1:, :] - 2.0 * rise
    return torch.stack([values[..., :-1, :], left, rise - left - bend, bend], dim=-2)
