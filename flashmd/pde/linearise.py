"""All that the correction needs of a problem and its surrogate at a batch of points, and the linearised source.

The error of a surrogate obeys a parabolic problem of its own, with the source

    F(y, zeta) = f(u + y, z + zeta) - f(u, z) + residual,       u, z of the surrogate,

(the law of defect). Its linearisation at zero moves ``df/dz`` into the drift and ``df/du`` into a discount.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from flashmd.pde.derivatives import Jet, value_and_slopes
from flashmd.pde.diffusion import dot, plus_times, transposed_times
from flashmd.pde.problem import Parabolic, Watch
from flashmd.pde.surrogate import Surrogate


@dataclass(frozen=True)
class Linearised:
    """The problem around the surrogate at n points.

    Attributes:
        value: [n], of the surrogate.
        z: [n, d], ``sigma^T grad u`` of the surrogate.
        sigma: [n or 1, d] or [n or 1, d, d].
        drift: [n, d], ``mu + sigma df/dz``.
        rate: [n], ``df/du``, the growth of the weight.
        balance: [n], ``f - df/dz . z - df/du u``, the source of the linearised problem.
        residual: [n], by how much the surrogate fails the equation; None without second derivatives.
    """

    value: Tensor
    z: Tensor
    sigma: Tensor
    drift: Tensor
    rate: Tensor
    balance: Tensor
    residual: Tensor | None

    def repeat(self, count: int) -> Linearised:
        """Return the same with every point `count` times in a row."""
        n = self.value.shape[0]
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, part in parts.items():
            if part is not None and part.shape[0] == n and not (name == "sigma" and n == 1):
                parts[name] = part.repeat_interleave(count, 0)
        return Linearised(**parts)


def linearise(
    problem: Parabolic, surrogate: Surrogate, t: Tensor, x: Tensor, watch: Watch, *, signs: Tensor | bool
) -> Linearised:
    """Evaluate coefficients and surrogate at t [n], x [n, d].

    Args:
        problem: the equation.
        surrogate: the approximate solution.
        t: [n].
        x: [n, d].
        watch: collects values that are not finite.
        signs: False leaves the residual out; True includes it; a tensor [n, d] of random signs as well, for
            surrogates that estimate second derivatives along one random direction.
    """
    sigma, drift = problem.sigma.at(t, x), problem.drift_at(t, x)
    # Constants were checked when the problem was made.
    if not problem.sigma.is_constant:
        watch("diffusion", sigma)
    if not problem.has_constant_drift:
        watch("drift", drift)
    jet = surrogate_jet(surrogate, t, x, sigma, signs)
    value, z = watch("surrogate", jet.value), transposed_times(sigma, jet.gradient)
    watch("gradient of the surrogate", z)
    f, f_u, f_z = source_slopes(problem, t, x, value, z)
    if problem.source is not None:
        watch("source", f)
    residual = None
    if jet.second is not None:
        advection = dot(drift, jet.gradient)
        residual = watch("residual of the surrogate", jet.time_derivative + advection + jet.second + f)
    balance = watch("slope of the source", f - dot(f_z, z) - f_u * value)
    return Linearised(value, z, sigma, plus_times(drift, sigma, f_z), f_u, balance, residual)


def surrogate_jet(surrogate: Surrogate, t: Tensor, x: Tensor, sigma: Tensor, signs: Tensor | bool) -> Jet:
    """Return derivatives of the surrogate, second ones unless `signs` is False."""
    if signs is False:
        return surrogate.gradient(t, x)
    return surrogate.jet(t, x, sigma, None if signs is True else signs)


def source_slopes(problem: Parabolic, t: Tensor, x: Tensor, u: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return f [n], df/du [n] and df/dz [n, d]."""
    if problem.source is None:
        return torch.zeros_like(u), torch.zeros_like(u), torch.zeros_like(z)
    f, (f_u, f_z) = value_and_slopes(lambda u, z: problem.source_at(t, x, u, z), u, z)
    return f, f_u, f_z
