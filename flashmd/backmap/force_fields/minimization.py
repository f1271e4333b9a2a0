"""Structures downhill in a force field, CA held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flashmd.backmap.force_fields.molecule import ForceFieldName, Molecule, as_frames, context_of, go_downhill
from flashmd.errors import message

if TYPE_CHECKING:
    import openmm


@dataclass(frozen=True)
class Minimized:
    """Structures after minimisation.

    Attributes:
        positions: [n_frames, n_atoms, 3], nm, float64; where minimisation failed, as they were.
        moved: [n_frames], nm, root mean square distance that heavy atoms moved.
        reasons: [n_frames], why minimisation failed, "" where it did not.
    """

    positions: Tensor
    moved: Tensor
    reasons: tuple[str, ...]


def minimize(
    molecule: Molecule,
    positions: Tensor,
    force_field: ForceFieldName = "amber14",
    *,
    iterations: int = 60,
    restraint: float | None = None,
) -> Minimized:
    """Lower the energy of structures by steps of L-BFGS.

    Args:
        molecule: the atoms.
        positions: [n_frames, n_atoms, 3], nm, of `add_hydrogens`.
        force_field: "amber14" is without solvent and several times faster than "amber14-gbn2".
        iterations: number of steps; 0 goes on to a root mean square force of 10 kJ/mol/nm.
        restraint: kJ/mol/nm^2, of harmonic springs to the places of the CA; None holds them exactly.

    Raises:
        ValueError: the shape is another one, or a number is negative.

    Example:
        >>> from flashmd.backmap.chains import Chains
        >>> from flashmd.backmap.force_fields import Molecule, add_hydrogens
        >>> molecule = Molecule.of(Chains.from_sequence("GG"))
        >>> heavy = 0.15 * torch.randn(1, 2, 14, 3, generator=torch.Generator().manual_seed(0))
        >>> result = minimize(molecule, add_hydrogens(molecule, heavy).positions, iterations=20)
        >>> result.reasons, bool(result.moved > 0)
        (('',), True)
    """
    import openmm

    frames = as_frames(positions, molecule.atoms.n_atoms)
    _check(iterations, restraint)
    system = openmm.XmlSerializer.clone(molecule.system(force_field))
    anchors = [atom for atom, name in enumerate(molecule.atoms.names) if name == "CA"]
    springs = _hold(system, anchors, restraint)
    context = context_of(system)
    results = []
    for frame in frames:
        if springs is not None:
            for row, atom in enumerate(anchors):
                springs.setParticleParameters(row, atom, frame[atom])
            springs.updateParametersInContext(context)
        results.append(go_downhill(context, frame, iterations))
    result, start = torch.from_numpy(np.stack([positions for positions, _ in results])), torch.from_numpy(frames)
    if restraint is None:  # OpenMM keeps them, but in single precision
        result[:, anchors] = start[:, anchors]
    moved = (result - start)[:, molecule.atoms.heavy].square().sum(-1).mean(-1).sqrt()
    return Minimized(result, moved, tuple(reason for _, reason in results))


def _check(iterations: int, restraint: float | None) -> None:
    if iterations < 0:
        raise ValueError(message("`iterations`", "0 or more", f"{iterations}", "pass 0 to go on to the tolerance"))
    if restraint is not None and restraint <= 0:
        raise ValueError(message("`restraint`", "a positive number", f"{restraint:g}", "pass None to hold CA exactly"))


def _hold(system: openmm.System, anchors: list[int], restraint: float | None) -> openmm.CustomExternalForce | None:
    """Fix some atoms of a System, or tie them by springs to places that are set later."""
    import openmm

    if restraint is None:
        for atom in anchors:
            system.setParticleMass(atom, 0.0)
        return None
    springs = openmm.CustomExternalForce(f"{restraint / 2!r} * ((x - x0)^2 + (y - y0)^2 + (z - z0)^2)")
    for name in ("x0", "y0", "z0"):
        springs.addPerParticleParameter(name)
    for atom in anchors:
        springs.addParticle(atom, [0.0, 0.0, 0.0])
    system.addForce(springs)
    return springs
