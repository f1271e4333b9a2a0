"""What a correction returns, and the running moments that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from flashmd.errors import message

if TYPE_CHECKING:
    from flashmd.pde.feynman_kac import Draws

_SMALL_SKEWNESS = 1e-5


@dataclass(frozen=True)
class Round:
    """State of an estimate after a round of draws.

    Attributes:
        draws: draws of each point that is still active.
        active: number of points that took part in the round.
        evaluations: evaluations of the surrogate so far, over all points.
        largest_standard_error: over all points.
        seconds: since the beginning.
    """

    draws: int
    active: int
    evaluations: int
    largest_standard_error: float
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """Hold a corrected solution with its error bars, all float64.

    Attributes:
        value: [n], estimate of u.
        standard_error: [n], of the independent draws; it knows neither time steps nor `bias_bound`.
        bias_bound: [n], estimated size of what the method neglects: the terms beyond the linearisation for "newton",
            zero for "linear"; NaN for Picard iteration, where the choice of levels decides.
        degrees_of_freedom: [n], draws minus one.
        skewness: [n], of the draws.
        surrogate: [n], what was corrected.
        gradient: [n, d], with respect to x, or None.
        gradient_standard_error: [n, d], or None.
        evaluations: of the surrogate with its derivatives, over all points; a terminal value on its own counts too. The
            start of the paths, which is evaluated once for all paths of a point, is not counted.
        seconds: wall-clock time.
        converged: [n], bool, whether standard error and bias bound together are within the tolerance.
        history: one entry for each round.
        diagnostics: numbers on how the form was chosen and what it did.

    Example:
        >>> import torch
        >>> from flashmd.pde import Parabolic, Surrogate, correct
        >>> heat = Parabolic(d=2, T=1.0, diffusion=2.0**0.5, terminal=lambda x: (x**2).sum(1))
        >>> rough = Surrogate(lambda t, x: (x**2).sum(1) + 3.9 * (1 - t))
        >>> estimate = correct(heat, rough, 0.0, torch.zeros(1, 2), method="linear")
        >>> round(estimate.value.item(), 6)
        4.0
    """

    value: Tensor
    standard_error: Tensor
    bias_bound: Tensor
    degrees_of_freedom: Tensor
    skewness: Tensor
    surrogate: Tensor
    gradient: Tensor | None
    gradient_standard_error: Tensor | None
    evaluations: int
    seconds: float
    converged: Tensor
    history: tuple[Round, ...]
    diagnostics: dict[str, float | str]

    def confidence_interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return lower and upper ends, [n] each, of Student's interval around `value`, corrected for skewness.

        Mirror pairs make skewed draws, for which the symmetric interval is too short on one side. The correction is
        Hall's cubic transformation (J. R. Stat. Soc. B 54, 221, 1992). `bias_bound` is added to both ends where it is
        known.

        Args:
            level: probability, between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(message("`level`", "a probability between 0 and 1", str(level), "pass 0.95, for example"))
        freedom = self.degrees_of_freedom.cpu().numpy()
        factor = np.where(freedom > 0, stdtrit(np.maximum(freedom, 1), 0.5 + 0.5 * level), 0.0)
        quantile = torch.as_tensor(factor).to(self.value)
        ratio = self.skewness / (self.degrees_of_freedom + 1).clamp_min(1).sqrt()
        low, high = (_untransformed(sign * quantile, ratio) * self.standard_error for sign in (1.0, -1.0))
        bias = self.bias_bound.nan_to_num(0.0)
        return self.value - low - bias, self.value - high + bias


def _untransformed(quantile: Tensor, ratio: Tensor) -> Tensor:
    """Inverse of Hall's transformation of a Student variable; `ratio` is the skewness over the root of the count."""
    inner = 1.0 + ratio * quantile - ratio.square() / 6.0
    root = inner.sign() * inner.abs().pow(1.0 / 3.0)
    small = ratio.abs() < _SMALL_SKEWNESS
    return torch.where(small, quantile, 3.0 * (root - 1.0) / ratio.where(~small, 1.0))


class Moments:
    """Counts, means and sums of powers of deviations of n points, updated draw by draw in a stable way.

    Args:
        n: number of points.
        shape: shape of the quantity at each point.
        device: where to keep them.
    """

    def __init__(self, n: int, shape: tuple[int, ...], device: torch.device) -> None:
        self.count = torch.zeros(n, dtype=torch.float64, device=device)
        self.mean = torch.zeros(n, *shape, dtype=torch.float64, device=device)
        self._spread = torch.zeros_like(self.mean)
        self._cubes = torch.zeros_like(self.mean)

    def add(self, index: Tensor, draws: Tensor) -> None:
        """Include draws [len(index), m, ...] of the points `index`."""
        m = draws.shape[1]
        average = draws.mean(1)
        deviation = draws - average[:, None]
        spread = deviation.square().sum(1)
        before = self.count[index].reshape(-1, *[1] * (average.dim() - 1))
        gap = average - self.mean[index]
        total = before + m
        self._cubes[index] += (
            deviation.pow(3).sum(1)
            + gap.pow(3) * before * m * (before - m) / total**2
            + 3.0 * gap * (before * spread - m * self._spread[index]) / total
        )
        self.mean[index] += gap * (m / total)
        self._spread[index] += spread + gap.square() * (before * m / total)
        self.count[index] += m

    def variance(self) -> Tensor:
        """Return the variance of one draw, [n, ...]; zero where there are fewer than two."""
        count = self.count.reshape(-1, *[1] * (self.mean.dim() - 1))
        return torch.where(count > 1, self._spread / (count - 1).clamp_min(1), 0.0)

    def skewness(self) -> Tensor:
        """Return the skewness of one draw, [n, ...]; zero where there is no spread."""
        count = self.count.reshape(-1, *[1] * (self.mean.dim() - 1))
        scale = self._spread.pow(1.5)
        return torch.where(scale > 0.0, count.sqrt() * self._cubes / scale, 0.0)

    def standard_error(self) -> Tensor:
        """Return the standard error of the mean, [n, ...]."""
        count = self.count.reshape(-1, *[1] * (self.mean.dim() - 1))
        return (self.variance() / count.clamp_min(1)).sqrt()


class DefectMoments:
    """Running moments of the draws of a correction: the defect, its paths and its gradient."""

    def __init__(self, n: int, d: int, device: torch.device, *, gradient: bool) -> None:
        self.defect = Moments(n, (), device)
        self.square = Moments(n, (), device)
        self.gradient = Moments(n, (d,), device) if gradient else None

    def add(self, index: Tensor, draws: Draws) -> None:
        """Include draws of the points `index`."""
        self.defect.add(index, draws.value)
        self.square.add(index, draws.square)
        if self.gradient is not None and draws.gradient is not None:
            self.gradient.add(index, draws.gradient)

    def path_variance(self) -> Tensor:
        """Return the variance of a single path of each point, [n], of antithetic ones as if they were independent."""
        return (self.square.mean - self.defect.mean.square()).clamp_min(0.0)
