"""Which atoms of a file are beads: the residues of its proteins, and the slots that their known atoms fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from flashmd.backmap.chains import ResidueLabel
from flashmd.backmap.names import CENTROIDS
from flashmd.backmap.protein import ProteinResidue, protein_residues
from flashmd.backmap.residues import ATOMS, N_SLOTS, RESIDUES, SLOT_CA, SLOT_CB
from flashmd.backmap.site_tables import SiteTable
from flashmd.errors import message

Beads = Literal["auto", "ca", "backbone", "five_bead", "centroid", "all"]
"""Which atoms are taken from the input; "all" heavy atoms that there are."""

_WANTED: dict[str, tuple[str, ...]] = {
    "auto": ("N", "CA", "C", "O", "CB"),
    "ca": ("CA",),
    "backbone": ("N", "CA", "C", "O"),
    "five_bead": ("N", "CA", "C", "O", "CB"),
    "centroid": ("CA",),
}
_N_BACKBONE = 4


@dataclass(frozen=True)
class Selection:
    """Where the chosen atoms of a frame go.

    Attributes:
        atoms: [n_selected], int64, atoms of the file.
        rows: [n_known], int64, selected atom of each known slot.
        slots: [n_known], int64, residue * 14 + slot.
        members: [n_members], int64, selected atoms that are averaged to centroids.
        owners: [n_members], int64, residue of each member.
    """

    atoms: Tensor
    rows: Tensor
    slots: Tensor
    members: Tensor
    owners: Tensor

    @classmethod
    def of_ca(cls, n_residues: int) -> Selection:
        """Every atom is the CA of its residue."""
        index, none = torch.arange(n_residues), torch.empty(0, dtype=torch.int64)
        return cls(index, index, index * N_SLOTS + SLOT_CA, none, none)

    def place(self, positions: Tensor, n_residues: int) -> tuple[Tensor, Tensor]:
        """Return padded positions [n_frames, n_residues, 14, 3] and centroids [n_frames, n_residues, 3].

        Args:
            positions: [n_frames, n_selected, 3], nm.
            n_residues: of the chains.
        """
        n_frames = positions.shape[0]
        ca = torch.empty(n_residues, dtype=torch.int64)
        is_ca = self.slots % N_SLOTS == SLOT_CA
        ca[self.slots[is_ca] // N_SLOTS] = self.rows[is_ca]
        anchors = positions[:, ca]
        padded = anchors[:, :, None].repeat(1, 1, N_SLOTS, 1).view(n_frames, -1, 3)
        padded[:, self.slots] = positions[:, self.rows]
        counts = torch.zeros(n_residues).index_add_(0, self.owners, torch.ones(len(self.owners)))[:, None]
        sums = torch.zeros_like(anchors).index_add_(1, self.owners, positions[:, self.members])
        centroids = torch.where(counts > 0, sums / counts.clamp(min=1.0), anchors)
        return padded.view(n_frames, n_residues, N_SLOTS, 3), centroids


@dataclass(frozen=True)
class BeadChoice:
    """The residues of a file and their beads.

    Attributes:
        types: [n_residues], int64.
        labels: identity of each residue; the standard name where a modified residue was replaced.
        chain_index: chain of each residue.
        known: [n_residues, 14], bool.
        centroid_known: [n_residues], bool.
        beads: what was found or asked for.
        selection: where atoms go.
        notes: sentences on what was left out or replaced.
    """

    types: Tensor
    labels: tuple[ResidueLabel, ...]
    chain_index: tuple[int, ...]
    known: Tensor
    centroid_known: Tensor
    beads: Beads
    selection: Selection
    notes: tuple[str, ...]


def select_beads(table: SiteTable, *, beads: str, replacements: Mapping[str, str], what: str) -> BeadChoice:
    """Choose the beads of a file.

    Args:
        table: atoms of the file.
        beads: see `read_trace`.
        replacements: standard names of modified residues.
        what: how errors call the file.

    Raises:
        ValueError: there is no protein, a residue is unknown or has no CA, or `beads` does not fit.
    """
    if beads not in get_args(Beads):
        names = ", ".join(get_args(Beads))
        raise ValueError(message("`beads`", f"one of {names}", repr(beads), "choose one of them"))
    residues, notes = protein_residues(table, replacements, what)
    if beads == "auto":
        _refuse_all_atoms(residues, what)
    given = [_given_atoms(residue, _WANTED.get(beads, ATOMS[residue.name])) for residue in residues]
    members = [_centroid_members(residue) if beads in ("auto", "centroid") else [] for residue in residues]
    found: Beads = "all" if beads == "all" else _found(given, members)
    if beads not in ("auto", found):
        fix = "leave the choice to `auto`, or pass a file with these atoms"
        raise ValueError(message(f"the atoms of {what}", f"those of {beads!r}", f"those of {found!r}", fix))
    known = torch.zeros(len(residues), N_SLOTS, dtype=torch.bool)
    for index, slots in enumerate(given):
        known[index, list(slots)] = True
    return BeadChoice(
        types=torch.tensor([RESIDUES.index(residue.name) for residue in residues]),
        labels=tuple(residue.label for residue in residues),
        chain_index=tuple(residue.site.chain for residue in residues),
        known=known,
        centroid_known=torch.tensor([bool(each) for each in members]),
        beads=found,
        selection=_selection(given, members),
        notes=notes,
    )


def _refuse_all_atoms(residues: list[ProteinResidue], what: str) -> None:
    for residue in residues:
        if beyond := residue.atoms.keys() & set(ATOMS[residue.name][_N_BACKBONE + 1 :]):
            expected = "beads, or a word on which atoms to keep"
            got = f"all atoms, such as {min(beyond)} of {residue.label}"
            fix = "pass `--from ca` (`beads='ca'`), or `backbone`, `five_bead`, `centroid` or `all`"
            raise ValueError(message(f"the atoms of {what}", expected, got, fix))


def _given_atoms(residue: ProteinResidue, wanted: tuple[str, ...]) -> dict[int, int]:
    """Return the atom of the file in each slot that is given."""
    names = ATOMS[residue.name]
    return {names.index(name): residue.atoms[name] for name in wanted if name in names and name in residue.atoms}


def _centroid_members(residue: ProteinResidue) -> list[int]:
    """Return the atoms whose mean is the centroid of the side chain: a bead, or all atoms of it; none in glycine."""
    names = ATOMS[residue.name][_N_BACKBONE:]
    if not names:
        return []
    if bead := [residue.atoms[name] for name in CENTROIDS if name in residue.atoms]:
        return bead[:1]
    complete = all(name in residue.atoms for name in names)
    return [residue.atoms[name] for name in names] if complete else []


def _found(given: list[dict[int, int]], members: list[list[int]]) -> Beads:
    slots = {slot for each in given for slot in each}
    if any(members):
        return "centroid"
    if SLOT_CB in slots:
        return "five_bead"
    return "backbone" if slots - {SLOT_CA} else "ca"


def _selection(given: list[dict[int, int]], members: list[list[int]]) -> Selection:
    atoms = sorted({atom for each in given for atom in each.values()} | {atom for each in members for atom in each})
    row = {atom: index for index, atom in enumerate(atoms)}
    placed = [(row[atom], index * N_SLOTS + slot) for index, each in enumerate(given) for slot, atom in each.items()]
    owned = [(row[atom], index) for index, each in enumerate(members) for atom in each]
    rows, slots = torch.tensor(placed).T
    averaged, owners = torch.tensor(owned, dtype=torch.int64).reshape(-1, 2).T
    return Selection(torch.tensor(atoms), rows, slots, averaged, owners)
