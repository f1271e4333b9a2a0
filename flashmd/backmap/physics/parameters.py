"""Ideal bond lengths, angles and torsions of heavy atoms, and the sizes of united atoms.

Bond lengths, stiffness and torsions are those of Amber ff14SB; `amber14.json` is made from OpenMM's files by
examples/data_generation/backmap_force_field.py. Hydrogens have no coordinates here: heavy atoms that carry them are
united atoms, whose sizes and whose angles, which hydrogens spread, come from known structures (`geometry.json`, made by
examples/data_generation/backmap_geometry.py).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from flashmd.backmap.residues import ATOMS, BONDS, N_SLOTS, RESIDUES

KINDS = ("C", "CH", "CH1", "CH2", "CH3", "N", "NH", "O", "OH", "S")
"""United atoms: sp2 carbon without and with hydrogen, sp3 carbon by hydrogens, nitrogen and oxygen without and with
hydrogen, sulphur."""
_SP3 = frozenset({"CX", "CT", "2C", "3C", "C8"})
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ForceField:
    """Parameters by the classes of the atoms of a term, in order or in reverse.

    Attributes:
        classes: class of each heavy atom of each residue.
        bonds: length in nm, stiffness in kJ/mol/nm^2.
        angles: angle in rad, stiffness in kJ/mol/rad^2.
        torsions: periodicity, phase in rad, k in kJ/mol of each cosine; absent where there is none.
        disulfide: "bond", "angle" and "torsion" of CB-SG-SG-CB.
    """

    classes: dict[str, dict[str, str]]
    bonds: dict[str, list[float]]
    angles: dict[str, list[float]]
    torsions: dict[str, list[list[float]]]
    disulfide: dict[str, list[list[float]]]

    def bond(self, *kinds: str) -> tuple[float, float]:
        """Return length and stiffness of a bond."""
        length, stiffness = self.bonds[_key(kinds)]
        return length, stiffness

    def angle_stiffness(self, *kinds: str) -> float:
        """Return the stiffness of the spring between the outer atoms of an angle, kJ/mol/nm^2."""
        angle, stiffness = self.angles[_key(kinds)]
        return spring_of_angle(self.bond(*kinds[:2])[0], self.bond(*kinds[1:])[0], angle, stiffness)[1]

    def torsion(self, *kinds: str) -> list[list[float]]:
        """Return the cosines of a torsion."""
        return self.torsions.get(_key(kinds), [])


def _key(kinds: tuple[str, ...]) -> str:
    return " ".join(min(kinds, kinds[::-1]))


def spring_of_angle(first: float, second: float, angle: float, stiffness: float) -> tuple[float, float]:
    """Return distance (nm) and stiffness (kJ/mol/nm^2) of the spring between the ends of an angle.

    With d^2 = a^2 + b^2 - 2 a b cos(theta), the slope is dd/dtheta = a b sin(theta) / d, and k_d = k_theta / slope^2.

    Example:
        >>> length, _ = spring_of_angle(0.3, 0.4, 1.5707963, 1.0)
        >>> round(length, 6)
        0.5
    """
    distance = math.sqrt(first**2 + second**2 - 2 * first * second * math.cos(angle))
    slope = first * second * math.sin(angle) / distance
    return distance, stiffness / slope**2


@lru_cache(maxsize=1)
def force_field() -> ForceField:
    """Read the table once."""
    content = json.loads((_FOLDER / "amber14.json").read_text(encoding="utf-8"))
    content.pop("source")
    return ForceField(**content)


@lru_cache(maxsize=1)
def angle_distances() -> dict[str, float]:
    """Return the distances across angles in known structures by the names of `fragments.angle_names`, nm."""
    distances: dict[str, float] = json.loads((_FOLDER / "geometry.json").read_text(encoding="utf-8"))["angles"]
    return distances


@lru_cache(maxsize=1)
def contact_distances() -> Tensor:
    """Return the distances that few contacts in known structures fall below: [2, 10, 10], nm.

    The first table is for atoms three bonds apart, the second for all further ones; indices are those of `KINDS`.
    """
    tables = json.loads((_FOLDER / "geometry.json").read_text(encoding="utf-8"))["contacts"]
    return torch.tensor([tables["3"], tables["4"]], dtype=torch.float64)


def _kind(residue: str, atom: str) -> str:
    """Return the united atom that a heavy atom is."""
    kind = force_field().classes[residue][atom]
    degree = sum(atom in bond for bond in BONDS[residue]) + (atom in ("N", "C"))
    if kind in _SP3:
        return f"CH{4 - degree}"
    if kind[0] == "C":
        return "CH" if degree == 2 else "C"
    if kind[0] == "N":
        return "N" if kind == "NB" or degree == 3 else "NH"
    return kind[0] if kind != "OH" else "OH"


@lru_cache(maxsize=1)
def united_atoms() -> Tensor:
    """Return the index into `KINDS` of every slot of every residue type: [20, 14], int64; empty slots hold 0."""
    table = torch.zeros(len(RESIDUES), N_SLOTS, dtype=torch.int64)
    for row, name in enumerate(RESIDUES):
        for column, atom in enumerate(ATOMS[name]):
            table[row, column] = KINDS.index(_kind(name, atom))
    return table


_SIZES = {
    "C": (0.21, 0.502),
    "CH": (0.21, 0.502),
    "CH1": (0.2365, 0.203),
    "CH2": (0.2235, 0.478),
    "CH3": (0.2165, 0.758),
    "N": (0.16, 0.997),
    "NH": (0.16, 0.997),
    "O": (0.16, 0.666),
    "OH": (0.16, 0.666),
    "S": (0.189, 0.18),
}
_CLOSE_CARBON = (0.19, 0.418)
_DONORS, _ACCEPTORS = ("NH", "OH"), ("N", "O", "OH")
_HYDROGEN_BOND = (0.29, 3.0)


@lru_cache(maxsize=1)
def lennard_jones_table() -> Tensor:
    """Return distance of the minimum (nm) and depth (kJ/mol) of two united atoms: [2, 2, 10, 10].

    Half the distances and the depths are those of united atoms in Neria, Fischer and Karplus, J. Chem. Phys. 105, 1902
    (1996), doi:10.1063/1.472061, carbons three bonds apart smaller as there. Donors and acceptors of hydrogen bonds,
    which charges would hold together, have the minimum of the bond. The second index is 0 for atoms three bonds apart.
    """
    table = torch.zeros(2, 2, len(KINDS), len(KINDS), dtype=torch.float64)
    for row, one in enumerate(KINDS):
        for column, other in enumerate(KINDS):
            far, near = (_SIZES[one], _SIZES[other]), (_close(one), _close(other))
            for bonds, (first, second) in enumerate((near, far)):
                table[:, bonds, row, column] = torch.tensor([first[0] + second[0], math.sqrt(first[1] * second[1])])
            if (one in _DONORS and other in _ACCEPTORS) or (other in _DONORS and one in _ACCEPTORS):
                table[:, 1, row, column] = torch.tensor(_HYDROGEN_BOND)
    return table


def _close(kind: str) -> tuple[float, float]:
    return _CLOSE_CARBON if kind[0] == "C" else _SIZES[kind]
