"""Build N-methylacetamide and alanine dipeptide from bond lengths, angles and torsions.

The latter is written as a PDB file after it went downhill on GFN2-xTB:

    python examples/data_generation/peptides.py data/structures/alanine_dipeptide.pdb
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import gfn2
import mdtraj
import numpy as np
from ase.data import atomic_numbers

PHI, PSI = -83.0, 75.0  # degrees, near C7eq, the most stable conformer without solvent


@dataclass(frozen=True)
class Place:
    """An atom placed from three others: bond in nm to the first, angle to the second, torsion to the third in degrees.

    Attributes:
        residue: name of the residue.
        atom: name of the atom, whose first letter is the element.
        frame: residue and atom names of the three others, nearest first.
        bond: nm.
        angle: degrees.
        torsion: degrees.
    """

    residue: str
    atom: str
    frame: tuple[tuple[str, str], ...]
    bond: float
    angle: float
    torsion: float


def _caps(before: tuple[tuple[str, str], ...], omega: float) -> list[Place]:
    """Return the NME residue behind the carbon, alpha carbon (or methyl) and oxygen named in `before`."""
    carbon, alpha, oxygen = before
    nitrogen, methyl = ("NME", "N"), ("NME", "C")
    return [
        Place(*nitrogen, (carbon, alpha, oxygen), 0.1335, 116.6, 180.0),
        Place("NME", "H", (nitrogen, carbon, alpha), 0.101, 119.8, omega + 180.0),
        Place(*methyl, (nitrogen, carbon, alpha), 0.1449, 121.9, omega),
        *(Place("NME", f"H{k + 1}", (methyl, nitrogen, carbon), 0.109, 109.5, 60.0 + 120.0 * k) for k in range(3)),
    ]


def _acetyl() -> list[Place]:
    methyl, carbon, oxygen = ("ACE", "CH3"), ("ACE", "C"), ("ACE", "O")
    return [Place("ACE", f"H{k + 1}", (methyl, carbon, oxygen), 0.109, 109.5, 120.0 * k) for k in range(3)]


def _alanine(phi: float, psi: float) -> list[Place]:
    n, ca, c, o, cb = (("ALA", name) for name in ("N", "CA", "C", "O", "CB"))
    before = ("ACE", "C")
    return [
        Place(*n, (before, ("ACE", "CH3"), ("ACE", "O")), 0.1335, 116.6, 180.0),
        Place("ALA", "H", (n, before, ("ACE", "CH3")), 0.101, 119.8, 0.0),
        Place(*ca, (n, before, ("ACE", "CH3")), 0.1449, 121.9, 180.0),
        Place(*c, (ca, n, before), 0.1522, 111.1, phi),
        Place("ALA", "HA", (ca, n, before), 0.109, 108.0, phi + 119.0),
        Place(*cb, (ca, n, before), 0.1526, 109.7, phi - 122.0),
        *(Place("ALA", f"HB{k + 1}", (cb, ca, n), 0.109, 109.5, 60.0 + 120.0 * k) for k in range(3)),
        Place(*o, (c, ca, n), 0.1229, 120.4, psi + 180.0),
    ]


def _placed(a: np.ndarray, b: np.ndarray, c: np.ndarray, place: Place) -> np.ndarray:
    """Return the position at a bond from a, an angle a-b and a torsion around a-b counted from c."""
    angle, torsion = np.deg2rad(place.angle), np.deg2rad(place.torsion)
    axis = (a - b) / np.linalg.norm(a - b)
    normal = np.cross(b - c, axis)
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, axis)
    planar = np.cos(torsion) * across + np.sin(torsion) * normal
    return a + place.bond * (-np.cos(angle) * axis + np.sin(angle) * planar)


def build(places: list[Place]) -> dict[tuple[str, str], np.ndarray]:
    """Return positions in nm by residue and atom name, from an acetyl group in the plane."""
    positions = {
        ("ACE", "C"): np.zeros(3),
        ("ACE", "CH3"): np.array([-0.1522, 0.0, 0.0]),
        ("ACE", "O"): np.array([0.0622, 0.106, 0.0]),
    }
    for place in places:
        first, second, third = (positions[name] for name in place.frame)
        positions[place.residue, place.atom] = _placed(first, second, third, place)
    return positions


def alanine_dipeptide(phi: float = PHI, psi: float = PSI) -> dict[tuple[str, str], np.ndarray]:
    """Return N-acetyl-alanine-N'-methylamide, 22 atoms, with given torsions in degrees."""
    before = ("ALA", "C"), ("ALA", "CA"), ("ALA", "O")
    return build(_acetyl() + _alanine(phi, psi) + _caps(before, 180.0))


def n_methylacetamide(omega: float = 180.0) -> dict[tuple[str, str], np.ndarray]:
    """Return N-methylacetamide, 12 atoms; torsion 180 for trans and 0 for cis, degrees."""
    before = ("ACE", "C"), ("ACE", "CH3"), ("ACE", "O")
    return build(_acetyl() + _caps(before, omega))


def write(path: Path, atoms: dict[tuple[str, str], np.ndarray]) -> None:
    """Write a PDB file, residue by residue."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    names = sorted(atoms, key=lambda name: ("ACE", "ALA", "NME").index(name[0]))
    for number, residue_name in enumerate(dict.fromkeys(residue for residue, _ in names), start=1):
        residue = topology.add_residue(residue_name, chain, resSeq=number)
        for atom in (atom for each, atom in names if each == residue_name):
            topology.add_atom(atom, mdtraj.element.get_by_symbol(atom[0]), residue)
    topology.create_standard_bonds()
    structure = mdtraj.Trajectory(np.array([[atoms[name] for name in names]]), topology)
    structure.center_coordinates()
    structure.save_pdb(str(path))


def relaxed(atoms: dict[tuple[str, str], np.ndarray], n_steps: int = 3000) -> dict[tuple[str, str], np.ndarray]:
    """Return a structure near a minimum of the teacher."""
    teacher = gfn2.Teacher(np.array([atomic_numbers[atom[0]] for _, atom in atoms]))
    positions = gfn2.relax(teacher, np.array(list(atoms.values())), n_steps=n_steps)
    return dict(zip(atoms, positions, strict=True))


if __name__ == "__main__":
    write(Path(sys.argv[1]), relaxed(alanine_dipeptide()))
