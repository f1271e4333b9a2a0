"""Harmonic terms ``k (x - x0)^2``, without a factor of one half, in several internal coordinates."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from flashmd.potential.priors.base import Prior
from flashmd.potential.priors.features import ANGLE, COSINE, DISTANCE, TORSION, Feature
from flashmd.potential.registry import register


class _Harmonic(Prior):
    r"""Harmonic term :math:`U = k (x - x_0)^2`.

    ===========  ==================
    symbol       column
    ===========  ==================
    :math:`k`    `k`
    :math:`x_0`  `x0`
    ===========  ==================
    """

    columns: ClassVar[tuple[str, ...]] = ("k", "x0")

    @staticmethod
    def term_energy(value: Tensor, parameters: Tensor) -> Tensor:
        """Return k (x - x0)^2."""
        k, x0 = parameters.unbind(0)
        return k * torch.square(value - x0)

    @staticmethod
    def term_slope(value: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return k (x - x0)^2 and 2 k (x - x0)."""
        k, x0 = parameters.unbind(0)
        deviation = value - x0
        half_slope = k * deviation
        return half_slope * deviation, half_slope + half_slope


@register
class HarmonicBonds(_Harmonic):
    """Harmonic bonds: x is the distance, `k` in kJ/mol/nm^2, `x0` in nm."""

    feature: ClassVar[Feature] = DISTANCE


@register
class HarmonicAngles(_Harmonic):
    """Harmonic angles in the **cosine**: `k` in kJ/mol, `x0` is a cosine; the middle atom is the vertex."""

    feature: ClassVar[Feature] = COSINE


@register
class HarmonicAnglesRaw(_Harmonic):
    """Harmonic angles: `k` in kJ/mol/rad^2, `x0` in rad; the middle atom is the vertex."""

    feature: ClassVar[Feature] = ANGLE


@register
class HarmonicImpropers(_Harmonic):
    """Harmonic impropers: x is the torsion in (-pi, pi], not wrapped around `x0` (rad); `k` in kJ/mol/rad^2."""

    feature: ClassVar[Feature] = TORSION


@register
class ShiftedPeriodicHarmonicImpropers(_Harmonic):
    """Harmonic impropers around pi: x is the torsion, plus 2 pi where negative, minus pi.

    The cut of the coordinate lies at a torsion of zero instead of pi.
    """

    feature: ClassVar[Feature] = TORSION

    @staticmethod
    def term_energy(value: Tensor, parameters: Tensor) -> Tensor:
        """Return k (x - x0)^2 of the shifted torsion."""
        return _Harmonic.term_energy(_shifted(value), parameters)

    @staticmethod
    def term_slope(value: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return energy and slope of the shifted torsion."""
        return _Harmonic.term_slope(_shifted(value), parameters)


def _shifted(torsion: Tensor) -> Tensor:
    return torch.where(torsion < 0.0, torsion + math.pi, torsion - math.pi)
