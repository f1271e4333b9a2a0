"""What the layers know of each other: an energy model is anything that evaluates a `System`.

Dynamics, interfaces, backmapping and rates depend on these protocols and never on a concrete potential.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from flashmd.system import System


@dataclass(frozen=True)
class Evaluation:
    """Energy and its exact derivatives for a batch.

    Attributes:
        energy: [n_systems], kJ/mol, float64.
        forces: [n_atoms, 3], kJ/mol/nm, minus the gradient of `energy`, dtype of the positions.
        virial: [n_systems, 3, 3], kJ/mol, ``-sum r f`` = dE/dstrain, or None where it was not asked for.
    """

    energy: Tensor
    forces: Tensor
    virial: Tensor | None = None


@runtime_checkable
class EnergyModel(Protocol):
    """Anything that gives energies and forces of a batch of systems."""

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy, forces and, on request, the virial of every system."""
        ...
