"""A network for u(t, x) with closed derivatives: values, gradients and second derivatives in one pass.

The second derivatives are carried forward through the layers together with tangents (the forward Laplacian). x enters
through a linear layer only, so the tangents along all d columns of sigma span at most as many dimensions as the layer
is wide: their triangular factor carries the same sum of squares with fewer rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flashmd.nn.mlp import MLP
from flashmd.pde.derivatives import Jet, first_derivatives, forward_second
from flashmd.pde.problem import Terminal
from flashmd.pde.surrogate import ClosedJet


class SurrogateNetwork(nn.Module):
    """Represent u by a tanh network of the scaled inputs, exact at the horizon if `terminal` is given.

    With `terminal` g and horizon T, ``u(t, x) = g(x) + (T - t) N(t, x)``; without, ``u = N``.

    Args:
        d: dimension of the space.
        widths: widths of the hidden layers.
        T: horizon.
        terminal: g(x), or None.
        seed: seed of the initial weights.

    Example:
        >>> import torch
        >>> from flashmd.pde import SurrogateNetwork
        >>> network = SurrogateNetwork(5, [16, 16], T=1.0, terminal=lambda x: x.sum(1), seed=0)
        >>> x = torch.rand(2, 5)
        >>> bool((network(torch.ones(2), x) == x.sum(1)).all())
        True
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self, d: int, widths: Sequence[int], *, T: float, terminal: Terminal | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.network = MLP([d + 1, *widths, 1], activation_name="tanh", generator=generator)
        self.T = T
        self.terminal = terminal
        self.register_buffer("centre", torch.zeros(d + 1))
        self.register_buffer("scale", torch.ones(d + 1))

    def fit_scale(self, t: Tensor, x: Tensor) -> None:
        """Scale inputs so that the given samples (t [n], x [n, d]) have mean 0 and deviation 1."""
        inputs = torch.cat([t[:, None], x], 1).to(self.centre.dtype)
        self.centre.copy_(inputs.mean(0))
        self.scale.copy_(inputs.std(0).clamp_min(1e-3))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return u(t, x), [n]."""
        inputs = (torch.cat([t[:, None], x], 1) - self.centre) / self.scale
        raw: Tensor = self.network(inputs)[:, 0]
        return raw if self.terminal is None else self.terminal(x) + (self.T - t) * raw

    def jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        """Return value and derivatives; `second` for the constant diagonal sigma [d] unless it is None."""
        raw = self._network_jet(t, x, diagonal)
        if self.terminal is None:
            return raw
        end = self._terminal_jet(t, x, diagonal)
        left = self.T - t
        second = None
        if raw.second is not None and end.second is not None:
            second = end.second + left * raw.second
        gradient = end.gradient + left[:, None] * raw.gradient
        return Jet(end.value + left * raw.value, gradient, left * raw.time_derivative - raw.value, second)

    def _terminal_jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        assert self.terminal is not None  # noqa: S101 - asked by the caller
        terminal, own = self.terminal, cast("object", self.terminal)
        if isinstance(own, ClosedJet):
            return own.jet(torch.full_like(t, self.T), x, diagonal)

        def end(time: Tensor, place: Tensor) -> Tensor:
            return terminal(place) + 0.0 * time

        jet = first_derivatives(end, t, x)
        second = None if diagonal is None else forward_second(end, t, x, diagonal[None])
        return Jet(jet.value, jet.gradient, jet.time_derivative, second)

    def _network_jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        layers = [layer for layer in self.network.layers if isinstance(layer, nn.Linear)]
        values = (torch.cat([t[:, None], x], 1) - self.centre) / self.scale
        slopes: list[Tensor] = []
        tangents = curvature = None
        for layer in layers[:-1]:
            values = torch.tanh(layer(values))
            slope = 1.0 - values * values
            if diagonal is not None:
                tangents, curvature = self._carry(layer, tangents, curvature, diagonal)
                curvature = slope * (curvature - 2.0 * values * tangents.square().sum(-2))
                tangents = slope[:, None, :] * tangents
            slopes.append(slope)
        adjoint = layers[-1].weight.expand(x.shape[0], -1)
        for layer, slope in zip(reversed(layers[:-1]), reversed(slopes), strict=True):
            adjoint = (adjoint * slope) @ layer.weight
        adjoint = adjoint / self.scale
        second = None if curvature is None else 0.5 * (curvature @ layers[-1].weight[0])
        return Jet(layers[-1](values)[:, 0], adjoint[:, 1:], adjoint[:, 0], second)

    def _carry(
        self, layer: nn.Linear, tangents: Tensor | None, curvature: Tensor | None, diagonal: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Carry tangents [n or 1, m, width] and second derivatives [n or 1, width] through a linear layer."""
        if tangents is None or curvature is None:
            start = layer.weight[:, 1:].T * (diagonal / self.scale[1:])[:, None]
            if start.shape[0] > start.shape[1]:
                start = torch.linalg.qr(start)[1]
            return start[None], start.new_zeros(1, start.shape[1])
        return tangents @ layer.weight.T, curvature @ layer.weight.T
