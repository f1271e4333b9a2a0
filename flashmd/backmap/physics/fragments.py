"""The bonded terms of one residue and of one peptide bond, found from the bond graph.

A term belongs to a residue if all its atoms do, or to the junction of two joined residues; no bonded term touches
three. Atoms of a junction are numbered 0-13 in the first residue and 14-27 in the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from flashmd.backmap.physics.parameters import angle_distances, force_field
from flashmd.backmap.residues import ATOMS, BONDS, N_SLOTS, RESIDUES, RINGS, SLOT_CA, SLOT_O

HYDROGEN_TORSION = 0.65
"""kJ/mol, three-fold cosine of each torsion about a single bond that ends in a hydrogen (Amber, X-CT-CT-X)."""
HYDROGEN_ANGLES = 2.0
"""Stiffness of an angle together with those of the hydrogens beside it, which bend with it, over its own; chosen by the
energy of relaxed structures in Amber14 with hydrogens."""
N_COSINES = 6
"""Cosines of one torsion, at most."""
CENTERS = {
    "ILE": ("CB", "CA", "CG1", "CG2"),
    "THR": ("CB", "CA", "OG1", "CG2"),
    "VAL": ("CB", "CA", "CG2", "CG1"),
    "LEU": ("CG", "CB", "CD2", "CD1"),
}
"""Chiral centres of side chains with three neighbours in an order whose volume is positive in nature; in VAL and LEU it
decides only which of two methyl groups has which name."""
_SP3 = frozenset({"CX", "CT", "2C", "3C", "C8"})


@dataclass(frozen=True)
class Terms:
    """Terms of a fragment or of whole chains.

    Attributes:
        bonds: [2, n] atoms; `bond_values` [2, n], length (nm) and stiffness (kJ/mol/nm^2).
        bond_values: see `bonds`.
        angles: [2, n] outer atoms of angles; `angle_values` as for bonds.
        angle_values: see `angles`.
        planes: [4, n] atoms that lie in one plane; `plane_values` [1, n], nm^2, twice the area of the first three.
        plane_values: see `planes`.
        peptides: [3, n] CA and O of a residue and CA of the next one.
        hands: [4, n] three neighbours of a chiral centre and the centre; `hand_values` [1, n], nm^2, as for planes.
        hand_values: see `hands`.
        torsions: [4, n] atoms; `torsion_values` [18, n], periodicity, phase (rad) and k (kJ/mol) of six cosines.
        torsion_values: see `torsions`.
    """

    bonds: Tensor
    bond_values: Tensor
    angles: Tensor
    angle_values: Tensor
    planes: Tensor
    plane_values: Tensor
    peptides: Tensor
    hands: Tensor
    hand_values: Tensor
    torsions: Tensor
    torsion_values: Tensor


class _Graph:
    """Atoms, classes and bonds of one residue, or of two that are joined; names of the second start with "+"."""

    def __init__(self, first: str, second: str | None) -> None:
        self.residues = (first, second)
        names = [*ATOMS[first], *(f"+{atom}" for atom in (ATOMS[second] if second else ()))]
        table = force_field().classes
        self.number = {atom: index for index, atom in enumerate(ATOMS[first])}
        self.kinds = dict(table[first])
        bonds = [*BONDS[first]]
        if second:
            self.number |= {f"+{atom}": N_SLOTS + index for index, atom in enumerate(ATOMS[second])}
            self.kinds |= {f"+{atom}": kind for atom, kind in table[second].items()}
            bonds += [("C", "+N"), *((f"+{one}", f"+{other}") for one, other in BONDS[second])]
        self.bonded: dict[str, list[str]] = {name: [] for name in names}
        for one, other in bonds:
            self.bonded[one].append(other)
            self.bonded[other].append(one)

    def owns(self, atoms: tuple[str, ...]) -> bool:
        """Tell whether a term belongs to this fragment: of a junction, only those that touch both residues."""
        touched = {atom[0] == "+" for atom in atoms}
        return self.residues[1] is None or len(touched) == 2

    def paths(self, length: int) -> Iterator[tuple[str, ...]]:
        """Yield every path of so many bonded atoms once."""
        walks: list[tuple[str, ...]] = [(atom,) for atom in self.bonded]
        for _ in range(length - 1):
            walks = [(*walk, step) for walk in walks for step in self.bonded[walk[-1]] if step not in walk]
        yield from (walk for walk in walks if self.number[walk[0]] < self.number[walk[-1]] and self.owns(walk))

    def classes(self, atoms: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.kinds[atom] for atom in atoms)

    def numbers(self, atoms: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(self.number[atom] for atom in atoms)

    def peptide(self) -> Tensor:
        """Return CA and O of the first residue and CA of the second: [3, 1], or [3, 0] within a residue."""
        joint = 1 if self.residues[1] else 0
        return torch.tensor([SLOT_CA, SLOT_O, N_SLOTS + SLOT_CA])[:, None].expand(3, joint)

    def is_planar(self, one: str, other: str) -> bool:
        """Tell whether torsions about a bond are held at 0 or 180 degrees: peptide bonds, aromatic rings, ARG NE-CZ."""
        pair = {one, other}
        if pair in ({"C", "+N"}, {"NE", "CZ"}):
            return True
        rings = RINGS.get(self.residues[0], ()) if self.residues[0] != "PRO" else ()
        return any(pair <= set(ring) for ring in rings)


def _height_scale(graph: _Graph, first: str, center: str, third: str) -> float:
    """Return twice the ideal area of the triangle of an angle."""
    field = force_field()
    kinds = graph.classes((first, center, third))
    one, other = field.bond(*kinds[:2])[0], field.bond(*kinds[1:])[0]
    angle = torch.tensor(field.angles[" ".join(min(kinds, kinds[::-1]))][0])
    return float(one * other * torch.sin(angle))


def _planes(graph: _Graph) -> Iterator[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Yield improper terms of flat centres and torsions about bonds that do not turn."""
    for center, around in graph.bonded.items():
        if len(around) == 3 and graph.kinds[center] not in _SP3 and graph.owns((center, *around)):
            first, second, third = around
            yield graph.numbers((first, center, second, third)), (_height_scale(graph, first, center, second),)
    for path in graph.paths(4):
        if graph.is_planar(path[1], path[2]):
            yield graph.numbers(path), (_height_scale(graph, *path[:3]),)


