"""Structures with all their heavy atoms from files, frame by frame, and the residues that two files have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains, ResidueLabel
from flashmd.backmap.frame_sources import FrameSource, open_structure, open_trajectory
from flashmd.backmap.names import parse_replacements
from flashmd.backmap.protein import ProteinResidue, listed, protein_residues
from flashmd.backmap.residues import ATOMS, N_SLOTS, RESIDUES, SLOT_C, SLOT_CA, SLOT_N
from flashmd.errors import message

LONGEST_BOND = 0.25
"""nm from C to N of two residues that are joined."""
LONGEST_CA_DISTANCE = 0.45
"""nm, the same for CA, where C or N are missing."""


@dataclass(frozen=True)
class Structures:
    """Structures of one protein in a file.

    Attributes:
        chains: the residues.
        name: what errors call the file.
    """

    chains: Chains
    name: str
    _source: FrameSource
    _atoms: Tensor
    _slots: Tensor

    def frames(self, size: int = 64) -> Iterator[Tensor]:
        """Hand out padded positions in pieces, [n_frames, n_residues, 14, 3], nm, NaN where an atom is missing.

        Args:
            size: frames in one piece.
        """
        for raw in self._source.read(self._atoms, size):
            yield _padded(raw.positions, self._slots, self.chains.n_residues)


def read_structures(
    structure: str | PathLike[str],
    trajectory: str | PathLike[str] | None = None,
    *,
    replace: tuple[str, ...] = (),
) -> Structures:
    """Open structures with heavy atoms; hydrogens, solvent and ligands are passed over.

    Residues are joined where C and N of the first frame are within 0.25 nm, or CA within 0.45 nm if one is missing.

    Args:
        structure: PDB or mmCIF file, which may hold many models, or another topology.
        trajectory: XTC, DCD, TRR or HDF5 file of the atoms of `structure`.
        replace: modified residues to read as standard ones, such as "MSE=MET", or "common".

    Raises:
        ValueError: a file cannot be read, holds no positions, or a residue is unknown or has no CA.

    Example:
        >>> trace = read_structures("data/structures/chignolin_native_ca.pdb")
        >>> trace.chains.n_residues, next(trace.frames()).isnan().any(-1).sum().item()
        (10, 130)
    """
    table, source = open_structure(Path(structure))
    name = f"`{structure}`"
    if trajectory is not None:
        source, name = open_trajectory(Path(trajectory), table.n_atoms), f"`{trajectory}`"
    if source is None:
        got, fix = "a topology without positions", "pass a trajectory, too"
        raise ValueError(message(f"structure {name}", "positions of atoms", got, fix))
    residues, _ = protein_residues(table, parse_replacements(replace), name)
    places = [
        (atoms.atoms[atom], index * N_SLOTS + slot)
        for index, atoms in enumerate(residues)
        for slot, atom in enumerate(ATOMS[atoms.name])
        if atom in atoms.atoms
    ]
    atoms, slots = torch.tensor(places).T
    first = next(iter(source.read(atoms, 1))).positions
    joined = _joined(_padded(first, slots, len(residues))[0], residues)
    types = torch.tensor([RESIDUES.index(residue.name) for residue in residues])
    chains = Chains(types, joined, tuple(residue.label for residue in residues))
    return Structures(chains, name, source, atoms, slots)


def place_reference(chains: Chains, reference: Structures) -> Tensor:
    """Return the first frame of a reference, its residues in the places of those of another file.

    Residues correspond by chain, number and insertion code or, where these differ, in their order.

    Args:
        chains: residues that are wanted.
        reference: which may have more residues.

    Returns:
        [n_residues, 14, 3], nm, NaN where an atom is missing.

    Raises:
        ValueError: a residue is missing in the reference or is of another type there.
    """
    positions, wanted = next(reference.frames(1))[0], chains.types.tolist()
    known = reference.chains.types.tolist()
    if wanted == known:
        return positions
    places = {_place(label): index for index, label in enumerate(reference.chains.labels)}
    rows = [places.get(_place(label), -1) for label in chains.labels]
    wrong = [
        label for label, kind, row in zip(chains.labels, wanted, rows, strict=True) if row < 0 or known[row] != kind
    ]
    if wrong:
        expected = "each residue of the model, with the same chain, number and type"
        fix = "give both the same numbers, or cut the model to what they have in common"
        raise ValueError(message(f"reference {reference.name}", expected, f"none for {listed(wrong)}", fix))
    return positions[rows]


def _place(label: ResidueLabel) -> tuple[str, int, str]:
    return label.chain, label.number, label.insertion_code


def _padded(positions: Tensor, slots: Tensor, n_residues: int) -> Tensor:
    padded = torch.full((positions.shape[0], n_residues * N_SLOTS, 3), torch.nan, dtype=positions.dtype)
    padded[:, slots] = positions
    return padded.view(-1, n_residues, N_SLOTS, 3)


def _joined(frame: Tensor, residues: list[ProteinResidue]) -> Tensor:
    bond = (frame[1:, SLOT_N] - frame[:-1, SLOT_C]).norm(dim=-1)
    step = (frame[1:, SLOT_CA] - frame[:-1, SLOT_CA]).norm(dim=-1)
    close = torch.where(bond.isnan(), step < LONGEST_CA_DISTANCE, bond < LONGEST_BOND)
    same = torch.tensor(
        [first.site.chain == second.site.chain for first, second in pairwise(residues)], dtype=torch.bool
    )
    return torch.cat([close & same, close.new_zeros(1)])
