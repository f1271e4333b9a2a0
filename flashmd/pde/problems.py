"""A library of parabolic problems in any dimension with exact solutions, to test and to compare solvers with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.pde.derivatives import Jet
from flashmd.pde.problem import Parabolic

Profile = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
_QUADRATURE = 200


class Ridge:
    """A function ``h(a sum(x) + b t)`` times ``exp(c (t - T))``, plus a constant, with its derivatives.

    Args:
        profile: maps s to h(s), h'(s), h''(s).
        a: slope in the sum of x.
        b: slope in time.
        decay: c and T.
        constant: added.
    """

    def __init__(
        self, profile: Profile, a: float, b: float, *, decay: tuple[float, float] = (0.0, 0.0), constant: float = 0.0
    ) -> None:
        self._profile, self._a, self._b, self._decay, self._constant = profile, a, b, decay, constant

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the values, [n]."""
        return self._factor(t) * self._profile(self._a * x.sum(1) + self._b * t)[0] + self._constant

    def jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        """Return value and derivatives, as `flashmd.pde.surrogate.ClosedJet`."""
        factor = self._factor(t)
        value, slope, bend = (factor * part for part in self._profile(self._a * x.sum(1) + self._b * t))
        second = None if diagonal is None else 0.5 * self._a**2 * bend * diagonal.square().sum()
        gradient = (self._a * slope)[:, None].expand_as(x)
        return Jet(value + self._constant, gradient, self._b * slope + self._decay[0] * value, second)

    def _factor(self, t: Tensor) -> Tensor:
        return (self._decay[0] * (t - self._decay[1])).exp()


class AtHorizon:
    """The terminal value ``x -> u(T, x)`` of a function with derivatives of its own."""

    def __init__(self, function: Ridge | LogQuadratic, T: float) -> None:
        self._function, self._T = function, T

    def __call__(self, x: Tensor) -> Tensor:
        """Return g(x), [n]."""
        return self._function(x.new_full((x.shape[0],), self._T), x)

    def jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        """Return value and derivatives; the time derivative is zero."""
        jet = self._function.jet(torch.full_like(t, self._T), x, diagonal)
        return Jet(jet.value, jet.gradient, torch.zeros_like(t), jet.second)


class LogQuadratic:
    """``log((1 + x^T C x + growth (T - t)) / 2)`` with its derivatives.

    Args:
        matrix: [d, d], C, symmetric.
        T: horizon.
        growth: growth of the quadratic form with the time left.
    """

    def __init__(self, matrix: Tensor, T: float, growth: float) -> None:
        self._matrix, self._T, self._growth = matrix, T, growth

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the values, [n]."""
        return (0.5 * self._inner(t, x)[0]).log()

    def jet(self, t: Tensor, x: Tensor, diagonal: Tensor | None) -> Jet:
        """Return value and derivatives, as `flashmd.pde.surrogate.ClosedJet`."""
        inner, half_slope = self._inner(t, x)
        gradient = 2.0 * half_slope / inner[:, None]
        second = None
        if diagonal is not None:
            weights = diagonal.square()
            trace = (weights * self._matrix.diagonal().to(weights)).sum()
            second = trace / inner - 0.5 * (gradient.square() @ weights)
        return Jet((0.5 * inner).log(), gradient, -self._growth / inner, second)

    def _inner(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        half_slope = x @ self._matrix.to(x)
        return 1.0 + (x * half_slope).sum(1) + self._growth * (self._T - t), half_slope


@dataclass(frozen=True)
class ReferenceProblem:
    """Hold a problem with its exact solution.

    Attributes:
        name: short name.
        problem: the equation.
        exact: maps t [n], x [n, d] to the exact solution [n].
        rough: a closed approximation, accurate to a few per cent or better, to be corrected without any training.
        cube: half the edge of the cube that points are drawn from, or None for the unit ball.

    Example:
        >>> import torch
        >>> from flashmd.pde import reference_problem
        >>> case = reference_problem("convection", 2)
        >>> case.exact(torch.full((1,), 0.5), torch.ones(1, 2))
        tensor([2.5000])
    """

    name: str
    problem: Parabolic
    exact: Callable[[Tensor, Tensor], Tensor]
    rough: Callable[[Tensor, Tensor], Tensor]
    cube: float | None

    def points(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return n points uniform in time and in the cube or ball, t [n] and x [n, d], float64."""
        generator = torch.Generator().manual_seed(seed)
        t = self.problem.T * torch.rand(n, generator=generator, dtype=torch.float64)
        d = self.problem.d
        if self.cube is not None:
            return t, self.cube * (2.0 * torch.rand(n, d, generator=generator, dtype=torch.float64) - 1.0)
        direction = torch.randn(n, d, generator=generator, dtype=torch.float64)
        radius = torch.rand(n, 1, generator=generator, dtype=torch.float64) ** (1.0 / d)
        return t, radius * direction / direction.norm(dim=1, keepdim=True)


