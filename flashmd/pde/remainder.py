"""What the linearisation of the source leaves out: a check that it is nothing, and an estimate of its size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.pde.diffusion import transposed_times
from flashmd.pde.feynman_kac import Points
from flashmd.pde.linearise import source_slopes
from flashmd.pde.problem import Parabolic
from flashmd.pde.surrogate import Surrogate

_AFFINE = 1e-9


def remainder_bound(
    problem: Parabolic, surrogate: Surrogate, points: Points, defect: Tensor, path_variance: Tensor
) -> Tensor:
    r"""Estimate how much the terms beyond the linearisation change the defect, [n].

    By Ito's isometry the variance of a path is :math:`E\int|\breve z|^2 dr`, which gives the size of the neglected
    gradient without further simulation. The remainder of the source is evaluated at the defect and at gradients of
    this size along the surrogate's gradient, along the diagonal and along two random directions of signs; the largest
    is taken to act over the whole time. Where the source is not finite at one of these, nothing is known: infinity.

    Args:
        problem: the equation.
        surrogate: the approximate solution.
        points: [n].
        defect: [n], estimated defect.
        path_variance: [n], variance of single paths.
    """
    if problem.source is None:
        return torch.zeros_like(defect)
    left = problem.T - points.t
    size = (path_variance / left.clamp_min(torch.finfo(left.dtype).tiny)).sqrt()
    tangent = _Tangent.at(problem, surrogate, points)
    z = tangent.z
    # On the way the defect may be larger than at the start: allow for twice as much, and for the deviation of a path.
    defect = 2.0 * defect + defect.sign() * path_variance.sqrt()
    generator = torch.Generator().manual_seed(0)
    random = (torch.rand(2, z.shape[1], generator=generator, dtype=z.dtype) - 0.5).sign().to(z.device)
    candidates = [z, torch.ones_like(z), *(row.expand_as(z) for row in random)]
    largest = torch.zeros_like(defect)
    for direction in candidates:
        unit = direction / direction.norm(dim=1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
        for sign in (1.0, -1.0):
            remainder = tangent.remainder(defect, sign * size[:, None] * unit)
            largest = torch.maximum(largest, remainder.abs())
    return left * largest.nan_to_num(torch.inf, posinf=torch.inf)


def check_affine(problem: Parabolic, surrogate: Surrogate, points: Points) -> None:
    """Raise ValueError unless the source is affine in u and z at the points."""
    generator = torch.Generator().manual_seed(0)
    n, d = points.x.shape
    shift = torch.randn(n, d + 1, generator=generator, dtype=points.x.dtype).to(points.x.device)
    tangent = _Tangent.at(problem, surrogate, points)
    remainder = tangent.remainder(shift[:, 0], shift[:, 1:])
    scale = 1.0 + shift.square().sum(1) + tangent.u.abs()
    worst = float((remainder.abs() / scale).max())
    if worst > _AFFINE:
        got = f"one that deviates from its tangent by {worst:.1e} at unit distance"
        raise ValueError(message("`source`", 'a function affine in u and z for "linear"', got, 'use method="newton"'))


@dataclass(frozen=True)
class _Tangent:
    """The source and its slopes around the surrogate at some points."""

    problem: Parabolic
    points: Points
    u: Tensor
    z: Tensor
    f: Tensor
    f_u: Tensor
    f_z: Tensor

    @classmethod
    def at(cls, problem: Parabolic, surrogate: Surrogate, points: Points) -> _Tangent:
        """Evaluate surrogate and source once."""
        t, x = points.t, points.x
        with torch.no_grad():
            u = surrogate.value(t, x)
            z = transposed_times(problem.sigma.at(t, x), surrogate.gradient(t, x).gradient)
            return cls(problem, points, u, z, *source_slopes(problem, t, x, u, z))

    def remainder(self, y: Tensor, zeta: Tensor) -> Tensor:
        """Return ``f(u + y, z + zeta) - f - df/du y - df/dz . zeta``, [n]."""
        with torch.no_grad():
            moved = self.problem.source_at(self.points.t, self.points.x, self.u + y, self.z + zeta)
        return moved - self.f - self.f_u * y - (self.f_z * zeta).sum(1)
