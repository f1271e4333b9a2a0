"""A post-training small enough for tests: a network of a few channels, two peptides, files as users have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flashmd.backmap.adjoint import PostTraining
from flashmd.backmap.chains import Chains
from flashmd.backmap.dataset import load_structures
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.network import NetworkConfig
from flashmd.backmap.residues import ATOMS, RESIDUES
from tests.backmap.peptides import peptide

SIZES = NetworkConfig(width=16, edge_width=16, n_layers=1, n_neighbors=4, n_conformers=4)


def write_structures(path: Path, structures: list[tuple[Chains, Tensor]]) -> Path:
    """Write a data file of complete chains."""
    names = sorted({name for atoms in ATOMS.values() for name in atoms})
    flat = torch.cat([chains.flatten(positions) for chains, positions in structures])
    kinds = [kind for chains, _ in structures for kind in chains.types.tolist()]
    counts = [len(ATOMS[RESIDUES[kind]]) for kind in kinds]
    sizes = [chains.n_residues for chains, _ in structures]
    np.savez(
        path,
        xyz_milli_angstrom=(flat * 1e4).round().int().numpy(),
        atom_name=np.array([names.index(name) for chains, _ in structures for name in chains.atom_names]),
        atom_names=np.array(names),
        residue_of_atom=np.repeat(np.arange(len(kinds)), counts),
        residue_type=np.array(kinds),
        residue_types=np.array(RESIDUES),
        residue_number=np.concatenate([np.arange(1, size + 1) for size in sizes]),
        insertion_code=np.full(len(kinds), ord(" ")),
        chain_ptr=np.cumsum([0, *sizes]),
        chain_id=np.array([f"TEST:{index}" for index in range(len(sizes))]),
    )
    return path


def write_case(folder: Path, **changes: object) -> PostTraining:
    """Write a model that knows conformers but has learnt nothing yet, and return a configuration."""
    helices = [peptide("GAVSKE", phi, psi) for phi, psi in ((-60, -45), (-70, -35), (-120, 130), (-110, 125))]
    data = write_structures(folder / "train.npz", helices)
    validation = write_structures(folder / "validation.npz", [peptide("AVEKSG"), peptide("AVEKSG", -115, 128)])
    torch.manual_seed(0)
    model = BackmapModel(SIZES)
    model.prior.fit(load_structures(data))
    model.save(folder / "base.safetensors")
    settings: dict[str, object] = {
        "model": folder / "base.safetensors",
        "data": data,
        "validation": validation,
        "output": folder / "post",
        "structures": 4,
        "process_steps": 8,
        "sampling_steps": 8,
        "steps": 12,
        "report_every": 6,
        "learning_rate": 3e-3,
        "average": 0.5,
        "validation_structures": 16,
        "failure_limit": 0.2,
        "guided": False,
        "strength": 0.5,
        "largest_gradient": 300.0,
    }
    return PostTraining.model_validate({**settings, **changes})
