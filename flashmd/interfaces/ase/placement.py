"""Systems of ASE's atoms, and copies of the arrays that they were made of, which are compared in microseconds.

ASE's own cache copies and compares whole `Atoms` in every step, which takes longer than a small model.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import all_changes
from numpy.typing import NDArray
from torch import Tensor

from flashmd.errors import message
from flashmd.interfaces.ase.labels import ARRAYS, BeadTypes, particles
from flashmd.interfaces.model import LoadedModel
from flashmd.system import System
from flashmd.units import ANGSTROM

EVERYTHING = (*all_changes, "labels")
"""What may change, in ASE's words; "labels" are the arrays that say what beads are."""
_Array = NDArray[Any]


class Placement:
    """The system of the present atoms; types, lists of terms and cell are made anew only where they have changed.

    Args:
        model: what the system is for.
        bead_types: see :class:`~flashmd.interfaces.ase.FlashMDCalculator`.

    Attributes:
        is_current: whether atoms have been placed and none are announced.
    """

    def __init__(self, model: LoadedModel, bead_types: BeadTypes | None) -> None:
        self.is_current = False
        self._model, self._bead_types = model, bead_types
        self._system: System
        # Comparing bytes is several times faster than comparing arrays.
        self._positions = self._numbers = self._cell = self._pbc = b""
        self._labels: tuple[object, ...] = ()
        self._frame: ase.Atoms

    @property
    def volume(self) -> float:
        """Volume of the cell, cubic angstrom; zero where there are fewer than three vectors."""
        return float(self._frame.cell.volume)

    def changes(self, atoms: ase.Atoms) -> list[str]:
        """Return what differs from the atoms that were placed last."""
        if not self.is_current:
            return list(EVERYTHING)
        arrays = atoms.arrays
        found = [] if arrays["positions"].tobytes() == self._positions else ["positions"]
        if arrays["numbers"].tobytes() != self._numbers:
            found.append("numbers")
        if atoms.cell.array.tobytes() != self._cell:
            found.append("cell")
        if atoms.pbc.tobytes() != self._pbc:
            found.append("pbc")
        if _labels_of(arrays) != self._labels:
            found.append("labels")
        return found

    def place(self, atoms: ase.Atoms, changes: Sequence[str]) -> System:
        """Return the system of atoms of which `changes` are known.

        Raises:
            ValueError: there are no atoms, coordinates are not finite, or the model does not know what the atoms are.
        """
        if changes:
            self.is_current = False
            positions = self._to_nm(_finite_positions(atoms))
            if len(changes) == 1 and changes[0] == "positions":
                self._system = self._system.with_positions(positions)
            else:
                self._system = self._renewed(atoms, positions, changes)
            self._positions = atoms.arrays["positions"].tobytes()
            self.is_current = True
        return self._system

    def atoms(self) -> ase.Atoms:
        """Return a copy of the atoms that were placed last."""
        atoms: ase.Atoms = self._frame.copy()
        atoms.positions = np.frombuffer(self._positions).reshape(-1, 3)
        return atoms

    def _renewed(self, atoms: ase.Atoms, positions: Tensor, changes: Sequence[str]) -> System:
        options = self._model.options
        if "numbers" in changes or "labels" in changes:
            system = particles(atoms, self._model.potential, self._bead_types, dtype=options.dtype).to(options.device)
        else:
            system = self._system
        cell = self._to_nm(_finite(atoms.cell.array, "`cell` vector", "the cell"))[None]
        pbc = torch.tensor(atoms.pbc[None], device=options.device)
        self._frame = ase.Atoms(numbers=atoms.numbers, cell=atoms.cell, pbc=atoms.pbc)
        for name in ARRAYS:
            if name in atoms.arrays:
                self._frame.set_array(name, atoms.arrays[name])
        self._numbers, self._labels = atoms.numbers.tobytes(), _labels_of(atoms.arrays)
        self._cell, self._pbc = atoms.cell.array.tobytes(), atoms.pbc.tobytes()
        return dataclasses.replace(system, positions=positions, cell=cell, pbc=pbc)

    def _to_nm(self, values: _Array) -> Tensor:
        options = self._model.options
        inside = torch.from_numpy(values * ANGSTROM).to(options.dtype)
        return inside if options.device.type == "cpu" else inside.to(options.device)


def _labels_of(arrays: dict[str, _Array]) -> tuple[object, ...]:
    return tuple([(name, arrays[name].dtype, arrays[name].tobytes()) for name in ARRAYS if name in arrays])


def _finite_positions(atoms: ase.Atoms) -> _Array:
    values: _Array = atoms.arrays["positions"]
    if not len(values):
        raise ValueError(message("`atoms`", "at least one atom", "none", "pass atoms that the model can evaluate"))
    return values if math.isfinite(values.sum()) else _finite(values, "`positions` of atom", "the coordinates")


def _finite(values: _Array, what: str, where: str) -> _Array:
    finite = np.isfinite(values).all(1)
    if not finite.all():
        fix = f"repair {where}, or reduce the time step"
        raise ValueError(message(f"{what} {int(finite.argmin())}", "finite numbers", "a non-finite value", fix))
    return values
