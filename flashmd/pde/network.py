"""A network for u(t, x) with closed derivatives: values, gradients and second derivatives in one pass.

The second derivatives are carried forward through the layers together with tangents (the forward Laplacian). x enters
through a linear layer and through the terminal value only, so the tangents along all d columns of sigma span at most
as many dimensions as the layer is wide, besides one vector. Behind the first layer they are the same for all points,
so a second layer needs their products only; deeper ones carry a basis with the same sums of squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from flashmd.nn.mlp import MLP
from flashmd.pde.derivatives import Jet, first_derivatives, forward_second
from flashmd.pde.problem import Terminal
from flashmd.pde.surrogate import ClosedJet
from flashmd.pde.tangents import AlongTerminal, Tangents

_SMALL_WEIGHTS = 0.02


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

    @property
    def uses_forward_mode(self) -> bool:
        """Whether second derivatives of the terminal value come from torch's forward mode."""
        return self.terminal is not None and not isinstance(cast("object", self.terminal), ClosedJet)

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
        first = _Columns.of(layers[0], self.centre, self.scale, self.d)
        values = first(t, x, end)
        slopes: list[Tensor] = []
        state: Tangents | None = None
        for layer in layers[:-1]:
            values = torch.tanh(values if layer is layers[0] else layer(values))
            slope = 1.0 - values * values
            if diagonal is not None:
                state = first.tangents(diagonal, end) if state is None else state.through(layer, layer is layers[-2])
                state = state.activated(values, slope)
            slopes.append(slope)
        adjoint = layers[-1].weight.expand(x.shape[0], -1)
        for layer, slope in zip(reversed(layers[1:-1]), reversed(slopes[1:]), strict=True):
            adjoint = (adjoint * slope) @ layer.weight
        adjoint = adjoint * slopes[0]
        gradient = adjoint @ first.place
        if end is not None:
            gradient = torch.addcmul(gradient, (adjoint @ first.end)[:, None], end.gradient)
        second = None if state is None else 0.5 * (state.curvature @ layers[-1].weight[0])
        return Jet(layers[-1](values)[:, 0], gradient, adjoint @ first.time, second)


@dataclass(frozen=True)
class _Columns:
    """The first layer in parts, for inputs that are not scaled.

    Attributes:
        bias: [width].
        centre: [d + 1] or [d + 2], subtracted from the inputs.
        time: [width], weights of t.
        place: [width, d], those of x.
        end: [width], those of the terminal value; zero without one.
    """

    bias: Tensor
    centre: Tensor
    time: Tensor
    place: Tensor
    end: Tensor

    @classmethod
    def of(cls, layer: nn.Linear, centre: Tensor, scale: Tensor, d: int) -> _Columns:
        """Divide a linear layer of scaled inputs."""
        weight = layer.weight / scale
        end = weight[:, d + 1] if weight.shape[1] > d + 1 else torch.zeros_like(weight[:, 0])
        return cls(layer.bias, centre, weight[:, 0], weight[:, 1 : d + 1], end)

    def __call__(self, t: Tensor, x: Tensor, end: Jet | None) -> Tensor:
        """Return what the layer makes of the inputs, [n, width]."""
        d = x.shape[1]
        values = torch.addmm(self.bias, x - self.centre[1 : d + 1], self.place.T)
        values = torch.addcmul(values, (t - self.centre[0])[:, None], self.time)
        if end is None:
            return values
        return torch.addcmul(values, (end.value - self.centre[d + 1])[:, None], self.end)

    def tangents(self, diagonal: Tensor, end: Jet | None) -> Tangents:
        """Return the derivatives behind the layer, along the columns of a diagonal sigma [d]."""
        rows = self.place.T * diagonal[:, None]
        curvature = rows.new_zeros(1, rows.shape[1])
        if end is None or end.second is None:
            return Tangents.shared(rows, curvature)
        along = diagonal * end.gradient
        part = AlongTerminal(along @ rows, self.end[None], along.square().sum(1, keepdim=True))
        return Tangents.shared(rows, curvature + 2.0 * end.second[:, None] * self.end, part)
