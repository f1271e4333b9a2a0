"""Structures from a folder of PDB and mmCIF files: the first model of each, chain by chain, complete residues only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.dataset import Structure, joined_by_distance, load_structures
from flashmd.backmap.frame_sources import CIF_SUFFIXES, PDB_SUFFIXES, open_structure
from flashmd.backmap.protein import ProteinResidue, protein_residues
from flashmd.backmap.residues import ATOMS, N_SLOTS, RESIDUES, SLOT_CA
from flashmd.errors import message

SHORTEST = 20
"""Residues of a chain; shorter ones are left out."""


@dataclass(frozen=True)
class ReadData:
    """Structures and what became of each file.

    Attributes:
        structures: chains that can be trained on.
        left_out: a line for each file that gave none, with the reason.
    """

    structures: list[Structure]
    left_out: list[str]

    @property
    def used(self) -> list[str]:
        """Names of the chains."""
        return [structure.name for structure in self.structures]


def read_data(path: Path) -> ReadData:
    """Read a data file, or every PDB and mmCIF file of a folder and of the folders in it.

    Raises:
        ValueError: there is nothing of that name, or nothing in it that can be used.
    """
    if path.is_file():
        return ReadData(load_structures(path), [])
    suffixes = (*PDB_SUFFIXES, *CIF_SUFFIXES)
    files = sorted(file for file in path.rglob("*") if file.name.lower().endswith(suffixes))
    if not files:
        got = "no such file" if path.is_dir() else "nothing of that name"
        fix = "pass a data file or a folder of structures"
        raise ValueError(message(f"data `{path}`", f"files of kind {', '.join(suffixes)}", got, fix))
    structures, left_out = [], []
    for file in files:
        try:
            found = _chains_of(file, str(file.relative_to(path)))
        except ValueError as error:
            left_out.append(f"{file.relative_to(path)}: {error}")
            continue
        structures += found
        if not found:
            left_out.append(f"{file.relative_to(path)}: no chain of {SHORTEST} complete residues")
    if not structures:
        got, fix = f"{len(files)} files without: {left_out[0]}", "add complete structures"
        raise ValueError(message(f"data `{path}`", f"chains of {SHORTEST} complete residues", got, fix))
    return ReadData(structures, left_out)


def _chains_of(file: Path, name: str) -> list[Structure]:
    """Return the chains of a file that are long enough."""
    table, source = open_structure(file)
    if source is None:
        return []
    residues, _ = protein_residues(table, {}, f"`{file}`")
    positions = next(iter(source.read(torch.arange(table.n_atoms), 1))).positions[0]
    complete = [residue for residue in residues if set(ATOMS[residue.name]) <= set(residue.atoms)]
    chains: dict[int, list[ProteinResidue]] = {}
    for residue in complete:
        chains.setdefault(residue.site.chain, []).append(residue)
    long = [part for part in chains.values() if len(part) >= SHORTEST]
    return [_structure(part, positions, f"{name}:{part[0].label.chain}") for part in long]


def _structure(residues: list[ProteinResidue], positions: Tensor, name: str) -> Structure:
    padded = torch.empty(len(residues), N_SLOTS, 3)
    for index, residue in enumerate(residues):
        found = positions[torch.tensor([residue.atoms[atom] for atom in ATOMS[residue.name]])]
        padded[index] = found[SLOT_CA]
        padded[index, : found.shape[0]] = found
    types = torch.tensor([RESIDUES.index(residue.name) for residue in residues])
    joined = joined_by_distance(padded[:, SLOT_CA], torch.ones(len(residues) - 1, dtype=torch.bool))
    return Structure(name, Chains(types, joined, tuple(residue.label for residue in residues)), padded)
