"""Surrogates: any function u(t, x) together with the way its derivatives are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from flashmd.errors import message
from flashmd.pde.checks import check_choice, check_function, check_tensor
from flashmd.pde.derivatives import Jet, difference_jet, first_derivatives, forward_second, second_along
from flashmd.pde.diffusion import times

DERIVATIVES = ("auto", "forward", "hutchinson", "differences", "none")
_KINKED = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Threshold, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish,
    nn.Hardshrink, nn.Softshrink, nn.ELU, nn.CELU, nn.SELU, nn.MaxPool1d, nn.Softsign,
)  # fmt: skip
_TRAINING_ONLY = (nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.BatchNorm1d)


@runtime_checkable
class ClosedJet(Protocol):
    """A function with derivatives of its own, which are faster than those by differentiation."""

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the values, [n]."""
        ...

    def jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        """Return value and derivatives; `second` for a constant diagonal sigma [d] unless it is None."""
        ...


class Surrogate:
    """Join an approximate solution to the derivatives that a correction needs.

    Args:
        function: maps t [n] and x [n, d] to [n]: a function, a torch module, or one with a method `jet`.
        derivatives: "forward" finds second derivatives exactly, by nested forward mode; "hutchinson" by one random
            direction, unbiased where the problem is linear; "differences" needs values only, so the function may be
            any code; "none" leaves second derivatives out, and only the martingale form is possible. "auto" is
            "forward", or the function's own `jet` where it has one.
        smooth: whether second derivatives exist everywhere. None looks for activations with kinks among the modules.

    Example:
        >>> import torch
        >>> from flashmd.pde import Surrogate
        >>> square = Surrogate(lambda t, x: t + (x**2).sum(1))
        >>> jet = square.jet(torch.zeros(1), torch.ones(1, 3), torch.ones(1, 3))
        >>> jet.second.item(), jet.time_derivative.item()
        (3.0, 1.0)
    """

    def __init__(
        self,
        function: Callable[[Tensor, Tensor], Any],
        *,
        derivatives: str = "auto",
        smooth: bool | None = None,
    ) -> None:
        check_choice("derivatives", derivatives, DERIVATIVES)
        check_function("the surrogate", function, "pass a function of t and x or a torch module")
        self.function = function
        self.derivatives = derivatives
        self.smooth = _is_smooth(function) if smooth is None else smooth
        self._dtype = parameter_dtype(function)

    @property
    def has_second(self) -> bool:
        """Whether second derivatives exist and are found, so that the residual form is valid."""
        return self.smooth and self.derivatives != "none"

    @property
    def uses_forward_mode(self) -> bool:
        """Whether second derivatives come from torch's forward mode, which only one thread may use at a time."""
        if self.derivatives in {"differences", "none"}:
            return False
        return not self._is_closed or bool(getattr(self.function, "uses_forward_mode", False))

    def value(self, t: Tensor, x: Tensor) -> Tensor:
        """Return u(t, x), [n], in the dtype of `x`.

        Raises:
            ValueError: the function returns another shape.
        """
        dtype = self._dtype or x.dtype
        raw = self.function(t.to(dtype), x.to(dtype))
        if self.derivatives != "differences":
            check_tensor("the result of the surrogate", raw, 'pass derivatives="differences"')
        result = torch.as_tensor(raw, device=x.device)
        if tuple(result.shape) != (x.shape[0],):
            got, fix = f"{tuple(result.shape)}", "return one number for each row, as by `.squeeze(-1)`"
            raise ValueError(message("the surrogate", f"a result of shape ({x.shape[0]},)", got, fix))
        return result.to(x.dtype)

    def gradient(self, t: Tensor, x: Tensor) -> Jet:
        """Return value, gradient and time derivative, without second derivatives."""
        if self._is_closed:
            return self._closed(t, x, None)
        if self.derivatives == "differences":
            return difference_jet(self.value, t, x, None, self._precision_of_values(t, x))
        return first_derivatives(self.value, t, x)

    def jet(self, t: Tensor, x: Tensor, sigma: Tensor, signs: Tensor | None = None) -> Jet:
        """Return value and all derivatives.

        Args:
            t: [n].
            x: [n, d].
            sigma: [n or 1, d], a diagonal, or [n or 1, d, d].
            signs: [n, d], random signs; needed where `derivatives` is "hutchinson".
        """
        if self._is_closed and sigma.dim() == 2 and sigma.shape[0] == 1:
            return self._closed(t, x, sigma[0])
        if self.derivatives == "differences":
            return difference_jet(self.value, t, x, sigma, self._precision_of_values(t, x))
        jet = self.gradient(t, x)
        if self.derivatives == "hutchinson" and signs is not None:
            second = 0.5 * second_along(self.value, t, x, times(sigma, signs)[None])[0]
        else:
            second = forward_second(self.value, t, x, sigma)
        return replace(jet, second=second)

    def check_mode(self) -> None:
        """Raise ValueError where the function is a module with layers that act at random or mix rows."""
        parts = self.function.modules() if isinstance(self.function, nn.Module) else iter(())
        for part in parts:
            if part.training and isinstance(part, _TRAINING_ONLY):
                got, fix = f"an active {type(part).__name__}", "call `eval()` of the module"
                raise ValueError(message("the surrogate", "a module in evaluation mode", got, fix))

    def _precision_of_values(self, t: Tensor, x: Tensor) -> torch.dtype:
        dtype = self._dtype or x.dtype
        return torch.as_tensor(self.function(t[:1].to(dtype), x[:1].to(dtype))).dtype

    @property
    def _is_closed(self) -> bool:
        return self.derivatives in {"auto", "none"} and isinstance(self.function, ClosedJet)

    def _closed(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        assert isinstance(self.function, ClosedJet)  # noqa: S101 - asked by the callers
        dtype = self._dtype or x.dtype
        weights = None if diagonal is None else diagonal.to(dtype)
        return self.function.jet(t.to(dtype), x.to(dtype), weights).to(x.dtype)


def _is_smooth(function: object) -> bool:
    return not (isinstance(function, nn.Module) and any(isinstance(part, _KINKED) for part in function.modules()))


def parameter_dtype(function: object) -> torch.dtype | None:
    """Precision of a module's parameters; other functions take what they are given."""
    if not isinstance(function, nn.Module):
        return None
    return next((parameter.dtype for parameter in function.parameters()), None)
