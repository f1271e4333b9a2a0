"""A network for u(t, x) with closed derivatives: values, gradients and second derivatives in one pass.

The second derivatives are carried forward through the layers together with tangents (the forward Laplacian). x enters
through a linear layer and through the terminal value only, so the tangents along all d columns of sigma span at most
as many dimensions as the layer is wide, besides one vector: a basis carries the same sum of squares with fewer rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from flashmd.nn.mlp import MLP
from flashmd.pde.derivatives import Jet, first_derivatives, forward_second, join
from flashmd.pde.problem import Terminal
from flashmd.pde.surrogate import ClosedJet

_SMALL_WEIGHTS = 0.02
_ROWS_IN_CACHE = 256


class SurrogateNetwork(nn.Module):
    """Represent u by a tanh network of the scaled inputs.

    Without a terminal value ``u = N(t, x)``. A terminal value g is one more input, which often carries most of what
    there is to know about x, ``u = N(t, x, g(x))``; if `hard`, u is exact at the horizon T as well,
    ``u = g(x) + (T - t) N(t, x, g(x))``.

    Args:
        d: dimension of the space.
        widths: widths of the hidden layers.
        T: horizon.
        terminal: g(x), or None.
        hard: build the terminal value in.
        seed: seed of the initial weights.

    Example:
        >>> import torch
        >>> from flashmd.pde import SurrogateNetwork
        >>> network = SurrogateNetwork(5, [16, 16], T=1.0, terminal=lambda x: x.sum(1), seed=0)
        >>> x = torch.rand(2, 5)
        >>> torch.allclose(network(torch.ones(2), x), x.sum(1))
        True
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        d: int,
        widths: Sequence[int],
        *,
        T: float,
        terminal: Terminal | None = None,
        hard: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        n_inputs = d + 1 if terminal is None else d + 2
        self.network = MLP([n_inputs, *widths, 1], activation_name="tanh", generator=generator)
        self.d, self.T = d, T
        self.terminal = terminal
        self.is_exact_at_horizon = hard and terminal is not None
        first = self.network.layers[0]
        if terminal is not None and isinstance(first, nn.Linear):
            # The random weights of many components of x would drown the one input that says most.
            with torch.no_grad():
                first.weight[:, 1 : d + 1] *= _SMALL_WEIGHTS
        self.register_buffer("centre", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(n_inputs))

    def fit_scale(self, t: Tensor, x: Tensor) -> None:
        """Scale inputs so that the given samples (t [n], x [n, d]) have mean 0 and deviation 1."""
        inputs = self._inputs(t, x, self._end(x)).to(self.centre.dtype)
        self.centre.copy_(inputs.mean(0))
        self.scale.copy_(inputs.std(0).clamp_min(1e-3))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return u(t, x), [n]."""
        end = self._end(x)
        raw: Tensor = self.network((self._inputs(t, x, end) - self.centre) / self.scale)[:, 0]
        return end + (self.T - t) * raw if self.is_exact_at_horizon and end is not None else raw

    def jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        """Return value and derivatives; `second` for the constant diagonal sigma [d] unless it is None."""
        rows = _ROWS_IN_CACHE * torch.get_num_threads()
        if diagonal is None or torch.is_grad_enabled() or len(t) <= rows:
            return self._jet(t, x, diagonal)
        pairs = zip(t.split(rows), x.split(rows), strict=True)
        return join([self._jet(time, place, diagonal) for time, place in pairs])

    def _jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        end = None if self.terminal is None else self._terminal_jet(t, x, diagonal)
        raw = self._network_jet(t, x, diagonal, end)
        if end is None or not self.is_exact_at_horizon:
            return raw
        left = self.T - t
        second = None
        if raw.second is not None and end.second is not None:
            second = end.second + left * raw.second
        gradient = end.gradient + left[:, None] * raw.gradient
        return Jet(end.value + left * raw.value, gradient, left * raw.time_derivative - raw.value, second)

    def _end(self, x: Tensor) -> Tensor | None:
        """Return g(x), evaluated in double precision as in all other places, in the precision of x."""
        return None if self.terminal is None else self.terminal(x.to(torch.float64)).to(x.dtype)

    def _inputs(self, t: Tensor, x: Tensor, end: Tensor | None) -> Tensor:
        return torch.cat([t[:, None], x] if end is None else [t[:, None], x, end[:, None]], 1)

    def _terminal_jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        assert self.terminal is not None  # noqa: S101 - asked by the caller
        terminal, own, dtype = self.terminal, cast("object", self.terminal), x.dtype
        t, x = t.to(torch.float64), x.to(torch.float64)
        diagonal = None if diagonal is None else diagonal.to(torch.float64)
        if isinstance(own, ClosedJet):
            return own.jet(torch.full_like(t, self.T), x, diagonal).to(dtype)

        def end(time: Tensor, place: Tensor) -> Tensor:
            return terminal(place).to(place.dtype) + 0.0 * time

        jet = first_derivatives(end, t, x)
        second = None if diagonal is None else forward_second(end, t, x, diagonal[None])
        return Jet(jet.value, jet.gradient, jet.time_derivative, second).to(dtype)

    def _network_jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None, end: Jet | None) -> Jet:
        layers = [layer for layer in self.network.layers if isinstance(layer, nn.Linear)]
        values = (self._inputs(t, x, None if end is None else end.value) - self.centre) / self.scale
        slopes: list[Tensor] = []
        state: _Tangents | None = None
        for layer in layers[:-1]:
            values = torch.tanh(layer(values))
            slope = 1.0 - values * values
            if diagonal is not None:
                state = self._first_tangents(layer, diagonal, end) if state is None else state.through(layer)
                state = state.activated(values, slope, last=layer is layers[-2])
            slopes.append(slope)
        adjoint = layers[-1].weight.expand(x.shape[0], -1)
        for layer, slope in zip(reversed(layers[:-1]), reversed(slopes), strict=True):
            adjoint = (adjoint * slope) @ layer.weight
        adjoint = adjoint / self.scale
        gradient = adjoint[:, 1 : self.d + 1]
        if end is not None:
            gradient = gradient + adjoint[:, -1:] * end.gradient
        second = None if state is None else 0.5 * (state.curvature @ layers[-1].weight[0])
        return Jet(layers[-1](values)[:, 0], gradient, adjoint[:, 0], second)

    def _first_tangents(self, layer: nn.Linear, diagonal: Tensor, end: Jet | None) -> _Tangents:
        """Tangents and second derivatives behind the first linear layer, along the columns of a diagonal sigma."""
        weight = layer.weight / self.scale
        start = weight[:, 1 : self.d + 1].T * diagonal[:, None]
        # Sums of squares need the rows up to a rotation only, and there are no more of these than the layer is wide.
        rows = torch.linalg.qr(start).R if start.shape[0] > start.shape[1] else start
        if end is None or end.second is None:
            return _Tangents(rows[None], start.new_zeros(1, start.shape[1]))
        along, column = diagonal * end.gradient, weight[:, -1]
        curvature = 2.0 * end.second[:, None] * column
        return _Tangents(rows[None], curvature, along @ start, column[None], along.square().sum(1, keepdim=True))


@dataclass(frozen=True)
class _Tangents:
    """First and second derivatives of all units of a layer along the columns of sigma.

    The terminal value adds the same vector `column` to every tangent, times the slope of g along it. So the tangents
    are ``rows + along column^T``, and sums of their squares need products of both parts only.

    Attributes:
        rows: [n or 1, m, width], up to a rotation among the m.
        curvature: [n or 1, width], sum of the second derivatives.
        mixed: [n, width], ``along^T rows``, or None without a terminal value.
        column: [n or 1, width].
        size: [n, 1], ``along^T along``.
    """

    rows: Tensor
    curvature: Tensor
    mixed: Tensor | None = None
    column: Tensor | None = None
    size: Tensor | None = None

    def through(self, layer: nn.Linear) -> _Tangents:
        """Return the tangents behind a linear layer."""
        return self._map(lambda part: part @ layer.weight.T, self.curvature @ layer.weight.T)

    def activated(self, values: Tensor, slope: Tensor, *, last: bool) -> _Tangents:
        """Return the tangents behind the hyperbolic tangent with these values and slopes, [n, width].

        Behind the last one only second derivatives are needed.
        """
        squares = self.rows.square().sum(-2)
        if self.mixed is not None and self.column is not None and self.size is not None:
            squares = squares + self.column * (2.0 * self.mixed + self.column * self.size)
        curvature = slope * (self.curvature - 2.0 * values * squares)
        if last:
            return replace(self, curvature=curvature)
        return self._map(lambda part: (slope if part.dim() < 3 else slope[:, None, :]) * part, curvature)

    def _map(self, function: Callable[[Tensor], Tensor], curvature: Tensor) -> _Tangents:
        mixed, column = (None if part is None else function(part) for part in (self.mixed, self.column))
        return _Tangents(function(self.rows), curvature, mixed, column, self.size)
