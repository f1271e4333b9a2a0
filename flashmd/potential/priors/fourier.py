"""Torsion potentials as Fourier series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from flashmd.errors import message
from flashmd.potential.priors.base import Prior
from flashmd.potential.priors.features import TORSION, Feature
from flashmd.potential.registry import register


@register
class FourierDihedrals(Prior):
    r"""Fourier series of a torsion.

    .. math:: U(\phi) = v_0 + \sum_{n=1}^{D} k^{(1)}_n \sin n\phi + k^{(2)}_n \cos n\phi

    =================  =====================================================
    symbol             column, kJ/mol
    =================  =====================================================
    :math:`v_0`        `v0`
    :math:`k^{(1)}_n`  `k1_1`, `k1_2`, ... (sines)
    :math:`k^{(2)}_n`  `k2_1`, `k2_2`, ... (cosines)
    =================  =====================================================

    The degree D follows from the columns. The sign of the torsion is that of IUPAC and mdtraj.

    Args:
        name: key of the list of terms.
        table: type quadruples and the columns above.
        backend: "kernel" or "reference".
    """

    feature: ClassVar[Feature] = TORSION

    def __init__(
        self, name: str, table: tuple[Tensor, Mapping[str, Tensor]], *, backend: str = "kernel", **_: object
    ) -> None:
        self._degree = (len(table[1]) - 1) // 2
        if self._degree < 1:
            got = f"{sorted(table[1])}"
            raise ValueError(message(f"columns of FourierDihedrals {name!r}", "v0, k1_n and k2_n", got, "add a degree"))
        super().__init__(name, table, backend=backend)

    @property
    def degree(self) -> int:
        """Number of harmonics D."""
        return self._degree

    def column_names(self) -> tuple[str, ...]:
        """Return v0, the sine and the cosine columns."""
        harmonics = range(1, self._degree + 1)
        return ("v0", *(f"k1_{n}" for n in harmonics), *(f"k2_{n}" for n in harmonics))

    @classmethod
    def joined(cls, parameters: Sequence[Tensor]) -> Tensor:
        """Join series of different degrees: missing harmonics are zero."""
        most = max((block.shape[0] - 1) // 2 for block in parameters)
        padded = []
        for block in parameters:
            degree = (block.shape[0] - 1) // 2
            pad = (0, 0, 0, most - degree)
            sines, cosines = block[1 : degree + 1], block[degree + 1 :]
            padded.append(torch.cat([block[:1], nn.functional.pad(sines, pad), nn.functional.pad(cosines, pad)]))
        return torch.cat(padded, 1)

    @staticmethod
    def term_energy(value: Tensor, parameters: Tensor) -> Tensor:
        """Return the series."""
        harmonic, (constant, sines, cosines) = _split(value, parameters)
        phase = harmonic * value
        return constant + (sines * torch.sin(phase) + cosines * torch.cos(phase)).sum(0)

    @staticmethod
    def term_slope(value: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the series and its derivative."""
        harmonic, (constant, sines, cosines) = _split(value, parameters)
        phase = harmonic * value
        sine, cosine = torch.sin(phase), torch.cos(phase)
        energy = constant + (sines * sine + cosines * cosine).sum(0)
        return energy, (harmonic * (sines * cosine - cosines * sine)).sum(0)


def _split(value: Tensor, parameters: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    degree = (parameters.shape[0] - 1) // 2
    harmonic = torch.arange(1, degree + 1, dtype=value.dtype, device=value.device)[:, None]
    return harmonic, (parameters[0], parameters[1 : degree + 1], parameters[degree + 1 :])
