"""Repulsion between listed pairs, plain and force-shifted at a cutoff."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.potential.priors.base import Prior
from flashmd.potential.priors.features import DISTANCE, Feature
from flashmd.potential.registry import register


@register
class Repulsion(Prior):
    r"""Soft repulsion :math:`U(d) = (\sigma / d)^6` kJ/mol over all listed pairs, without a cutoff.

    The column `sigma` (nm) carries the energy scale: multiply it by s^(1/6) for an energy s times as large.
    """

    feature: ClassVar[Feature] = DISTANCE
    columns: ClassVar[tuple[str, ...]] = ("sigma",)

    @staticmethod
    def term_energy(value: Tensor, parameters: Tensor) -> Tensor:
        """Return (sigma / d)^6."""
        return torch.pow(parameters[0] / value, 6)

    @staticmethod
    def term_slope(value: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return energy and slope."""
        energy = torch.pow(parameters[0] / value, 6)
        return energy, energy * (-6.0) / value


@register
class ExpRepulsion(Prior):
    r"""Exponential repulsion :math:`U(d) = \epsilon \frac{6}{\alpha} e^{\alpha (1 - d / r_0)}`.

    ================  =====================
    symbol            column
    ================  =====================
    :math:`\epsilon`  `epsilon`, kJ/mol
    :math:`\alpha`    `alpha`, no unit
    :math:`r_0`       `r0`, nm
    ================  =====================
    """

    feature: ClassVar[Feature] = DISTANCE
    columns: ClassVar[tuple[str, ...]] = ("epsilon", "alpha", "r0")

    @staticmethod
    def term_energy(value: Tensor, parameters: Tensor) -> Tensor:
        """Return the exponential."""
        epsilon, alpha, r0 = parameters.unbind(0)
        return epsilon * 6.0 / alpha * torch.exp(alpha * (1.0 - value / r0))

    @staticmethod
    def term_slope(value: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return energy and slope."""
        energy = ExpRepulsion.term_energy(value, parameters)
        return energy, energy * (-parameters[1] / parameters[2])


class _ForceShifted(Prior):
    r"""Force-shifted pair term: :math:`U(d) - U(r_c) - (d - r_c) U'(r_c)` below the cutoff, zero beyond.

    Energy and force are continuous at the cutoff.

    Args:
        name: key of the list of terms.
        table: type pairs and the columns of the unshifted term.
        cutoff: nm.
        backend: "kernel" or "reference".
    """

    feature: ClassVar[Feature] = DISTANCE
    plain: ClassVar[type[Prior]]

    def __init__(
        self,
        name: str,
        table: tuple[Tensor, Mapping[str, Tensor]],
        *,
        cutoff: float,
        backend: str = "kernel",
        **_: object,
    ) -> None:
        if not 0.0 < cutoff < float("inf"):
            got = f"{cutoff}"
            raise ValueError(message(f"`cutoff` of {name!r}", "a positive finite length in nm", got, "correct it"))
        super().__init__(name, table, backend=backend)
        self._range = float(cutoff)

    def constants(self) -> dict[str, float]:
        """Return the cutoff."""
        return {"cutoff": self._range}

    def expand_columns(self, columns: Tensor) -> Tensor:
        """Add the rows cutoff, U(r_c) and U'(r_c) in front."""
        at_cutoff = torch.full_like(columns[0], self._range)
        energy, slope = self.plain.term_slope(at_cutoff, columns)
        return torch.cat([torch.stack([at_cutoff, energy, slope]), columns])

    @classmethod
    def term_energy(cls, value: Tensor, parameters: Tensor) -> Tensor:
        """Return the shifted energy."""
        cutoff, energy_there, slope_there = parameters[:3].unbind(0)
        within = torch.minimum(value, cutoff)
        energy = cls.plain.term_energy(within, parameters[3:])
        return energy - (energy_there + (within - cutoff) * slope_there)

    @classmethod
    def term_slope(cls, value: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shifted energy and its slope."""
        cutoff, energy_there, slope_there = parameters[:3].unbind(0)
        within = torch.minimum(value, cutoff)
        energy, slope = cls.plain.term_slope(within, parameters[3:])
        return energy - (energy_there + (within - cutoff) * slope_there), (slope - slope_there) * (value < cutoff)


@register
class CutoffRepulsion(_ForceShifted):
    """:class:`Repulsion`, force-shifted to zero at `cutoff` (nm); column `sigma`."""

    columns: ClassVar[tuple[str, ...]] = Repulsion.columns
    plain: ClassVar[type[Prior]] = Repulsion


@register
class CutoffExpRepulsion(_ForceShifted):
    """:class:`ExpRepulsion`, force-shifted to zero at `cutoff` (nm); columns `epsilon`, `alpha`, `r0`."""

    columns: ClassVar[tuple[str, ...]] = ExpRepulsion.columns
    plain: ClassVar[type[Prior]] = ExpRepulsion
