"""The matrix sigma of a diffusion in its four forms: a number, a diagonal, a matrix, a function of time and place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flashmd.errors import message

Coefficient = Callable[[Tensor, Tensor], Tensor]
_LARGEST_CONDITION = 1e12


class Diffusion:
    """sigma(t, x) as a diagonal ``[n or 1, d]`` or as matrices ``[n or 1, d, d]``.

    Args:
        value: a number, [d], [d, d] or a function of t [n] and x [n, d] that returns [n, d] or [n, d, d].
        d: dimension of the space.
    """

    def __init__(self, value: float | Tensor | Coefficient, d: int) -> None:
        self.d = d
        self._function = value if callable(value) and not isinstance(value, Tensor) else None
        self._constant: Tensor | None = None
        if self._function is None:
            constant = torch.as_tensor(value, dtype=torch.float64)
            if tuple(constant.shape) not in ((), (d,), (d, d)):
                fix = "pass a number, a diagonal, a matrix or a function of t and x"
                raise ValueError(
                    message("`diffusion`", f"shape (), ({d},) or ({d}, {d})", f"{tuple(constant.shape)}", fix)
                )
            if not bool(constant.isfinite().all()):
                raise ValueError(message("`diffusion`", "finite numbers", "NaN or infinity", "correct its entries"))
            self._constant = (constant.expand(d) if constant.dim() == 0 else constant)[None]

    @property
    def is_constant(self) -> bool:
        """Whether sigma depends on neither time nor place."""
        return self._constant is not None

    @property
    def diagonal(self) -> Tensor | None:
        """[d], the constant diagonal, or None for all other forms."""
        if self._constant is None or self._constant.dim() == 3:
            return None
        return self._constant[0]

    def at(self, t: Tensor, x: Tensor) -> Tensor:
        """Return sigma as [n or 1, d] or [n or 1, d, d] in the dtype and on the device of `x`."""
        if self._constant is not None:
            return self._constant.to(device=x.device, dtype=x.dtype)
        assert self._function is not None  # noqa: S101 - one of both is set
        sigma = self._function(t, x)
        n = x.shape[0]
        if tuple(sigma.shape) not in ((n, self.d), (n, self.d, self.d)):
            expected = f"({n}, {self.d}) or ({n}, {self.d}, {self.d}) from a function"
            fix = "return one diagonal or one matrix for each row of `x`"
            raise ValueError(message("`diffusion`", expected, f"{tuple(sigma.shape)}", fix))
        return sigma

    def check_invertible(self) -> None:
        """Raise ValueError where a constant sigma has no inverse to divide gradients by."""
        if self._constant is None:
            return
        if self._constant.dim() == 2:
            smallest, largest = self._constant.abs().amin(), self._constant.abs().amax()
        else:
            spectrum = torch.linalg.svdvals(self._constant[0])
            smallest, largest = spectrum[-1], spectrum[0]
        if float(smallest) * _LARGEST_CONDITION <= float(largest):
            got = f"smallest singular value {float(smallest):.1e}"
            fix = 'use method="newton" or "linear" without `gradient`, which never divide by sigma'
            raise ValueError(message("`diffusion`", "an invertible matrix", got, fix))


def times(sigma: Tensor, vector: Tensor) -> Tensor:
    """Return ``sigma v`` for rows v [n, d]."""
    return sigma * vector if sigma.dim() == 2 else (sigma @ vector[..., None])[..., 0]


def plus_times(start: Tensor, sigma: Tensor, vector: Tensor) -> Tensor:
    """Return ``start + sigma v`` for rows v [n, d]."""
    return torch.addcmul(start, sigma, vector) if sigma.dim() == 2 else start + times(sigma, vector)


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Return the scalar product of each row, [n], without a tensor of all products."""
    return torch.einsum("nd,nd->n", left, right)


def transposed_times(sigma: Tensor, vector: Tensor) -> Tensor:
    """Return ``sigma^T v`` for rows v [n, d]."""
    return sigma * vector if sigma.dim() == 2 else (sigma.mT @ vector[..., None])[..., 0]


def solve(sigma: Tensor, vector: Tensor, *, transposed: bool) -> Tensor:
    """Return ``sigma^-1 v`` or ``sigma^-T v`` for rows v [n, d]."""
    if sigma.dim() == 2:
        return vector / sigma
    matrix = sigma.mT if transposed else sigma
    result: Tensor = torch.linalg.solve(matrix.expand(vector.shape[0], -1, -1), vector[..., None])[..., 0]
    return result
