"""Semilinear parabolic problems with a terminal value, and what their coefficients are checked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.pde.checks import check_function, check_tensor, check_whole
from flashmd.pde.diffusion import Coefficient, Diffusion

Source = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Terminal = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Parabolic:
    r"""Hold a terminal value problem on :math:`[0, T] \times R^d`.

    .. math::
        \partial_t u + \langle \mu, \nabla u \rangle + \tfrac12 \mathrm{Tr}(\sigma\sigma^T \nabla^2 u)
        + f(t, x, u, \sigma^T \nabla u) = 0, \qquad u(T, x) = g(x).

    An initial value problem becomes one of these with T - t for t. All functions take batches: t [n], x [n, d],
    u [n], z [n, d], float64, and treat every row alone.

    Args:
        d: dimension of the space.
        T: horizon.
        drift: mu, a number, [d], or a function of (t, x) that returns [n, d].
        diffusion: sigma, a number, [d] (diagonal), [d, d], or a function of (t, x) that returns [n, d] or [n, d, d].
        source: f, a function of (t, x, u, z) with ``z = sigma^T grad u`` that returns [n], or None for zero.
        terminal: g, a function of x that returns [n].

    Example:
        >>> from flashmd.pde import Parabolic
        >>> heat = Parabolic(d=3, T=1.0, diffusion=2.0**0.5, terminal=lambda x: (x**2).sum(1))
        >>> heat.d
        3
    """

    d: int
    T: float
    terminal: Terminal
    drift: float | Tensor | Coefficient = 0.0
    diffusion: float | Tensor | Coefficient = 1.0
    source: Source | None = None
    sigma: Diffusion = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_whole("d", self.d, at_least=1)
        if not 0.0 < self.T < float("inf"):
            raise ValueError(message("`T`", "a positive horizon", str(self.T), "measure time from the first point"))
        check_function("`terminal`", self.terminal, "pass a function of x, as `lambda x: x.sum(1)`")
        if self.source is not None:
            check_function("`source`", self.source, "pass a function of t, x, u and z")
        if not callable(self.drift):
            shape = tuple(torch.as_tensor(self.drift).shape)
            if shape not in ((), (self.d,)):
                fix = "pass a number, a vector or a function of t and x"
                raise ValueError(message("`drift`", f"shape () or ({self.d},)", f"{shape}", fix))
            if not bool(torch.as_tensor(self.drift).isfinite().all()):
                raise ValueError(message("`drift`", "finite numbers", "NaN or infinity", "correct its entries"))
        object.__setattr__(self, "sigma", Diffusion(self.diffusion, self.d))

    @property
    def has_constant_drift(self) -> bool:
        """Whether the drift depends on neither time nor place."""
        return not callable(self.drift) or isinstance(self.drift, Tensor)

    def drift_at(self, t: Tensor, x: Tensor) -> Tensor:
        """Return mu(t, x), [n, d]."""
        if callable(self.drift) and not isinstance(self.drift, Tensor):
            return _shaped("drift", self.drift(t, x), x.shape, x.dtype)
        return torch.as_tensor(self.drift, dtype=x.dtype, device=x.device).expand(x.shape)

    def source_at(self, t: Tensor, x: Tensor, u: Tensor, z: Tensor) -> Tensor:
        """Return f(t, x, u, z), [n]."""
        if self.source is None:
            return torch.zeros_like(u)
        return _shaped("source", self.source(t, x, u, z), u.shape, u.dtype)

    def terminal_at(self, x: Tensor) -> Tensor:
        """Return g(x), [n]."""
        return _shaped("terminal", self.terminal(x), x.shape[:1], x.dtype)

    def check_points(self, t: Tensor, x: Tensor) -> None:
        """Raise ValueError unless t [n] lies in [0, T] and x [n, d] is finite."""
        if x.dim() != 2 or x.shape[1] != self.d or x.shape[0] == 0:
            fix = "give each point one row"
            raise ValueError(message("`x`", f"shape (n, {self.d}) with n > 0", f"{tuple(x.shape)}", fix))
        if tuple(t.shape) != (x.shape[0],):
            fix = "give each point its time"
            raise ValueError(message("`t`", f"shape ({x.shape[0]},)", f"{tuple(t.shape)}", fix))
        outside = ~((t >= 0.0) & (t <= self.T))
        if bool(outside.any()):
            index = int(outside.nonzero()[0, 0])
            fix = "leave out points outside the domain"
            raise ValueError(message(f"`t` of point {index}", f"a time in [0, {self.T}]", f"{float(t[index])}", fix))
        if not bool(x.isfinite().all()):
            index = int((~x.isfinite()).nonzero()[0, 0])
            raise ValueError(message(f"`x` of point {index}", "finite numbers", "NaN or infinity", "leave it out"))


def _shaped(name: str, values: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    check_tensor(f"`{name}`", values, "compute with operations of torch")
    if values.shape != shape:
        fix = "return one result for each row of `x`"
        raise ValueError(message(f"`{name}`", f"a result of shape {tuple(shape)}", f"{tuple(values.shape)}", fix))
    return values.to(dtype)


class Watch:
    """Remember which of the watched values were not finite, without a look at them; ask once at the end."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: list[Tensor] = []

    def __call__(self, name: str, values: Tensor) -> Tensor:
        """Watch `values` and return them."""
        # A sum is finite unless one of its terms is not: cheaper than a test of each entry.
        self._names.append(name)
        self._sums.append(values.detach().sum())
        return values

    def raise_if_broken(self) -> None:
        """Raise ValueError that names the first value that was not finite."""
        broken = (~torch.stack(self._sums).isfinite()).nonzero()
        if len(broken):
            fix = "make it finite wherever paths go, also far from the points"
            name = self._names[int(broken[0, 0])]
            raise ValueError(message(f"`{name}`", "finite values", "NaN or infinity", fix))
