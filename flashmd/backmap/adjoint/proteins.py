"""The chains that a post-training draws structures for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flashmd.backmap.adjoint.energy import HeavyEnergy, bonded_cysteines
from flashmd.backmap.chains import Chains
from flashmd.backmap.dataset import Structure
from flashmd.backmap.force_fields.energy_workers import EnergyWorkers
from flashmd.backmap.physics import Guidance
from flashmd.backmap.residues import N_SLOTS, SLOT_CA
from flashmd.backmap.training.folder import read_data
from flashmd.errors import message


@dataclass(frozen=True)
class Protein:
    """A chain, the trace of its structure, and its energy.

    Attributes:
        chains: the residues.
        positions: [n_residues, 14, 3], nm, of which the C-alphas are used.
        known: [n_residues, 14], bool, the C-alphas.
        energy: as a function of the heavy atoms.
        guidance: physical terms of the flow.
    """

    chains: Chains
    positions: Tensor
    known: Tensor
    energy: HeavyEnergy
    guidance: Guidance


def load_proteins(path: Path, workers: EnergyWorkers, key: str, max_residues: int) -> list[Protein]:
    """Return the chains of a data set that a force field can evaluate.

    Args:
        path: data file or folder of structures.
        workers: evaluate the force field.
        key: of the configuration, named in errors.
        max_residues: longer chains are left out, and so are those with pieces of a single residue.

    Raises:
        ValueError: no chain is left.
    """
    usable = [
        each for each in read_data(path).structures if each.chains.n_residues <= max_residues and _pieces(each.chains)
    ]
    if not usable:
        expected = f"chains of at most {max_residues} residues without pieces of a single one"
        fix = "raise `max_residues` or add smaller proteins"
        raise ValueError(message(f"`{key}`", expected, f"none in {path}", fix))
    return [_protein(structure, workers) for structure in usable]


def _pieces(chains: Chains) -> bool:
    """Return whether every residue is joined to another one."""
    before = torch.cat([chains.joined.new_zeros(1), chains.joined[:-1]])
    return bool((chains.joined | before).all())


def _protein(structure: Structure, workers: EnergyWorkers) -> Protein:
    chains = structure.chains
    known = torch.zeros(chains.n_residues, N_SLOTS, dtype=torch.bool)
    known[:, SLOT_CA] = True
    energy = HeavyEnergy.of(chains, workers, reference=structure.positions)
    guidance = Guidance(chains, known, disulfides=bonded_cysteines(chains, structure.positions))
    return Protein(chains, structure.positions, known, energy, guidance)
