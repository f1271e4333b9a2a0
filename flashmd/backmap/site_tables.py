"""The atoms of a file before anything is made of them: residues with their identity, atoms with their place.

Structures are read with gemmi, which keeps chain identifiers, author numbers and insertion codes of PDB and mmCIF
files; other topologies with mdtraj.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flashmd.backmap.chains import ResidueLabel
from flashmd.errors import message

PART = "/"
"""Stands between the identifier of a chain and what tells it from others of the same identifier."""


@dataclass(frozen=True)
class ResidueSites:
    """A residue of a file.

    Attributes:
        label: its identity.
        chain: index of its chain in the file; two chains may share an identifier.
        atoms: index of each atom by name.
    """

    label: ResidueLabel
    chain: int
    atoms: dict[str, int]


@dataclass(frozen=True)
class SiteTable:
    """The residues of a file.

    Attributes:
        residues: in the order of the file.
        n_atoms: of the file, alternate positions counted once.
    """

    residues: tuple[ResidueSites, ...]
    n_atoms: int


def table_of_model(model: Any) -> tuple[SiteTable, list[tuple[float, float, float]]]:
    """Return the table of a gemmi model, and a position in Å for each of its atoms.

    Of alternate positions the one with the highest occupancy counts, the first of equal ones; of alternate residues
    at one place the one with the highest occupancy.
    """
    residues: list[ResidueSites] = []
    positions: list[tuple[float, float, float]] = []
    for index, chain in enumerate(model):
        name = chain.name.partition(PART)[0].strip()
        for residue in _one_at_each_place(chain):
            label = ResidueLabel(name, residue.seqid.num, residue.seqid.icode.strip(), residue.name)
            atoms: dict[str, int] = {}
            for atom in _one_of_alternates(residue, label):
                atoms.setdefault(atom.name, len(positions))
                positions.append((atom.pos.x, atom.pos.y, atom.pos.z))
            residues.append(ResidueSites(label, index, atoms))
    return SiteTable(tuple(residues), len(positions)), positions


def table_of_mdtraj(topology: Any) -> SiteTable:
    """Return the table of an mdtraj topology, which has no insertion codes."""
    residues = []
    for residue in topology.residues:
        chain = (residue.chain.chain_id or "").strip()
        atoms: dict[str, int] = {}
        for atom in residue.atoms:
            atoms.setdefault(atom.name, atom.index)
        label = ResidueLabel(chain, residue.resSeq, "", residue.name)
        residues.append(ResidueSites(label, residue.chain.index, atoms))
    return SiteTable(tuple(residues), topology.n_atoms)


def tell_chains_apart(block: Any) -> None:
    """Give chains of one author identifier in an mmCIF block names of their own, where their residues would be mixed.

    Args:
        block: of gemmi; changed.
    """
    columns = ("auth_asym_id", "label_asym_id", "auth_seq_id", "pdbx_PDB_ins_code", "label_atom_id")
    places: dict[tuple[str, ...], set[str]] = {}
    for row in block.find("_atom_site.", list(columns)):
        if row.str(4) == "CA":
            places.setdefault((row.str(0), row[2], row[3]), set()).add(row[1])
    mixed = {key[0] for key, parts in places.items() if len(parts) > 1}
    for row in block.find("_atom_site.", list(columns[:2])) if mixed else ():
        if row.str(0) in mixed:
            row[0] = f"'{row.str(0)}{PART}{row.str(1)}'"


def _one_at_each_place(chain: Any) -> Iterator[Any]:
    group: list[Any] = []
    for residue in chain:
        alternates = group and residue.seqid == group[0].seqid and all(atom.has_altloc() for atom in residue)
        if group and not alternates:
            yield max(group, key=_occupancy)
            group = []
        group.append(residue)
    if group:
        yield max(group, key=_occupancy)


def _occupancy(residue: Any) -> float:
    return max((atom.occ for atom in residue), default=0.0)


def _one_of_alternates(residue: Any, label: ResidueLabel) -> Iterable[Any]:
    chosen: dict[str, Any] = {}
    for atom in residue:
        known = chosen.get(atom.name)
        if known is not None and atom.name == "CA" and not atom.has_altloc():
            fix = "number the residues; residues of one number and name cannot be told apart"
            raise ValueError(message(f"residue {label}", "one CA atom", "several", fix))
        if known is None or (atom.has_altloc() and atom.occ > known.occ):
            chosen[atom.name] = atom
    return chosen.values()
