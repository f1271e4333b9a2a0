"""Peptides with ideal bond lengths and given torsions, for tests that need a good structure without any file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.residues import ATOMS, BONDS, CHI, RESIDUES

# Atoms that no torsion of the table places: the atom beside each, and by how much its torsion is more than that one.
BRANCHES = {
    "VAL": {"CG2": ("CG1", 122.0)},
    "ILE": {"CG2": ("CG1", -122.0)},
    "THR": {"CG2": ("OG1", -121.0)},
    "LEU": {"CD2": ("CD1", 122.0)},
    "ASP": {"OD2": ("OD1", 180.0)},
    "ASN": {"ND2": ("OD1", 180.0)},
    "GLU": {"OE2": ("OE1", 180.0)},
    "GLN": {"NE2": ("OE1", 180.0)},
}
LENGTHS = {"CC": 0.1526, "CN": 0.147, "CO": 0.141, "CS": 0.181}
SP2 = {"ASP": "CG", "ASN": "CG", "GLU": "CD", "GLN": "CD"}
SEQUENCE = "GAVSTIKDELMNQC"
"""One of each residue without a ring."""


def place(first: np.ndarray, second: np.ndarray, third: np.ndarray, bond: float, angle: float, torsion: float):
    """Return the position of an atom bonded to `first`, in nm and degrees."""
    axis = (first - second) / np.linalg.norm(first - second)
    normal = np.cross(second - third, axis)
    normal /= np.linalg.norm(normal)
    turned = np.cos(np.deg2rad(torsion)) * np.cross(normal, axis) + np.sin(np.deg2rad(torsion)) * normal
    return first + bond * (-np.cos(np.deg2rad(angle)) * axis + np.sin(np.deg2rad(angle)) * turned)


def peptide(
    sequence: str = SEQUENCE,
    phi: float = -60.0,
    psi: float = -45.0,
    omega: float | Sequence[float] = 180.0,
    chi: Sequence[float] = (-65.0, 180.0, 180.0, 180.0),
) -> tuple[Chains, Tensor]:
    """Return a chain and its positions, [n_residues, 14, 3], nm, float64; by default a helix."""
    chains = Chains.from_sequence(sequence)
    omegas = np.broadcast_to(np.asarray(omega, dtype=float), (len(sequence),))
    positions = np.zeros((len(sequence), 14, 3))
    before: list[np.ndarray] = []
    for index, kind in enumerate(chains.types.tolist()):
        n, ca, c = backbone(before, phi, psi, omegas[index])
        before = [n, ca, c]
        placed = {"N": n, "CA": ca, "C": c, "O": place(c, ca, n, 0.1229, 120.5, psi + 180.0)}
        side_chain(RESIDUES[kind], placed, chi)
        positions[index] = ca
        for slot, name in enumerate(ATOMS[RESIDUES[kind]]):
            positions[index, slot] = placed[name]
    return chains, torch.from_numpy(positions)


def backbone(before: list[np.ndarray], phi: float, psi: float, omega: float) -> tuple[np.ndarray, ...]:
    if not before:
        n, ca = np.zeros(3), np.array([0.1458, 0.0, 0.0])
        return n, ca, place(ca, n, np.array([0.0, 0.1, 0.0]), 0.1525, 111.0, 180.0)
    n = place(before[2], before[1], before[0], 0.1329, 116.6, psi)
    ca = place(n, before[2], before[1], 0.1458, 121.7, omega)
    return n, ca, place(ca, n, before[2], 0.1525, 111.0, phi)


def side_chain(name: str, placed: dict[str, np.ndarray], chi: Sequence[float]) -> None:
    """Place the atoms of a side chain from CB on."""
    if name == "GLY":
        return
    # The direction opposite to the mean of N and C, turned out of their plane to the side of L amino acids.
    n, c = (placed[atom] - placed["CA"] for atom in ("N", "C"))
    n, c = n / np.linalg.norm(n), c / np.linalg.norm(c)
    out = np.cross(n, c)
    middle = -(n + c) / np.linalg.norm(n + c)
    placed["CB"] = placed["CA"] + 0.153 * (0.58 * middle + 0.815 * out / np.linalg.norm(out))
    for number, quadruple in enumerate(CHI.get(name, ())):
        d, (a, b, e) = quadruple[3], (placed[atom] for atom in quadruple[2::-1])
        angle = 120.0 if quadruple[2] == SP2.get(name) else 111.5
        placed[d] = place(a, b, e, length(quadruple[2], d, name), angle, chi[number])
        for branch, (beside, turn) in BRANCHES.get(name, {}).items():
            if beside == d:
                placed[branch] = place(a, b, e, length(quadruple[2], branch, name), angle, chi[number] + turn)


def length(first: str, second: str, name: str) -> float:
    assert (first, second) in BONDS[name]
    if first == SP2.get(name):
        return 0.125 if second[0] == "O" else 0.133
    return LENGTHS["".join(sorted(first[0] + second[0]))]
