"""Energies of isolated atoms: a constant for each type, so that a network learns what binding adds to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.ops import segment_sum
from flashmd.potential.base import Potential
from flashmd.potential.identity import Identity
from flashmd.potential.registry import register
from flashmd.protocols import Evaluation
from flashmd.system import System


@register
class AtomicEnergies(Potential):
    """Sum of one energy for each atom, which depends on its type only; forces are zero.

    The energies are kept in double precision whatever the dtype of the model: a total energy of quantum chemistry is
    millions of times larger than what moves the atoms.

    Args:
        energies: energy of an atom by type, kJ/mol.
        name: key of the energy in `terms`.
        bead_types: integer of each bead type by name.
        backend: "kernel" or "reference", see :mod:`flashmd.ops`.

    Raises:
        ValueError: there are no energies, a type is negative or an energy is not finite.

    Example:
        >>> import torch
        >>> from flashmd.potential import AtomicEnergies
        >>> from flashmd.system import System
        >>> atoms = AtomicEnergies({1: -1000.0, 4: -10000.0}, backend="reference")
        >>> water = System.single(torch.rand(3, 3), torch.tensor([4, 1, 1]))
        >>> atoms.energy(water).tolist()
        [-12000.0]
    """

    def __init__(
        self,
        energies: Mapping[int, float],
        *,
        name: str = "atoms",
        bead_types: Mapping[str, int] | None = None,
        backend: str = "kernel",
    ) -> None:
        super().__init__(name)
        for number, value in energies.items():
            if number < 0 or not math.isfinite(value):
                got, fix = f"{value} for type {number}", "correct the table"
                raise ValueError(message("`energies`", "a finite number for each type from 0 on", got, fix))
        if not energies:
            fix = "pass a dictionary from types to energies"
            raise ValueError(message("`energies`", "at least one type", "none", fix))
        self.energies = {int(number): float(value) for number, value in sorted(energies.items())}
        self.bead_types = None if bead_types is None else dict(bead_types)
        self.backend = backend
        self._cached: tuple[Identity, Tensor] | None = None

    def energy(self, system: System) -> Tensor:
        """Return the energies [n_systems], kJ/mol, float64; kept until types or systems change."""
        identity = Identity.of(system.types, system.ptr)
        if self._cached is None or not self._cached[0].holds(identity):
            self._cached = identity, segment_sum(self.atom_energies(system), system.ptr, backend=self.backend)
        return self._cached[1].clone()

    def atom_energies(self, system: System) -> Tensor:
        """Return the energy of every atom, [n_atoms], kJ/mol, float64."""
        return self._table(system.types.device)[system.types]

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy, zero forces and a zero virial; see :meth:`Potential.evaluate`."""
        energy = self.energy(system)
        zeros = energy.new_zeros(system.n_systems, 3, 3) if virial else None
        return Evaluation(energy, torch.zeros_like(system.positions), zeros)

    def check(self, system: System) -> None:
        """Refuse non-finite positions and types without an energy."""
        super().check(system)
        unknown = sorted(set(system.types.unique().tolist()) - set(self.energies))
        if unknown:
            atom = int(torch.nonzero(system.types == unknown[0])[0])
            expected = f"types with an atomic energy, {', '.join(map(str, self.energies))}"
            fix = "use a model that covers it"
            raise ValueError(message("`types`", expected, f"type {unknown[0]} of atom {atom}", fix))

    def to_spec(self) -> dict[str, Any]:
        """Return name, energies and bead types."""
        energies = [[number, value] for number, value in self.energies.items()]
        return {"name": self.name, "energies": energies, "bead_types": self.bead_types}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> AtomicEnergies:
        """Rebuild the potential from `to_spec`."""
        return cls(dict(spec["energies"]), name=spec["name"], bead_types=spec["bead_types"])

    def _table(self, device: torch.device) -> Tensor:
        """Return the energies by type, [largest type + 1]; NaN where a type has none."""
        table = torch.full((max(self.energies) + 1,), math.nan, dtype=torch.float64)
        table[list(self.energies)] = torch.tensor(list(self.energies.values()), dtype=torch.float64)
        return table.to(device)
