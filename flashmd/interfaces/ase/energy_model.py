"""Any calculator of ASE as an energy model, so that what runs on models of this package runs on it as well."""

from __future__ import annotations

import ase
import numpy as np
import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.protocols import Evaluation
from flashmd.system import System
from flashmd.units import ANGSTROM, ELECTRONVOLT

_FORCE = ELECTRONVOLT / ANGSTROM
"""kJ/mol/nm in one eV/angstrom."""


class CalculatorModel:
    """Let a calculator of ASE evaluate systems, one after the other.

    Args:
        atoms: atoms with a calculator; a copy is kept, which shares the calculator.

    Attributes:
        system: the atoms as a system of float64, types are atomic numbers; the template for `SystemForces`.

    Raises:
        ValueError: the atoms have no calculator.

    Example:
        >>> from ase import Atoms
        >>> from ase.calculators.lj import LennardJones
        >>> from flashmd.interfaces.ase import CalculatorModel
        >>> model = CalculatorModel(Atoms("Ar2", [[0, 0, 0], [1.2, 0, 0]], calculator=LennardJones()))
        >>> evaluation = model.evaluate(model.system.replicate(3))
        >>> evaluation.energy.shape, evaluation.forces.shape
        (torch.Size([3]), torch.Size([6, 3]))
    """

    def __init__(self, atoms: ase.Atoms) -> None:
        if atoms.calc is None:
            fix = "set `atoms.calc` to a calculator"
            raise ValueError(message("`atoms`", "atoms with a calculator", "none", fix))
        self._atoms = atoms.copy()
        self._atoms.calc = atoms.calc
        self.system = System.single(
            torch.from_numpy(atoms.positions * ANGSTROM),
            torch.from_numpy(atoms.numbers),
            masses=torch.from_numpy(atoms.get_masses()),
            cell=torch.from_numpy(atoms.cell.array * ANGSTROM),
            pbc=atoms.pbc.tolist(),
        )

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy, forces and, on request, the virial of every system.

        Args:
            system: systems of the atoms that the model was made with; cells may differ.
            virial: needs a calculator with a stress.

        Raises:
            ValueError: other atoms.
        """
        self._check(system)
        # Calculators on torch differentiate energies, whoever calls them.
        with torch.enable_grad():
            results = [self._one(positions, cell, virial) for positions, cell in _frames(system)]
        energy, forces, virials = (torch.from_numpy(np.stack(part)) for part in zip(*results, strict=True))
        return Evaluation(
            energy=energy * ELECTRONVOLT,
            forces=(forces.flatten(0, 1) * _FORCE).to(system.positions),
            virial=(virials * ELECTRONVOLT).to(system.positions) if virial else None,
        )

    def _check(self, system: System) -> None:
        types = self.system.types.repeat(system.n_systems)
        if not torch.equal(types, system.types.to(types)):
            fix = "make systems by `model.system.replicate(n)`"
            got = f"{system.n_atoms} atoms in {system.n_systems} systems, or other elements"
            raise ValueError(message("`system`", f"systems of {self._atoms.get_chemical_formula()}", got, fix))

    def _one(
        self, positions: np.ndarray[tuple[int, ...], np.dtype[np.float64]], cell: np.ndarray, virial: bool
    ) -> tuple[np.float64, np.ndarray, np.ndarray]:
        """Return energy, forces and virial of one frame, in ASE's units."""
        atoms = self._atoms
        atoms.positions[:] = positions
        atoms.cell[:] = cell
        strain = atoms.get_stress(voigt=False) * atoms.get_volume() if virial else np.zeros((3, 3))
        return np.float64(atoms.get_potential_energy()), atoms.get_forces(), strain


def _frames(system: System) -> zip[tuple[np.ndarray, np.ndarray]]:
    """Positions and cells of the systems, angstrom."""

    def in_angstrom(values: Tensor) -> np.ndarray:
        return values.detach().cpu().to(torch.float64).numpy() / ANGSTROM

    positions = in_angstrom(system.positions).reshape(system.n_systems, -1, 3)
    return zip(positions, in_angstrom(system.cell), strict=True)
