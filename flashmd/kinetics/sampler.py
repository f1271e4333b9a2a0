"""Draws of the defect of a surrogate from paths, in the form that rounds of draws ask for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.kinetics.paths import Simulator
from flashmd.kinetics.pool import Starts
from flashmd.pde.estimate import DefectMoments, Moments
from flashmd.pde.feynman_kac import Draws, Points
from flashmd.pde.streams import child_streams

_PATHS = 11
_FEWEST_DRAWS = 8


@dataclass(frozen=True)
class PathDraws(Draws):
    """Draws with what truncation may hide in each, [n, count]."""

    excess: Tensor | None = None


class PathMoments(DefectMoments):
    """Moments of the draws and of what truncation may hide."""

    def __init__(self, n: int, device: torch.device) -> None:
        super().__init__(n, 0, device, gradient=False)
        self.excess = Moments(n, (), device)

    def add(self, index: Tensor, draws: Draws) -> None:
        """Include draws of the points `index`."""
        super().add(index, draws)
        if isinstance(draws, PathDraws) and draws.excess is not None:
            self.excess.add(index, draws.excess)


@dataclass
class PathSampler:
    """Draws at many points; it counts what they take.

    Attributes:
        simulator: runs the paths.
        moving: whether points are coordinates and velocities, [n, 2 d]; otherwise velocities are drawn.
        paths: run so far.
        steps: taken by all of them.
        truncated: how many of them were cut short.
    """

    simulator: Simulator
    moving: bool = False
    paths: int = 0
    steps: int = 0
    truncated: int = 0

    @property
    def cost(self) -> int:
        """Paths of one draw."""
        return self.simulator.settings.paths_per_draw

    @property
    def rows(self) -> int:
        """One: the simulator keeps within the memory by itself."""
        return 1

    def draw(self, points: Points, first: int, count: int) -> PathDraws:
        """Return draws number `first` to ``first + count - 1``."""
        mirrored = self.cost
        keys = child_streams(points.keys, _PATHS, first, count).flatten()
        sign = torch.tensor([1.0, -1.0][:mirrored], dtype=torch.float64, device=points.x.device)
        x, velocity = points.x.chunk(2, 1) if self.moving else (points.x, None)
        starts = Starts(
            x.repeat_interleave(count * mirrored, 0),
            None if velocity is None else velocity.repeat_interleave(count * mirrored, 0),
            keys.repeat_interleave(mirrored),
            sign.repeat(points.n * count),
            self.surrogate_at(points).repeat_interleave(count * mirrored),
        )
        with torch.no_grad():
            payoffs = self.simulator.run(starts)
        taken = int(payoffs.steps.sum())
        self.paths += len(payoffs.steps)
        self.steps += taken
        self.truncated += int(payoffs.truncated.sum())
        defect, control = (each.reshape(points.n, count, mirrored) for each in (payoffs.defect, payoffs.control))
        defect = defect - control_factor(defect.mean(2), control.mean(2))[:, :, None] * control
        excess = payoffs.excess.reshape(points.n, count, mirrored).mean(2)
        return PathDraws(defect.mean(2), defect.square().mean(2), evaluations=taken, excess=excess)

    def surrogate_at(self, points: Points) -> Tensor:
        """Return the surrogate at the starts, [n], at rest where velocities are drawn; zero without a surrogate."""
        if self.simulator.surrogate is None:
            return torch.zeros_like(points.t)
        place = points.x
        if self.simulator.dynamics.has_velocities and not self.moving:
            place = torch.cat([place, torch.zeros_like(place)], 1)
        return self.simulator.surrogate.value(points.t, place).detach()


def control_factor(value: Tensor, control: Tensor) -> Tensor:
    """Return the factor of the control variate of each draw, [n, count], fitted on the other draws of its point.

    Given the others, the control of a draw has mean zero, so no bias arises. Fewer than eight draws take 1.

    Args:
        value: [n, count], draws without the control.
        control: [n, count].
    """
    count = value.shape[1]
    if count < _FEWEST_DRAWS:
        return torch.ones_like(value)
    others = (value.sum(1, keepdim=True) - value) / (count - 1)
    product = (value * control).sum(1, keepdim=True) - value * control
    product = product - others * (control.sum(1, keepdim=True) - control)
    square = control.square().sum(1, keepdim=True) - control.square()
    return torch.where(square > 0.0, product / square, 1.0)
