"""The heavy atoms of the twenty standard residues: names, bonds, rings, equivalent atoms and side-chain torsions.

A residue has up to fourteen heavy atoms. They stand in fixed slots: N, CA, C, O, then the side chain from CB outwards,
so that coordinates of a protein are one padded tensor [..., n_residues, 14, 3]. Masks and index tables over the slots
follow from the names here and nowhere else.
"""

from __future__ import annotations

import torch
from torch import Tensor

RESIDUES = (
    *("ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE"),
    *("LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL"),
)
"""Three-letter names; a residue's type is its place in this tuple, 0 to 19."""
ONE_LETTER = "ARNDCQEGHILKMFPSTWYV"
"""One-letter codes in the order of `RESIDUES`."""
N_SLOTS = 14
"""Slots for heavy atoms of a residue."""
SLOT_N, SLOT_CA, SLOT_C, SLOT_O, SLOT_CB = range(5)

_SIDE_CHAINS = {
    "ALA": "CB",
    "ARG": "CB CG CD NE CZ NH1 NH2",
    "ASN": "CB CG OD1 ND2",
    "ASP": "CB CG OD1 OD2",
    "CYS": "CB SG",
    "GLN": "CB CG CD OE1 NE2",
    "GLU": "CB CG CD OE1 OE2",
    "GLY": "",
    "HIS": "CB CG ND1 CE1 NE2 CD2",
    "ILE": "CB CG1 CD1 CG2",
    "LEU": "CB CG CD1 CD2",
    "LYS": "CB CG CD CE NZ",
    "MET": "CB CG SD CE",
    "PHE": "CB CG CD1 CE1 CZ CE2 CD2",
    "PRO": "CB CG CD",
    "SER": "CB OG",
    "THR": "CB OG1 CG2",
    "TRP": "CB CG CD1 NE1 CE2 CZ2 CH2 CZ3 CE3 CD2",
    "TYR": "CB CG CD1 CE1 CZ OH CE2 CD2",
    "VAL": "CB CG1 CG2",
}
ATOMS: dict[str, tuple[str, ...]] = {name: ("N", "CA", "C", "O", *_SIDE_CHAINS[name].split()) for name in RESIDUES}
"""Heavy atoms of each residue in the order of the slots; OXT of a last residue is not among them."""

_SIDE_CHAIN_BONDS = {
    "ARG": "CB-CG CG-CD CD-NE NE-CZ CZ-NH1 CZ-NH2",
    "ASN": "CB-CG CG-OD1 CG-ND2",
    "ASP": "CB-CG CG-OD1 CG-OD2",
    "CYS": "CB-SG",
    "GLN": "CB-CG CG-CD CD-OE1 CD-NE2",
    "GLU": "CB-CG CG-CD CD-OE1 CD-OE2",
    "HIS": "CB-CG CG-ND1 ND1-CE1 CE1-NE2 NE2-CD2 CD2-CG",
    "ILE": "CB-CG1 CB-CG2 CG1-CD1",
    "LEU": "CB-CG CG-CD1 CG-CD2",
    "LYS": "CB-CG CG-CD CD-CE CE-NZ",
    "MET": "CB-CG CG-SD SD-CE",
    "PHE": "CB-CG CG-CD1 CD1-CE1 CE1-CZ CZ-CE2 CE2-CD2 CD2-CG",
    "PRO": "CB-CG CG-CD CD-N",
    "SER": "CB-OG",
    "THR": "CB-OG1 CB-CG2",
    "TRP": "CB-CG CG-CD1 CD1-NE1 NE1-CE2 CE2-CD2 CD2-CG CE2-CZ2 CZ2-CH2 CH2-CZ3 CZ3-CE3 CE3-CD2",
    "TYR": "CB-CG CG-CD1 CD1-CE1 CE1-CZ CZ-CE2 CE2-CD2 CD2-CG CZ-OH",
    "VAL": "CB-CG1 CB-CG2",
}


def _bonds(name: str) -> tuple[tuple[str, str], ...]:
    backbone = [("N", "CA"), ("CA", "C"), ("C", "O")] + ([] if name == "GLY" else [("CA", "CB")])
    pairs = (bond.split("-") for bond in _SIDE_CHAIN_BONDS.get(name, "").split())
    return (*backbone, *((first, second) for first, second in pairs))


BONDS: dict[str, tuple[tuple[str, str], ...]] = {name: _bonds(name) for name in RESIDUES}
"""Bonds inside each residue, by atom names; the peptide bond C-N joins a residue to the next."""

RINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "HIS": (("CG", "ND1", "CE1", "NE2", "CD2"),),
    "PHE": (("CG", "CD1", "CE1", "CZ", "CE2", "CD2"),),
    "PRO": (("N", "CA", "CB", "CG", "CD"),),
    "TRP": (("CG", "CD1", "NE1", "CE2", "CD2"), ("CD2", "CE2", "CZ2", "CH2", "CZ3", "CE3")),
    "TYR": (("CG", "CD1", "CE1", "CZ", "CE2", "CD2"),),
}
"""Rings of each residue, atoms in order around the ring."""

EQUIVALENT: dict[str, tuple[tuple[str, str], ...]] = {
    "ARG": (("NH1", "NH2"),),
    "ASP": (("OD1", "OD2"),),
    "GLU": (("OE1", "OE2"),),
    "PHE": (("CD1", "CD2"), ("CE1", "CE2")),
    "TYR": (("CD1", "CD2"), ("CE1", "CE2")),
}
"""Pairs of atoms whose names may be exchanged, all pairs of a residue together, without changing the molecule."""

CHI: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "ARG": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD"), ("CB", "CG", "CD", "NE"), ("CG", "CD", "NE", "CZ")),
    "ASN": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "OD1")),
    "ASP": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "OD1")),
    "CYS": (("N", "CA", "CB", "SG"),),
    "GLN": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD"), ("CB", "CG", "CD", "OE1")),
    "GLU": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD"), ("CB", "CG", "CD", "OE1")),
    "HIS": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "ND1")),
    "ILE": (("N", "CA", "CB", "CG1"), ("CA", "CB", "CG1", "CD1")),
    "LEU": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD1")),
    "LYS": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD"), ("CB", "CG", "CD", "CE"), ("CG", "CD", "CE", "NZ")),
    "MET": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "SD"), ("CB", "CG", "SD", "CE")),
    "PHE": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD1")),
    "PRO": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD")),
    "SER": (("N", "CA", "CB", "OG"),),
    "THR": (("N", "CA", "CB", "OG1"),),
    "TRP": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD1")),
    "TYR": (("N", "CA", "CB", "CG"), ("CA", "CB", "CG", "CD1")),
    "VAL": (("N", "CA", "CB", "CG1"),),
}
"""Side-chain torsions chi1, chi2, ... of each residue."""


def slot(residue: str, atom: str) -> int:
    """Return the slot of a heavy atom.

    Example:
        >>> slot("TRP", "CH2"), slot("GLY", "O")
        (10, 3)
    """
    return ATOMS[residue].index(atom)


def slot_mask() -> Tensor:
    """Return which slots each residue type fills: [20, 14], bool.

    Example:
        >>> slot_mask().sum(1)[:3]
        tensor([ 5, 11,  8])
    """
    return torch.tensor([[index < len(ATOMS[name]) for index in range(N_SLOTS)] for name in RESIDUES])
