r"""Absorbing sets: where paths end, also between two time steps.

A path that is watched only at its steps leaves later than the continuous one, by an error of order :math:`\sqrt h`.
Between two points outside a set, at distances a and c from it in units of the standard deviation of one step, a path
has been inside with the probability of a Brownian bridge,

.. math:: P = e^{-2 a c}, \qquad E[\tau \mid \text{inside}] = h\,a\,M(a + |c|),
    \qquad M(z) = e^{z^2/2} \int_z^\infty e^{-y^2/2}\,dy ,

with the mean time of the first passage, also where the second point lies inside. A constant drift changes neither
(Gobet, doi:10.1016/S0304-4149(99)00109-X). The cheaper remedy is to move the boundary outwards by
:math:`0.5826\,|\sigma^T n|\sqrt h`, with the unit normal n (Gobet and Menozzi, doi:10.1016/j.spa.2009.09.014; the
constant is :math:`-\zeta(1/2)/\sqrt{2\pi}`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message

Level = Callable[[Tensor], Tensor]
OVERSHOOT = 0.5825971579390106
_FAR = 1e6


@dataclass(frozen=True)
class AbsorbingSet:
    """Hold the set of all points where a function is not positive.

    Attributes:
        level: maps coordinates [n, d] to [n]; continuous, zero on the boundary, positive outside.
        unit_slope: whether `level` is the distance to the set, so that its gradient has length 1.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import AbsorbingSet
        >>> folded = AbsorbingSet(lambda x: x.norm(dim=1) - 0.2)
        >>> folded.contains(torch.tensor([[0.1, 0.0], [0.3, 0.0]])).tolist()
        [True, False]
    """

    level: Level
    unit_slope: bool = False

    def level_at(self, x: Tensor) -> Tensor:
        """Return the level, [n].

        Raises:
            ValueError: the function returns another shape.
        """
        level = self.level(x)
        if tuple(level.shape) != (x.shape[0],):
            got, fix = f"{tuple(level.shape)}", "return one number for each row, as by `.squeeze(-1)`"
            raise ValueError(message("the level of a set", f"a result of shape ({x.shape[0]},)", got, fix))
        return level

    def contains(self, x: Tensor) -> Tensor:
        """Return whether points [n, d] lie inside, [n] bool."""
        return self.level_at(x) <= 0.0

    def margins(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the level, [n], and the standard deviation of its change by some noise, [n] or [].

        Args:
            x: [n, d].
            sigma: [d], amplitude of the noise of each coordinate, or [] for one of all.

        Raises:
            ValueError: the function cannot be differentiated.
        """
        if self.unit_slope and sigma.dim() == 0:
            return self.level_at(x), sigma
        with torch.enable_grad():
            place = x.detach().requires_grad_()
            level = self.level_at(place)
            if not level.requires_grad:
                got, fix = "a result without a gradient", 'compute it with torch, or pass exits="steps"'
                raise ValueError(message("the level of a set", "a differentiable function", got, fix))
            slope = torch.autograd.grad(level.sum(), place)[0]
        return level.detach(), (sigma * slope).norm(dim=1)


def ball(centre: Sequence[float] | Tensor, radius: float, *, outside: bool = False) -> AbsorbingSet:
    """Return a ball, or everything outside it.

    Args:
        centre: [d].
        radius: positive.
        outside: take the complement.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import ball
        >>> ball([0.0, 0.0], 1.0, outside=True).contains(torch.tensor([[0.0, 2.0]])).item()
        True
    """
    if not radius > 0.0:
        raise ValueError(message("`radius`", "a positive number", str(radius), "pass the distance from the centre"))
    middle = torch.as_tensor(centre, dtype=torch.float64)
    sign = -1.0 if outside else 1.0
    return AbsorbingSet(lambda x: sign * ((x - middle.to(x)).norm(dim=1) - radius), unit_slope=True)


def half_space(normal: Sequence[float] | Tensor, offset: float) -> AbsorbingSet:
    """Return the set of all x on one side of a plane, where the product of `normal` with x is at least `offset`.

    Args:
        normal: [d], not zero.
        offset: where the boundary lies along `normal`.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import half_space
        >>> half_space([2.0, 0.0], 1.0).contains(torch.tensor([[0.6, 0.0], [0.4, 9.0]])).tolist()
        [True, False]
    """
    direction = torch.as_tensor(normal, dtype=torch.float64)
    length = float(direction.norm())
    if not length > 0.0:
        raise ValueError(message("`normal`", "a vector that is not zero", str(direction.tolist()), "pass a direction"))
    unit, distance = direction / length, offset / length
    return AbsorbingSet(lambda x: distance - x @ unit.to(x), unit_slope=True)


@dataclass(frozen=True)
class Exits:
    """Decide which paths have left through which set.

    Attributes:
        sets: any number of them.
        sigma: [d] or [], amplitude of the noise of each coordinate in one step; zero where noise acts on velocities.
        kind: "bridge", "shift" or "steps", see `PathSettings`; "steps" where there is no noise.
    """

    sets: tuple[AbsorbingSet, ...]
    sigma: Tensor
    kind: str

    def distances(self, x: Tensor) -> Tensor:
        """Return the distance of points [n, d] to each set, [n, n_sets], in units of the noise of one step.

        Where exits are looked for at steps only, the level itself does.
        """
        if not self.sets:
            return x[:, :0]
        if self.kind == "steps":
            return torch.stack([each.level_at(x) for each in self.sets], 1)
        pairs = [each.margins(x, self.sigma) for each in self.sets]
        tiny = torch.finfo(x.dtype).tiny
        ratios = [level / slope.clamp_min(tiny) for level, slope in pairs]
        return torch.stack(ratios, 1).clamp(-_FAR, _FAR)

    def find(self, before: Tensor, after: Tensor, drawn: Tensor) -> Tensor:
        """Return the set that each path has reached in a step, [n] int64, -1 for none.

        Args:
            before: [n, n_sets], distances at the beginning.
            after: [n, n_sets], at the end.
            drawn: [n], uniform numbers of (0, 1).
        """
        n_sets = after.shape[1]
        if n_sets == 0:
            return torch.full_like(drawn, -1, dtype=torch.int64)
        if self.kind == "bridge":
            reached = ((-2.0 * before * after.clamp_min(0.0)).exp().cumsum(1) > drawn[:, None]).sum(1)
            return torch.where(reached > 0, n_sets - reached, -1)
        nearest, which = after.min(1)
        return torch.where(nearest <= (OVERSHOOT if self.kind == "shift" else 0.0), which, -1)

    def share(self, before: Tensor, after: Tensor, which: Tensor) -> Tensor:
        """Return the part of a step that passes before the set `which` is reached, [n]; 1 where there is none."""
        if self.kind == "shift" or after.shape[1] == 0:
            return torch.ones_like(which, dtype=after.dtype)
        chosen = which.clamp_min(0)[:, None]
        a, c = before.gather(1, chosen)[:, 0], after.gather(1, chosen)[:, 0]
        if self.kind == "bridge":
            mills = math.sqrt(0.5 * math.pi) * torch.special.erfcx((a + c.abs()) * math.sqrt(0.5))
            return torch.where(which >= 0, a * mills, 1.0)
        return torch.where(which >= 0, a / (a - c).clamp_min(torch.finfo(c.dtype).tiny), 1.0)
