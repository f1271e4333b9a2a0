"""Hydrogens and OXT for heavy-atom structures: placed by ideal geometry, then relaxed while heavy atoms stay.

OXT and hydrogens start where ideal bond lengths and angles put them, those of hydroxyl and thiol groups at the best of
a few torsions; then all hydrogens, and only they, go downhill in the Amber14 force field without solvent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flashmd.backmap.force_fields.molecule import Molecule, context_of, go_downhill
from flashmd.backmap.hydrogens.riding import Riding
from flashmd.backmap.hydrogens.torsions import choose_torsions
from flashmd.errors import message

ITERATIONS = 200
"""Largest number of steps downhill."""


@dataclass(frozen=True)
class Hydrogenated:
    """Structures with all their atoms.

    Attributes:
        positions: [n_frames, n_atoms, 3], nm, float64; where relaxation failed, hydrogens stand at their start.
        reasons: [n_frames], why the hydrogens of a structure could not be relaxed, "" where they were.
    """

    positions: Tensor
    reasons: tuple[str, ...]


def add_hydrogens(molecule: Molecule, positions: Tensor) -> Hydrogenated:
    """Add hydrogens and OXT to heavy atoms, which stay where they are.

    Args:
        molecule: which hydrogens there are.
        positions: [n_frames, n_residues, 14, 3], nm.

    Raises:
        ValueError: the shape is another one.

    Example:
        >>> from flashmd.backmap.chains import Chains
        >>> from flashmd.backmap.force_fields import Molecule
        >>> molecule = Molecule.of(Chains.from_sequence("GG"))
        >>> heavy = 0.15 * torch.randn(1, 2, 14, 3, generator=torch.Generator().manual_seed(0))
        >>> add_hydrogens(molecule, heavy).positions.shape
        torch.Size([1, 17, 3])
    """
    chains = molecule.atoms.chains
    if positions.ndim != 4 or positions.shape[1:] != (chains.n_residues, 14, 3):
        expected, got = f"shape (n_frames, {chains.n_residues}, 14, 3)", f"{tuple(positions.shape)}"
        raise ValueError(message("`positions`", expected, got, "pad the coordinates with `Chains.pad`"))
    heavy = chains.flatten(positions.detach().cpu().double())
    riding = Riding(molecule.atoms)
    start = riding(heavy, choose_torsions(riding, heavy, _charges(molecule)))
    relaxed, reasons = _relax(molecule, start)
    return Hydrogenated(relaxed, reasons)


def _charges(molecule: Molecule) -> Tensor:
    import openmm

    forces = molecule.system("amber14").getForces()
    force = next(force for force in forces if isinstance(force, openmm.NonbondedForce))
    unit = openmm.unit.elementary_charge
    number = molecule.atoms.n_atoms
    return torch.tensor([force.getParticleParameters(atom)[0].value_in_unit(unit) for atom in range(number)])


def _relax(molecule: Molecule, start: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Minimise the energy of all hydrogens of each structure."""
    import openmm

    system = openmm.XmlSerializer.clone(molecule.system("amber14"))
    for atom in torch.nonzero(~molecule.hydrogens)[:, 0].tolist():
        system.setParticleMass(atom, 0.0)
    context = context_of(system)
    results = [go_downhill(context, frame, ITERATIONS) for frame in start.numpy()]
    relaxed = torch.from_numpy(np.stack([positions for positions, _ in results]))
    frames = torch.where(molecule.hydrogens[:, None], relaxed, start)
    return frames, tuple(reason for _, reason in results)
