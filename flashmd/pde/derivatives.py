"""Derivatives of a batched function u(t, x): gradients in reverse mode, second derivatives in four ways.

All functions treat rows alone, so one reverse sweep over the sum of a batch gives the gradients of all rows, and a
direction more is a row more.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

Function = Callable[[Tensor, Tensor], Tensor]
# Near the fourth root of the rounding error, where a second difference is most exact.
_DIFFERENCE = {torch.float64: 1e-4, torch.float32: 2e-2}
_LARGEST_TENSOR = 1 << 20


@dataclass(frozen=True)
class Jet:
    """Value and derivatives of a function at n points.

    Attributes:
        value: [n].
        gradient: [n, d], with respect to x.
        time_derivative: [n].
        second: [n], ``Tr(sigma sigma^T Hessian) / 2``, or None where it was not computed.
    """

    value: Tensor
    gradient: Tensor
    time_derivative: Tensor
    second: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Jet:
        """Return the jet in another precision."""
        second = None if self.second is None else self.second.to(dtype)
        return Jet(self.value.to(dtype), self.gradient.to(dtype), self.time_derivative.to(dtype), second)


def first_derivatives(function: Function, t: Tensor, x: Tensor) -> Jet:
    """Return value, gradient and time derivative by one reverse sweep."""
    value, (time, gradient) = value_and_slopes(function, t, x)
    return Jet(value, gradient, time)


def value_and_slopes(function: Callable[..., Tensor], *arguments: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return f(arguments) [n] and, for every argument [n, ...], the derivative of each row by its own row.

    The results can be differentiated where gradients are enabled.
    """
    if torch.is_grad_enabled():
        made = torch.func.vjp(function, *arguments)
        value, pull = cast("tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]", made)
        return value, pull(torch.ones_like(value))
    # Without transforms of functions, whose wrappers cost as much as a small network.
    with torch.enable_grad():
        leaves = tuple(argument.detach().requires_grad_() for argument in arguments)
        value = function(*leaves)
        if not value.requires_grad:
            return value, tuple(torch.zeros_like(leaf) for leaf in arguments)
        slopes = torch.autograd.grad(value.sum(), leaves, materialize_grads=True)
    return value.detach(), slopes


def forward_second(function: Function, t: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """Return ``Tr(sigma sigma^T Hessian) / 2`` exactly, by nested forward mode along the columns of sigma, [n].

    Args:
        function: u(t, x).
        t: [n].
        x: [n, d].
        sigma: [n or 1, d] or [n or 1, d, d].
    """
    total = torch.zeros_like(t)
    for directions in _columns(sigma, x):
        total = total + second_along(function, t, x, directions).sum(0)
    return 0.5 * total


def second_along(function: Function, t: Tensor, x: Tensor, directions: Tensor) -> Tensor:
    """Return the second derivatives of u along directions [m, n, d], [m, n]."""
    _load_forward_mode()
    m, n, d = directions.shape
    times, points, along = t.repeat(m), x.repeat(m, 1), directions.reshape(m * n, d)

    def slope(place: Tensor) -> Tensor:
        return torch.func.jvp(lambda y: function(times, y), (place,), (along,))[1]  # type: ignore[no-any-return]

    curvature: Tensor = torch.func.jvp(slope, (points,), (along,))[1]
    return curvature.reshape(m, n)


def difference_jet(
    function: Function, t: Tensor, x: Tensor, sigma: Tensor | None, precision: torch.dtype = torch.float64
) -> Jet:
    """Return all derivatives by central differences of values of some precision; the function may be any code."""
    n, d = x.shape
    h = _DIFFERENCE.get(precision, _DIFFERENCE[torch.float32])
    value = function(t, x)
    time = (function(t + h, x) - function(t - h, x)) / (2 * h)
    unit = x.new_ones(1, d)
    slopes = [_pair(function, t, x, h * directions) for directions in _columns(unit, x)]
    gradient = torch.cat([(plus - minus) / (2 * h) for plus, minus in slopes]).T
    jet = Jet(value, gradient, time)
    if sigma is None:
        return jet
    second = torch.zeros_like(value)
    for directions in _columns(sigma, x):
        plus, minus = _pair(function, t, x, h * directions)
        second = second + ((plus - value) + (minus - value)).sum(0) / (2 * h * h)
    return replace(jet, second=second.reshape(n))


def _pair(function: Function, t: Tensor, x: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Values at both ends of steps [m, n, d] around the points, two tensors [m, n]."""
    m, n, d = steps.shape
    times = t.repeat(m)
    plus, minus = ((x + sign * steps).reshape(m * n, d) for sign in (1.0, -1.0))
    return function(times, plus).reshape(m, n), function(times, minus).reshape(m, n)


def _columns(sigma: Tensor, x: Tensor) -> Iterator[Tensor]:
    """Yield the columns of sigma as directions [m, n, d], as many at a time as memory allows."""
    n, d = x.shape
    group = max(1, _LARGEST_TENSOR // (n * d))
    for begin in range(0, d, group):
        chosen = torch.arange(begin, min(begin + group, d), device=x.device)
        if sigma.dim() == 3:
            yield sigma[:, :, chosen].permute(2, 0, 1).expand(-1, n, d)
        else:
            directions = x.new_zeros(len(chosen), n, d)
            directions[torch.arange(len(chosen), device=x.device), :, chosen] = sigma[:, chosen].T.expand(-1, n)
            yield directions


@functools.cache
def _load_forward_mode() -> None:
    """Load torch's table of forward derivatives, which it compiles in a way that it calls deprecated itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("torch._decomp.decompositions_for_jvp")