def convection(d: int) -> ReferenceProblem:
    """Linear convection and diffusion, ``u = sum x + t``.

    >>> convection(3).problem.T
    0.5
    """
    exact = Ridge(_identity, 1.0, 1.0)
    bent = Ridge(lambda s: (s + 0.02 * torch.sin(s), 1 + 0.02 * torch.cos(s), -0.02 * torch.sin(s)), 1.0, 1.0)
    problem = Parabolic(d=d, T=0.5, drift=-1.0 / d, diffusion=math.sqrt(2.0), terminal=AtHorizon(exact, 0.5))
    return ReferenceProblem("convection", problem, exact, bent, 0.5)


def burgers(d: int) -> ReferenceProblem:
    """Viscous Burgers equation, ``u = 1 / (1 + exp(-t - sum x))``: a source with the gradient in it.

    >>> burgers(3).problem.diffusion
    0.25
    """
    sigma, T = 0.25, 0.5

    def source(t: Tensor, x: Tensor, u: Tensor, z: Tensor) -> Tensor:
        del t, x
        return sigma * u * z.sum(1)

    exact = Ridge(_logistic, 1.0, 1.0)
    # Too steep by a twentieth and shifted: the shape is right, the values are not.
    rough = Ridge(_logistic, 1.05, 0.9)
    drift = -1.0 / d - 0.5 * sigma**2
    problem = Parabolic(d=d, T=T, drift=drift, diffusion=sigma, source=source, terminal=AtHorizon(exact, T))
    return ReferenceProblem("burgers", problem, exact, rough, 0.5)


def hamilton_jacobi(d: int, seed: int = 0) -> ReferenceProblem:
    """Hamilton-Jacobi-Bellman equation of a linear-quadratic control, exact by the Hopf-Cole transformation.

    The terminal value is ``log((1 + sum_i c_i (x_i - x_{i+1})^2 + k_i x_{i+1}^2) / 2)`` with c, k uniform in [.5, 1.5].

    >>> round(float(hamilton_jacobi(2).exact(torch.ones(1), torch.zeros(1, 2))), 4)
    -0.6931
    """
    if d < 2:
        raise ValueError(message("`d`", "at least 2 for this problem", str(d), "raise it"))
    generator = torch.Generator().manual_seed(seed)
    c, k = 0.5 + torch.rand(2, d - 1, generator=generator, dtype=torch.float64)
    matrix = torch.diag(torch.cat([c, c.new_zeros(1)]) + torch.cat([c.new_zeros(1), c + k]))
    matrix -= torch.diag(c, 1) + torch.diag(c, -1)
    rough = LogQuadratic(matrix, 1.0, 2.0 * float(matrix.trace()))

    def source(t: Tensor, x: Tensor, u: Tensor, z: Tensor) -> Tensor:
        del t, x, u
        return -0.5 * z.square().sum(1)

    problem = Parabolic(d=d, T=1.0, diffusion=math.sqrt(2.0), source=source, terminal=AtHorizon(rough, 1.0))
    return ReferenceProblem("hamilton_jacobi", problem, _HopfCole(matrix, 1.0), rough, None)


