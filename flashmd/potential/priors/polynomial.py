"""Polynomial angle potentials and restricted bending."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from flashmd.potential.priors.base import Prior
from flashmd.potential.priors.features import ANGLE, COSINE, Feature
from flashmd.potential.registry import register

_SMALLEST_SINE_SQUARE = 1e-6
"""Keeps the restricted bending finite: sin^2 of an angle 1 mrad away from collinear."""


class _Quartic(Prior):
    r"""Quartic polynomial :math:`U(x) = v_0 + \sum_{n=1}^{4} k_n x^n`, columns `v0`, `k1` ... `k4`."""

    columns: ClassVar[tuple[str, ...]] = ("v0", "k1", "k2", "k3", "k4")

    @staticmethod
    def term_energy(value: Tensor, parameters: Tensor) -> Tensor:
        """Return the polynomial by Horner's scheme."""
        v0, k1, k2, k3, k4 = parameters.unbind(0)
        return v0 + value * (k1 + value * (k2 + value * (k3 + value * k4)))

    @staticmethod
    def term_slope(value: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the polynomial and its derivative."""
        _, k1, k2, k3, k4 = parameters.unbind(0)
        slope = k1 + value * (2.0 * k2 + value * (3.0 * k3 + value * (4.0 * k4)))
        return _Quartic.term_energy(value, parameters), slope


@register
class QuarticAngles(_Quartic):
    """Quartic polynomial in the cosine of an angle; columns in kJ/mol."""

    feature: ClassVar[Feature] = COSINE


@register
class QuarticAnglesRaw(_Quartic):
    """Quartic polynomial in an angle (rad); columns in kJ/mol/rad^n."""

    feature: ClassVar[Feature] = ANGLE


@register
class RestrictedQuartic(Prior):
    r"""Restricted bending.

    .. math:: U(\theta) = a u^4 + b u^3 + c u^2 + d u + \frac{k}{\sin^2\theta} + v_0, \qquad u = \cos\theta

    The columns `a`, `b`, `c`, `d`, `k`, `v0` are in kJ/mol. Within 1 mrad of collinear the wall keeps its height.
    Source of the wall: Bulacu et al., doi:10.1021/ct400219n, eq. 7.
    """

    feature: ClassVar[Feature] = COSINE
    columns: ClassVar[tuple[str, ...]] = ("a", "b", "c", "d", "k", "v0")

    @staticmethod
    def term_energy(value: Tensor, parameters: Tensor) -> Tensor:
        """Return polynomial and wall."""
        a, b, c, d, k, v0 = parameters.unbind(0)
        polynomial = v0 + value * (d + value * (c + value * (b + value * a)))
        return polynomial + k / _sine_square(value)

    @staticmethod
    def term_slope(value: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the energy and its derivative with respect to the cosine."""
        a, b, c, d, k, _ = parameters.unbind(0)
        square = _sine_square(value)
        wall = 2.0 * k * value / (square * square) * (square > _SMALLEST_SINE_SQUARE)
        slope = d + value * (2.0 * c + value * (3.0 * b + value * (4.0 * a))) + wall
        return RestrictedQuartic.term_energy(value, parameters), slope


def _sine_square(cosine: Tensor) -> Tensor:
    return ((1.0 - cosine) * (1.0 + cosine)).clamp_min(_SMALLEST_SINE_SQUARE)
