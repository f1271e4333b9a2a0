"""Chains with known heavy atoms, for training and for validation.

A data file is a NumPy archive of complete residues: coordinates in units of 0.001 A, one row for each heavy atom, with
index arrays for atom names, residues and chains.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from flashmd.backmap.chains import Chains, ResidueLabel
from flashmd.backmap.residues import ATOMS, N_SLOTS, RESIDUES, SLOT_CA
from flashmd.errors import message

JOINED_CA = 0.42
"""nm, residues next to each other whose CA atoms are closer than this are bonded."""
_NM_PER_UNIT = 1e-4
_ARRAYS = (
    *("xyz_milli_angstrom", "atom_name", "atom_names", "residue_of_atom", "residue_type", "residue_types"),
    *("residue_number", "insertion_code", "chain_ptr", "chain_id"),
)


@dataclass(frozen=True)
class Structure:
    """A protein with all its heavy atoms.

    Attributes:
        name: identity in its data set.
        chains: the residues.
        positions: [n_residues, 14, 3], nm, float32.
    """

    name: str
    chains: Chains
    positions: Tensor


def joined_by_distance(ca: Tensor, same_chain: Tensor) -> Tensor:
    """Return which residues are bonded to the next one: [n_residues], bool.

    Args:
        ca: [n_residues, 3], nm.
        same_chain: [n_residues - 1], bool: the residue and the next one belong to one chain.
    """
    close = (ca[1:] - ca[:-1]).norm(dim=-1) < JOINED_CA
    return torch.cat([close & same_chain, close.new_zeros(1)])


def load_structures(path: str | Path) -> list[Structure]:
    """Read every chain of a data file.

    Args:
        path: archive with `xyz_milli_angstrom`, `atom_name`, `atom_names`, `residue_of_atom`, `residue_type`,
            `residue_types`, `residue_number`, `insertion_code`, `chain_ptr` and `chain_id`.

    Raises:
        ValueError: the file cannot be read or is of another kind.
    """
    data = _arrays(path)
    positions, types = _padded(data)
    structures = []
    for index, name in enumerate(data["chain_id"].tolist()):
        begin, end = data["chain_ptr"][index : index + 2].tolist()
        labels = tuple(
            ResidueLabel(name.rsplit(":", 1)[-1], int(number), chr(code).strip(), RESIDUES[kind])
            for number, code, kind in zip(
                data["residue_number"][begin:end], data["insertion_code"][begin:end], types[begin:end], strict=True
            )
        )
        own = positions[begin:end].clone()
        joined = joined_by_distance(own[:, SLOT_CA], torch.ones(end - begin - 1, dtype=torch.bool))
        structures.append(Structure(name, Chains(torch.from_numpy(types[begin:end]), joined, labels), own))
    return structures


def _arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a data file."""
    fix = "pass a data file, or a folder of PDB and mmCIF files"
    try:
        with Path(path).open("rb") as file, np.load(file) as archive:
            data = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, BadZipFile, AttributeError, TypeError):
        raise ValueError(message(f"data `{path}`", "an archive of NumPy", "another kind of file", fix)) from None
    if missing := [key for key in _ARRAYS if key not in data]:
        raise ValueError(message(f"data `{path}`", "arrays of structures", f"none called {', '.join(missing)}", fix))
    return data


def _padded(data: dict[str, np.ndarray]) -> tuple[Tensor, np.ndarray]:
    """Return padded positions [n_residues, 14, 3] in nm of all chains, and residue types in our order."""
    kinds = np.array([RESIDUES.index(name) for name in data["residue_types"].tolist()])
    types = kinds[data["residue_type"]].astype(np.int64)
    names = data["atom_names"].tolist()
    slots = np.full((len(RESIDUES), len(names)), -1)
    for kind, residue in enumerate(RESIDUES):
        for place, atom in enumerate(ATOMS[residue]):
            slots[kind, names.index(atom)] = place
    owner = data["residue_of_atom"]
    slot = slots[types[owner], data["atom_name"]]
    positions = np.full((len(types), N_SLOTS, 3), np.nan)
    positions[owner, slot] = data["xyz_milli_angstrom"] * _NM_PER_UNIT
    ca = positions[:, SLOT_CA, None]
    return torch.from_numpy(np.where(np.isnan(positions), ca, positions).astype(np.float32)), types
