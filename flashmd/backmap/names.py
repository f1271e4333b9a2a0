"""What files call residues and atoms: other names of the standard twenty, and replacements of modified residues.

Programs name the protonation states of a residue differently. Such names are read without asking, since the heavy atoms
are the same. A modified residue has other atoms; it becomes its closest standard residue on request only.
"""

from __future__ import annotations

from collections.abc import Mapping

from flashmd.backmap.residues import ATOMS, RESIDUES
from flashmd.errors import message

VARIANTS: dict[str, str] = {
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP", "HIN", "HISD", "HISE", "HISH"), "HIS"),
    **dict.fromkeys(("CYX", "CYM", "CYS2"), "CYS"),
    **dict.fromkeys(("ASH", "ASPH"), "ASP"),
    **dict.fromkeys(("GLH", "GLUH"), "GLU"),
    **dict.fromkeys(("LYN", "LYSN"), "LYS"),
    "ARN": "ARG",
    "TYM": "TYR",
}
"""Names of a residue in other protonation states and disulfides: the same heavy atoms."""

COMMON_REPLACEMENTS: dict[str, str] = {
    **dict.fromkeys(("MSE", "FME", "SME", "MHO"), "MET"),
    "NLE": "LEU",
    **dict.fromkeys(("SEP", "SAC"), "SER"),
    "TPO": "THR",
    **dict.fromkeys(("PTR", "TYS"), "TYR"),
    **dict.fromkeys(("CSO", "CSD", "CSX", "CME", "OCS", "SEC", "CAS"), "CYS"),
    **dict.fromkeys(("MLY", "M3L", "MLZ", "ALY", "KCX", "PYL", "LLP"), "LYS"),
    "HYP": "PRO",
    **dict.fromkeys(("PCA", "CGU"), "GLU"),
    "MEN": "ASN",
    **dict.fromkeys(("AIB", "ABA"), "ALA"),
    **dict.fromkeys(("HIC", "NEP"), "HIS"),
    **dict.fromkeys(("CIR", "AGM"), "ARG"),
    "NVA": "VAL",
}
"""Modified residues with the standard residue that takes their place on request."""

CENTROIDS = ("SC", "SCM", "SCC", "CEN", "COM")
"""Names of a bead at the mean position of the heavy atoms of a side chain."""
_OXYGENS = ("OT1", "OC1", "O1")
_NOT_PROTEIN = {"ACE", "NME", "NMA", "NH2", "FOR", "HOH", "WAT", "SOL", "TIP3", "CA"}


def standard_residue(name: str, replacements: Mapping[str, str]) -> str | None:
    """Return the standard name of an amino acid; None where there is none.

    Args:
        name: of the file.
        replacements: standard names of modified residues.

    Example:
        >>> standard_residue("HIE", {}), standard_residue("MSE", {}), standard_residue("MSE", {"MSE": "MET"})
        ('HIS', None, 'MET')
    """
    upper = name.upper()
    upper = replacements.get(upper, VARIANTS.get(upper, upper))
    return upper if upper in ATOMS else None


def standard_atom(name: str) -> str:
    """Return the standard name of a backbone atom; programs name the oxygens of a C-terminus differently."""
    return "O" if name in _OXYGENS else name


def may_be_left_out(name: str, atoms: set[str]) -> bool:
    """Whether a residue that is no amino acid is a cap, a solvent, an ion or a ligand rather than part of a chain."""
    if name.upper() in _NOT_PROTEIN:
        return True
    return not ({"N", "CA", "C"} <= atoms or atoms == {"CA"})


def parse_replacements(items: tuple[str, ...]) -> dict[str, str]:
    """Read "common" and entries such as "MSE=MET".

    Args:
        items: entries; later ones win.

    Raises:
        ValueError: an entry has another form, or its right side is not a standard amino acid.

    Example:
        >>> parse_replacements(("MSE=MET",))
        {'MSE': 'MET'}
    """
    table: dict[str, str] = {}
    for item in items:
        if item == "common":
            table |= COMMON_REPLACEMENTS
            continue
        name, _, standard = (part.strip().upper() for part in item.partition("="))
        if not name or standard not in ATOMS:
            expected = f"`common` or NAME=STANDARD with a standard residue ({', '.join(RESIDUES)})"
            raise ValueError(message("a replaced residue", expected, repr(item), "write, for example, `MSE=MET`"))
        table[name] = standard
    return table
