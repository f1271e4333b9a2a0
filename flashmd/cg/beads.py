"""Bead types and masses of the two resolutions: one bead on each C-alpha, or five beads for each residue.

Types are small positive integers; 0 is never used, so that an embedding of `n_types = max + 1` rows fits every model.
The five-bead numbering (backbone atoms have their own types, the side chain and glycine's C-alpha carry the residue)
is that of the published five-bead models, whose parameter tables can therefore be used without translation.
"""

from __future__ import annotations

from typing import Literal

Resolution = Literal["ca", "five_bead"]

# Ordered by one-letter code.
RESIDUES = (
    *("ALA", "CYS", "ASP", "GLU", "PHE", "GLY", "HIS", "ILE", "LYS", "LEU"),
    *("MET", "ASN", "PRO", "GLN", "ARG", "SER", "THR", "VAL", "TRP", "TYR"),
)
CA_TYPES: dict[str, int] = {name: index for index, name in enumerate(RESIDUES, start=1)}
"""Bead type of a residue's C-alpha at resolution "ca", 1 to 20."""
FIVE_BEAD_TYPES: dict[str, int] = {**CA_TYPES, "N": 21, "CA": 22, "C": 23, "O": 24}
"""Bead types at resolution "five_bead": the residue name stands for its C-beta (glycine: its C-alpha)."""
FIVE_BEAD_ATOMS = ("N", "CA", "CB", "C", "O")
"""Atoms kept at resolution "five_bead", in order; glycine has no CB."""

FIVE_BEAD_MASSES: dict[str, float] = {"N": 14.0, "CA": 12.0, "CB": 12.0, "C": 12.0, "O": 16.0}
"""Masses in Da of the five beads (the integer masses of the published models)."""
RESIDUE_MASSES: dict[str, float] = {
    "ALA": 71.0788,
    "CYS": 103.1388,
    "ASP": 115.0886,
    "GLU": 129.1155,
    "PHE": 147.1766,
    "GLY": 57.0519,
    "HIS": 137.1411,
    "ILE": 113.1594,
    "LYS": 128.1741,
    "LEU": 113.1594,
    "MET": 131.1926,
    "ASN": 114.1038,
    "PRO": 97.1167,
    "GLN": 128.1307,
    "ARG": 156.1875,
    "SER": 87.0782,
    "THR": 101.1051,
    "VAL": 99.1326,
    "TRP": 186.2132,
    "TYR": 163.1760,
}
"""Average residue masses in Da (amino acid minus water), the masses of the C-alpha beads."""

_ALIASES = {
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "HIS"),
    **dict.fromkeys(("CYX", "CYM"), "CYS"),
    "ASH": "ASP",
    "GLH": "GLU",
    "LYN": "LYS",
    "MSE": "MET",
    "NLE": "LEU",
}


def standard_residue(name: str) -> str | None:
    """Return the standard name of an amino acid, folding protonation states and close variants; None if unknown.

    >>> standard_residue("HIE"), standard_residue("NLE"), standard_residue("HOH")
    ('HIS', 'LEU', None)
    """
    upper = name.upper()
    upper = _ALIASES.get(upper, upper)
    return upper if upper in CA_TYPES else None


def bead_type(residue: str, atom: str, resolution: Resolution) -> int:
    """Return the type of the bead on `atom` of a standard `residue`.

    >>> bead_type("TYR", "CA", "ca"), bead_type("TYR", "CA", "five_bead"), bead_type("GLY", "CA", "five_bead")
    (20, 22, 6)
    """
    if resolution == "ca" or atom == "CB" or (residue == "GLY" and atom == "CA"):
        return CA_TYPES[residue]
    return FIVE_BEAD_TYPES[atom]


def bead_mass(residue: str, atom: str, resolution: Resolution) -> float:
    """Return the mass in Da of the bead on `atom` of a standard `residue`."""
    return RESIDUE_MASSES[residue] if resolution == "ca" else FIVE_BEAD_MASSES[atom]
