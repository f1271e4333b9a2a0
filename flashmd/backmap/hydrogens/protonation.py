"""All atoms of protein chains: which hydrogens there are, their names, bonds and order.

The protonation is that of neutral pH: charged termini, aspartate, glutamate, lysine and arginine; histidines as asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.residues import ATOMS, BONDS, RESIDUES
from flashmd.errors import message

HYDROGENS: dict[str, dict[str, tuple[str, ...]]] = {
    name: {entry.split(":")[0]: tuple(entry.split(":")[1].split(",")) for entry in text.split()}
    for name, text in {
        "ALA": "CA:HA CB:HB1,HB2,HB3",
        "ARG": "CA:HA CB:HB2,HB3 CG:HG2,HG3 CD:HD2,HD3 NE:HE NH1:HH11,HH12 NH2:HH21,HH22",
        "ASN": "CA:HA CB:HB2,HB3 ND2:HD21,HD22",
        "ASP": "CA:HA CB:HB2,HB3",
        "CYS": "CA:HA CB:HB2,HB3 SG:HG",
        "CYX": "CA:HA CB:HB2,HB3",
        "GLN": "CA:HA CB:HB2,HB3 CG:HG2,HG3 NE2:HE21,HE22",
        "GLU": "CA:HA CB:HB2,HB3 CG:HG2,HG3",
        "GLY": "CA:HA2,HA3",
        "HID": "CA:HA CB:HB2,HB3 ND1:HD1 CE1:HE1 CD2:HD2",
        "HIE": "CA:HA CB:HB2,HB3 CE1:HE1 NE2:HE2 CD2:HD2",
        "HIP": "CA:HA CB:HB2,HB3 ND1:HD1 CE1:HE1 NE2:HE2 CD2:HD2",
        "ILE": "CA:HA CB:HB CG1:HG12,HG13 CD1:HD11,HD12,HD13 CG2:HG21,HG22,HG23",
        "LEU": "CA:HA CB:HB2,HB3 CG:HG CD1:HD11,HD12,HD13 CD2:HD21,HD22,HD23",
        "LYS": "CA:HA CB:HB2,HB3 CG:HG2,HG3 CD:HD2,HD3 CE:HE2,HE3 NZ:HZ1,HZ2,HZ3",
        "MET": "CA:HA CB:HB2,HB3 CG:HG2,HG3 CE:HE1,HE2,HE3",
        "PHE": "CA:HA CB:HB2,HB3 CD1:HD1 CE1:HE1 CZ:HZ CE2:HE2 CD2:HD2",
        "PRO": "CA:HA CB:HB2,HB3 CG:HG2,HG3 CD:HD2,HD3",
        "SER": "CA:HA CB:HB2,HB3 OG:HG",
        "THR": "CA:HA CB:HB OG1:HG1 CG2:HG21,HG22,HG23",
        "TRP": "CA:HA CB:HB2,HB3 CD1:HD1 NE1:HE1 CZ2:HZ2 CH2:HH2 CZ3:HZ3 CE3:HE3",
        "TYR": "CA:HA CB:HB2,HB3 CD1:HD1 CE1:HE1 OH:HH CE2:HE2 CD2:HD2",
        "VAL": "CA:HA CB:HB CG1:HG11,HG12,HG13 CG2:HG21,HG22,HG23",
    }.items()
}
"""Hydrogens of each form of a residue by the heavy atom that carries them; those of N depend on the chain."""

_IMIDAZOLES = ("HID", "HIE", "HIP")


@dataclass(frozen=True)
class AllAtoms:
    """Every atom of some chains, residue by residue: heavy atoms in the order of their slots, OXT, hydrogens.

    Attributes:
        chains: the residues.
        forms: form of each residue, such as "HIE" or "CYX".
        names: names of the atoms.
        elements: their chemical symbols.
        residue: [n_atoms], int64, the residue of each atom.
        bonds: [n_bonds, 2], int64.
        heavy: [n_heavy], int64, where the atoms of `Chains.flatten` stand.
        parent: [n_atoms], int64, the heavy atom that carries a hydrogen or an OXT, the atom itself for heavy atoms.

    Example:
        >>> from flashmd.backmap.chains import Chains
        >>> atoms = all_atoms(Chains.from_sequence("GA"))
        >>> atoms.n_atoms, atoms.names[:8]
        (20, ('N', 'CA', 'C', 'O', 'H', 'H2', 'H3', 'HA2'))
    """

    chains: Chains
    forms: tuple[str, ...]
    names: tuple[str, ...]
    elements: tuple[str, ...]
    residue: Tensor
    bonds: Tensor
    heavy: Tensor
    parent: Tensor

    @property
    def n_atoms(self) -> int:
        """Number of atoms, hydrogens and OXT included."""
        return len(self.names)


def all_atoms(
    chains: Chains, *, imidazoles: Mapping[int, str] | None = None, disulfides: Iterable[tuple[int, int]] = ()
) -> AllAtoms:
    """Add hydrogens and OXT to the heavy atoms of some chains, in name only.

    Args:
        chains: the residues; every piece of chain gets charged ends.
        imidazoles: "HID", "HIE" or "HIP" for residues that are histidines; the others take the form that their label
            names, HIE without one.
        disulfides: pairs of residues, cysteines joined by a bond between their sulphurs.

    Raises:
        ValueError: a residue is not what `imidazoles` or `disulfides` take it for.

    Example:
        >>> from flashmd.backmap.chains import Chains
        >>> all_atoms(Chains.from_sequence("GHG"), imidazoles={1: "HIP"}).forms
        ('GLY', 'HIP', 'GLY')
    """
    bridges = tuple(disulfides)
    forms = _forms(chains, dict(imidazoles or {}), bridges)
    begins = torch.cat([chains.joined.new_ones(1), ~chains.joined[:-1]]).tolist()
    ends = (~chains.joined).tolist()
    names: list[str] = []
    residue: list[int] = []
    place: dict[tuple[int, str], int] = {}
    carriers: list[str] = []
    for index, form in enumerate(forms):
        own = _atoms_of(form, RESIDUES[int(chains.types[index])], first=begins[index], last=ends[index])
        for name, carrier in own:
            place[index, name] = len(names)
            names.append(name)
            residue.append(index)
            carriers.append(carrier)
    parent = [place[owner, carrier] for owner, carrier in zip(residue, carriers, strict=True)]
    heavy = [position for position, name in enumerate(names) if name[0] != "H" and name != "OXT"]
    return AllAtoms(
        chains=chains,
        forms=forms,
        names=tuple(names),
        elements=tuple(name[0] for name in names),
        residue=torch.tensor(residue),
        bonds=torch.tensor(_bonds(chains, place, parent, bridges)),
        heavy=torch.tensor(heavy),
        parent=torch.tensor(parent),
    )


def _forms(chains: Chains, imidazoles: dict[int, str], bridges: tuple[tuple[int, int], ...]) -> tuple[str, ...]:
    forms = [RESIDUES[kind] for kind in chains.types.tolist()]
    for index, form in imidazoles.items():
        if not 0 <= index < len(forms) or forms[index] != "HIS" or form not in _IMIDAZOLES:
            got = f"{form!r} for residue {index}" + (f", {forms[index]}" if 0 <= index < len(forms) else "")
            raise ValueError(
                message("`imidazoles`", f"histidines and one of {', '.join(_IMIDAZOLES)}", got, "correct that entry")
            )
    for index in (one for pair in bridges for one in pair):
        if not 0 <= index < len(forms) or forms[index] != "CYS":
            got = f"residue {index}" + (f", {forms[index]}" if 0 <= index < len(forms) else "")
            raise ValueError(message("`disulfides`", "pairs of different cysteines", got, "correct that pair"))
        forms[index] = "CYX"
    labels = [label.name for label in chains.labels]
    default = [label if label in _IMIDAZOLES else "HIE" for label in labels]
    return tuple(imidazoles.get(index, default[index]) if form == "HIS" else form for index, form in enumerate(forms))


def _atoms_of(form: str, residue: str, *, first: bool, last: bool) -> list[tuple[str, str]]:
    """Return names of the atoms of a residue, each with the atom that carries it."""
    heavy = [(name, name) for name in ATOMS[residue]]
    ending = [("OXT", "C")] if last else []
    amine = ["H", "H2", "H3"] if first else ["H"]
    if form == "PRO":
        amine.remove("H")
    carried = [(name, carrier) for carrier, group in HYDROGENS[form].items() for name in group]
    return [*heavy, *ending, *((name, "N") for name in amine), *carried]


def _bonds(
    chains: Chains, place: dict[tuple[int, str], int], parent: list[int], bridges: tuple[tuple[int, int], ...]
) -> list[tuple[int, int]]:
    kinds = [RESIDUES[kind] for kind in chains.types.tolist()]
    bonds = [(place[i, a], place[i, b]) for i, kind in enumerate(kinds) for a, b in BONDS[kind]]
    bonds += [(place[i, "C"], place[i + 1, "N"]) for i, joined in enumerate(chains.joined.tolist()) if joined]
    bonds += [(carrier, atom) for atom, carrier in enumerate(parent) if carrier != atom]
    return bonds + [(place[i, "SG"], place[j, "SG"]) for i, j in bridges]