def reaction_diffusion(d: int) -> ReferenceProblem:
    """Reaction and diffusion with an oscillating solution, ``u = 1.6 + sin(0.1 sum x) exp(0.005 d (t - T))``.

    >>> reaction_diffusion(4).problem.d
    4
    """
    T = 1.0
    decay = (0.005 * d, T)
    exact = Ridge(_sine, 0.1, 0.0, decay=decay, constant=1.6)
    rough = Ridge(_sine, 0.102, 0.03, decay=decay, constant=1.62)

    def source(t: Tensor, x: Tensor, u: Tensor, z: Tensor) -> Tensor:
        del z
        return (u - exact(t, x)).square().clamp_max(1.0)

    problem = Parabolic(d=d, T=T, diffusion=1.0, source=source, terminal=AtHorizon(exact, T))
    return ReferenceProblem("reaction_diffusion", problem, exact, rough, None)


class _HopfCole:
    """``-log E exp(-g(x + sqrt(2 (T - t)) xi))`` for g = log((1 + x^T C x) / 2), by one integral.

    exp(-g) is 2 / (1 + Q) = 2 int_0^inf exp(-s (1 + Q)) ds, and the mean of exp(-s Q) over a Gaussian is closed.
    """

    def __init__(self, matrix: Tensor, T: float) -> None:
        self._values, self._vectors = torch.linalg.eigh(matrix)
        self._T = T

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the values, [n]."""
        # Simpson-like accuracy for free: the integrand in log s is smooth and vanishes at both ends.
        log_s = torch.as_tensor(np.linspace(-40.0, 6.0, 1 + 12 * _QUADRATURE), dtype=x.dtype, device=x.device)
        squares = (x @ self._vectors.to(x)).square()
        result = torch.empty_like(t)
        for row, (left, square) in enumerate(zip(self._T - t, squares, strict=True)):
            growth = 1.0 + 4.0 * log_s.exp()[:, None] * left * self._values.to(x)
            exponent = -log_s.exp()[:, None] * self._values.to(x) * square / growth - 0.5 * growth.log()
            logarithm = exponent.sum(1) - log_s.exp() + log_s
            result[row] = -math.log(2.0) - torch.logsumexp(logarithm, 0) - (log_s[1] - log_s[0]).log()
        return result


def _identity(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return s, torch.ones_like(s), torch.zeros_like(s)


def _logistic(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    value = torch.sigmoid(s)
    slope = value * (1.0 - value)
    return value, slope, slope * (1.0 - 2.0 * value)


def _sine(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return s.sin(), s.cos(), -s.sin()


def reference_problem(name: str, d: int) -> ReferenceProblem:
    """Return a problem of the library: "convection", "burgers", "hamilton_jacobi" or "reaction_diffusion".

    Args:
        name: of the problem.
        d: dimension of the space.

    Example:
        >>> from flashmd.pde import reference_problem
        >>> t, x = reference_problem("burgers", 20).points(5, seed=0)
        >>> x.shape
        torch.Size([5, 20])
    """
    if name not in REFERENCE_PROBLEMS:
        expected = f"one of {', '.join(REFERENCE_PROBLEMS)}"
        raise ValueError(message("the problem", expected, repr(name), "choose one of these"))
    return REFERENCE_PROBLEMS[name](d)


REFERENCE_PROBLEMS: dict[str, Callable[[int], ReferenceProblem]] = {
    "convection": convection,
    "burgers": burgers,
    "hamilton_jacobi": hamilton_jacobi,
    "reaction_diffusion": reaction_diffusion,
}
