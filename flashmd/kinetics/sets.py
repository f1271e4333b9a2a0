r"""Absorbing sets: where paths end, with the correction for exits between time steps.

A path of time step h that is watched only at its steps leaves later than the continuous one, by an error of order
:math:`\sqrt h`. Moving the boundary outwards by :math:`0.5826\,|\sigma^T n|\sqrt h`, with the unit normal n, removes
it (Gobet and Menozzi, doi:10.1016/j.spa.2009.09.014; the constant is :math:`-\zeta(1/2)/\sqrt{2\pi}`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message

Level = Callable[[Tensor], Tensor]
OVERSHOOT = 0.5825971579390106


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
        """Return the level, [n], and by how much one step of unit time changes it, [n] or [].

        Args:
            x: [n, d].
            sigma: [d], amplitude of the noise of each coordinate, or [] for one of all.
        """
        if self.unit_slope and sigma.dim() == 0:
            return self.level_at(x), sigma
        with torch.enable_grad():
            place = x.detach().requires_grad_()
            level = self.level_at(place)
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
    """Decide which points have left through which set.

    Attributes:
        sets: any number of them.
        sigma: [d] or [], amplitude of the noise of each coordinate.
        shift: by how many standard deviations of one step the sets are enlarged.
    """

    sets: tuple[AbsorbingSet, ...]
    sigma: Tensor
    shift: float

    def find(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the index of the set in which each point lies, [n], -1 for none, and whether two contain a point.

        A point between two enlarged sets belongs to the one whose boundary is nearer, in units of its own margin.
        """
        which = torch.full((x.shape[0],), -1, dtype=torch.int64, device=x.device)
        nearest = torch.full_like(which, 1, dtype=x.dtype)
        inside = torch.zeros_like(which)
        for number, region in enumerate(self.sets):
            if self.shift > 0.0:
                level, scale = region.margins(x, self.sigma)
                ratio = level / (self.shift * scale).clamp_min(torch.finfo(x.dtype).tiny)
            else:
                level = region.level_at(x)
                ratio = torch.where(level <= 0.0, level, torch.inf)
            closer = (ratio <= 1.0) & (ratio <= nearest)
            which = torch.where(closer, number, which)
            nearest = torch.where(closer, ratio, nearest)
            inside += level <= 0.0
        return which, (inside > 1).any()