def _hands(graph: _Graph) -> Iterator[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Yield the chiral centres of a residue: three neighbours in their natural order and the centre."""
    name, second = graph.residues
    if second is None and name != "GLY":
        for center, one, two, three in (("CA", "N", "C", "CB"), *([CENTERS[name]] if name in CENTERS else [])):
            yield graph.numbers((one, two, three, center)), (_height_scale(graph, one, center, two),)


def _torsions(graph: _Graph) -> Iterator[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Yield the cosines of torsions about bonds that turn, those that end in hydrogens included."""
    field = force_field()
    seen = set()
    for path in graph.paths(4):
        if graph.is_planar(path[1], path[2]):
            continue
        cosines = list(field.torsion(*graph.classes(path)))
        middle = frozenset(path[1:3])
        if middle not in seen and {graph.kinds[atom] for atom in middle} <= _SP3:
            seen.add(middle)
            heavy = (len(graph.bonded[path[1]]) - 1) * (len(graph.bonded[path[2]]) - 1)
            cosines.append([3.0, 0.0, (9 - heavy) * HYDROGEN_TORSION])
        if cosines:
            yield graph.numbers(path), padded_cosines(cosines)


def padded_cosines(cosines: list[list[float]]) -> tuple[float, ...]:
    """Return the numbers of up to six cosines, the missing ones with k = 0."""
    missing = [[1.0, 0.0, 0.0]] * (N_COSINES - len(cosines))
    return tuple(number for cosine in cosines + missing for number in cosine)


def _table(items: list[tuple[tuple[int, ...], tuple[float, ...]]], atoms: int, values: int) -> tuple[Tensor, Tensor]:
    index = torch.tensor([item[0] for item in items], dtype=torch.int64).reshape(-1, atoms)
    numbers = torch.tensor([item[1] for item in items], dtype=torch.float64).reshape(-1, values)
    return index.T, numbers.T


def angle_names(first: int, second: int | None) -> list[tuple[str, int, int]]:
    """Return a name and the outer atoms of every angle of a residue type, or of the junction of two.

    Example:
        >>> angle_names(7, None)
        [('GLY N C', 0, 2), ('GLY CA O', 1, 3)]
        >>> angle_names(7, 14)[0]
        ('CA +N PRO', 1, 14)
    """
    graph = _Graph(RESIDUES[first], None if second is None else RESIDUES[second])
    before = f"{RESIDUES[first]} " if second is None else ""
    after = " PRO" if second is not None and RESIDUES[second] == "PRO" else ""
    return [
        (f"{before}{path[0]} {path[2]}{after}", graph.number[path[0]], graph.number[path[2]]) for path in graph.paths(3)
    ]


@lru_cache(maxsize=512)
def fragment(first: int, second: int | None) -> Terms:
    """Return the terms of a residue type, or of the junction of two."""
    graph = _Graph(RESIDUES[first], None if second is None else RESIDUES[second])
    field = force_field()
    bonds = [(graph.numbers(path), field.bond(*graph.classes(path))) for path in graph.paths(2)]
    distances = [angle_distances()[name] for name, _, _ in angle_names(first, second)]
    stiffness = [HYDROGEN_ANGLES * field.angle_stiffness(*graph.classes(path)) for path in graph.paths(3)]
    angles = [
        (graph.numbers(path[::2]), pair)
        for path, pair in zip(graph.paths(3), zip(distances, stiffness, strict=True), strict=True)
    ]
    return Terms(
        *_table(list(bonds), 2, 2),
        *_table(list(angles), 2, 2),
        *_table(list(_planes(graph)), 4, 1),
        graph.peptide(),
        *_table(list(_hands(graph)), 4, 1),
        *_table(list(_torsions(graph)), 4, 3 * N_COSINES),
    )


@lru_cache(maxsize=1)
def separations() -> Tensor:
    """Return the number of bonds between slots of the same and of joined residues, 4 for four and more.

    Returns:
        [420, 14, 14], int64: rows 0-19 within a residue type, row 20 + 20 a + b from type a to the next, type b.
    """
    inside = torch.zeros(20, N_SLOTS, N_SLOTS)
    for row, name in enumerate(RESIDUES):
        for one, other in BONDS[name]:
            first, second = ATOMS[name].index(one), ATOMS[name].index(other)
            inside[row, first, second] = inside[row, second, first] = 1
    joint = torch.zeros(20, 20, 2 * N_SLOTS, 2 * N_SLOTS)
    joint[:, :, :N_SLOTS, :N_SLOTS] = inside[:, None]
    joint[:, :, N_SLOTS:, N_SLOTS:] = inside[None]
    joint[:, :, 2, N_SLOTS] = joint[:, :, N_SLOTS, 2] = 1
    steps = joint.reshape(400, 2 * N_SLOTS, 2 * N_SLOTS) + torch.eye(2 * N_SLOTS)
    reach = [torch.eye(2 * N_SLOTS).expand(400, -1, -1)]
    for _ in range(3):
        reach.append((reach[-1] @ steps > 0).float())
    bonds = 4 - torch.stack(reach).sum(0).long()
    same = bonds.reshape(20, 20, 2 * N_SLOTS, 2 * N_SLOTS)[:, 0, :N_SLOTS, :N_SLOTS]
    return torch.cat([same, bonds[:, :N_SLOTS, N_SLOTS:]])
