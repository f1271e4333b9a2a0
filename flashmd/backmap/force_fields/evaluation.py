"""Energies and largest forces of all-atom structures as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flashmd.backmap.force_fields.molecule import ForceFieldName, Molecule, as_frames, context_of


@dataclass(frozen=True)
class SinglePoints:
    """What a force field says of structures.

    Attributes:
        energy: [n_frames], float64, kJ/mol; NaN where there is no finite energy.
        per_residue: [n_frames], float64, kJ/mol, the energy divided by the number of residues.
        largest_force: [n_frames], float64, kJ/mol/nm, on a heavy atom.
        worst: [n_frames], residue and atom on which that force acts, such as "A:LYS7 NZ".
        reasons: [n_frames], why there is no finite energy, "" where there is one.
    """

    energy: Tensor
    per_residue: Tensor
    largest_force: Tensor
    worst: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def n_failed(self) -> int:
        """Number of structures without a finite energy."""
        return sum(reason != "" for reason in self.reasons)


def single_points(molecule: Molecule, positions: Tensor, force_field: ForceFieldName = "amber14-gbn2") -> SinglePoints:
    """Evaluate structures without moving an atom, without cutoff.

    Args:
        molecule: the atoms.
        positions: [n_frames, n_atoms, 3], nm, of `add_hydrogens`.
        force_field: a key of `FILES`; "charmm36" and "amber14" are in vacuum.

    Raises:
        ValueError: the shape is another one, or the force field is unknown.

    Example:
        >>> from flashmd.backmap.chains import Chains
        >>> from flashmd.backmap.force_fields import Molecule
        >>> molecule = Molecule.of(Chains.from_sequence("GG"))
        >>> nowhere = torch.zeros(1, 17, 3)
        >>> single_points(molecule, nowhere, "charmm36").reasons
        ('no finite energy',)
    """
    import openmm

    frames = as_frames(positions, molecule.atoms.n_atoms)
    context = context_of(molecule.system(force_field))
    energies, strengths = np.full((2, len(frames)), np.nan)
    worst, reasons = [], []
    heavy = molecule.atoms.heavy.numpy()
    for index, frame in enumerate(frames):
        try:
            context.setPositions(frame)
            state = context.getState(energy=True, forces=True)
        except openmm.OpenMMException as error:
            worst.append("")
            reasons.append(str(error))
            continue
        energy = state.getPotentialEnergy().value_in_unit(openmm.unit.kilojoule_per_mole)
        size = np.linalg.norm(state.getForces(asNumpy=True)._value[heavy], axis=1)
        if not np.isfinite(energy) or not np.isfinite(size).all():
            worst.append("")
            reasons.append("no finite energy")
            continue
        energies[index], strengths[index] = energy, size.max()
        worst.append(_name(molecule, int(heavy[size.argmax()])))
        reasons.append("")
    energy_tensor = torch.from_numpy(energies)
    per_residue = energy_tensor / molecule.atoms.chains.n_residues
    return SinglePoints(energy_tensor, per_residue, torch.from_numpy(strengths), tuple(worst), tuple(reasons))


def _name(molecule: Molecule, atom: int) -> str:
    atoms = molecule.atoms
    return f"{atoms.chains.labels[int(atoms.residue[atom])]} {atoms.names[atom]}"
