"""Hydrogens and OXT that ride on the heavy atoms: positions by ideal geometry, forces carried back to the heavy atoms.

A riding atom stands at its parent plus a bond length times a unit vector u. Three constructions give u from the unit
vectors n_k from the parent to its heavy neighbours:

* `spread` (CH, planar NH and CH, OXT): u = -(sum of n_k) normalised;
* `pair` (CH2, the end of proline): u = cos(a) b + sin(a) c and cos(a) b - sin(a) c with b = -(n_1 + n_2) normalised,
  c = n_1 x n_2 normalised and 2 a = 109.5 degrees;
* `rotor` (one neighbour: CH3, NH3+, NH2, OH, SH): by bond, angle and torsion, which is an argument for OH and SH.

Lengths and angles are the equilibrium values of the Amber ff14SB force field, so riding bonds are free of strain.
With x_all = f(x_heavy), the gradient dE/dx_heavy = (df/dx_heavy)^T dE/dx_all is exact, by automatic differentiation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.hydrogens.protonation import AllAtoms
from flashmd.backmap.residues import RINGS

_HALF_PAIR = math.radians(109.5) / 2
_SHORTEST = 1e-6
"""nm, or the length of a sum of unit vectors, below which a direction is cut off rather than divided by zero."""
_AROMATIC_HYDROGEN, _ALIPHATIC_HYDROGEN, _OXT = 0.108, 0.109, 0.125
_LENGTHS = {"N": 0.101, "O": 0.096, "S": 0.1336}
_ANGLES = {("C", 3): 109.5, ("N", 3): 109.5, ("N", 2): 120.0, ("O", 1): 108.5, ("S", 1): 96.0}
_PHENOL_ANGLE = 113.0
_TORSIONS = {3: (60.0, 180.0, 300.0), 2: (0.0, 180.0), 1: (0.0,)}


@dataclass(frozen=True)
class _Rider:
    """One riding atom: where it stands, by which construction, from what."""

    atom: int
    kind: str
    parent: int
    neighbors: tuple[int, ...]
    length: float
    angle: float = 0.0
    torsion: float = 0.0
    free: int = -1


class Riding:
    """Place the riding atoms of one set of chains.

    Args:
        atoms: names and bonds of all atoms.

    Attributes:
        atoms: as given.
        free: atoms whose torsion is an argument: hydrogens of hydroxyl and thiol groups.
        planar: for each of them, whether it prefers the plane of a ring, as in tyrosine.

    Example:
        >>> import torch
        >>> from flashmd.backmap.hydrogens import all_atoms
        >>> from flashmd.backmap.chains import Chains
        >>> riding = Riding(all_atoms(Chains.from_sequence("GSG")))
        >>> heavy = torch.randn(2, len(riding.atoms.heavy), 3, generator=torch.Generator().manual_seed(0))
        >>> riding(heavy, torch.zeros(2, 1)).shape
        torch.Size([2, 28, 3])
    """

    def __init__(self, atoms: AllAtoms) -> None:
        self.atoms = atoms
        riders, self.free, self.planar = _riders(atoms)
        self._groups = {kind: _tables([r for r in riders if r.kind == kind]) for kind in ("spread", "pair", "rotor")}
        self._order = torch.cat(
            [atoms.heavy, *(torch.tensor([r.atom for r in riders if r.kind == k]) for k in self._groups)]
        )
        self._order = self._order.long().argsort()
        self._row = torch.full((atoms.n_atoms,), -1)
        self._row[atoms.heavy] = torch.arange(atoms.heavy.shape[0])

    def __call__(self, heavy: Tensor, torsions: Tensor) -> Tensor:
        """Return the positions of all atoms, a differentiable function of those of the heavy ones.

        Args:
            heavy: [n_frames, n_heavy, 3], nm, in the order of `Chains.flatten`.
            torsions: [n_frames, n_free], radians.

        Returns:
            [n_frames, n_atoms, 3], nm.
        """
        placed = [heavy]
        for kind, table in self._groups.items():
            if not table.atom.shape[0]:
                continue
            parent = heavy[:, self._row[table.parent]]
            near = heavy[:, self._row[table.neighbors]]
            if kind == "rotor":
                direction = _rotor(parent, near, table, torsions)
            else:
                direction = _spread(parent, near, table) if kind == "spread" else _pair(parent, near, table)
            placed.append(parent + table.length.to(heavy)[:, None] * direction)
        return torch.cat(placed, dim=1)[:, self._order]

    def pull_back(self, heavy: Tensor, torsions: Tensor, gradient: Tensor) -> Tensor:
        """Carry the gradient of an energy from all atoms to the heavy ones, torsions held.

        Args:
            heavy: [n_frames, n_heavy, 3], nm.
            torsions: [n_frames, n_free], radians.
            gradient: [n_frames, n_atoms, 3], with respect to all atoms.

        Returns:
            [n_frames, n_heavy, 3], in the unit of `gradient`.
        """
        with torch.enable_grad():
            leaf = heavy.detach().requires_grad_()
            everything = self(leaf, torsions.detach())
            (pulled,) = torch.autograd.grad(everything, leaf, gradient)
        return pulled


@dataclass(frozen=True)
class _Table:
    """Riders of one construction: index tensors [n] and [n, k], numbers [n]."""

    atom: Tensor
    parent: Tensor
    neighbors: Tensor
    weight: Tensor
    length: Tensor
    angle: Tensor
    torsion: Tensor
    free: Tensor


def _tables(riders: list[_Rider]) -> _Table:
    width = max((len(r.neighbors) for r in riders), default=1)
    padded = [r.neighbors + (r.neighbors[0],) * (width - len(r.neighbors)) for r in riders]
    weight = [[1.0] * len(r.neighbors) + [0.0] * (width - len(r.neighbors)) for r in riders]
    return _Table(
        atom=torch.tensor([r.atom for r in riders], dtype=torch.int64),
        parent=torch.tensor([r.parent for r in riders], dtype=torch.int64),
        neighbors=torch.tensor(padded, dtype=torch.int64).view(len(riders), width),
        weight=torch.tensor(weight, dtype=torch.float64).view(len(riders), width),
        length=torch.tensor([r.length for r in riders], dtype=torch.float64),
        angle=torch.tensor([math.radians(r.angle) for r in riders], dtype=torch.float64),
        torsion=torch.tensor([math.radians(r.torsion) for r in riders], dtype=torch.float64),
        free=torch.tensor([r.free for r in riders], dtype=torch.int64),
    )


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = vector.norm(dim=-1, keepdim=True)
    return vector / length.clamp_min(_SHORTEST)


def _spread(parent: Tensor, near: Tensor, table: _Table) -> Tensor:
    pointing = _unit(near - parent[:, :, None]) * table.weight.to(parent)[:, :, None]
    return _unit(-pointing.sum(2))


def _pair(parent: Tensor, near: Tensor, table: _Table) -> Tensor:
    first, second = (_unit(near[:, :, k] - parent) for k in (0, 1))
    side = _unit(torch.linalg.cross(first, second))
    turn = table.torsion.to(parent)[:, None]
    return math.cos(_HALF_PAIR) * _unit(-first - second) + math.sin(_HALF_PAIR) * torch.cos(turn) * side


def _rotor(parent: Tensor, near: Tensor, table: _Table, torsions: Tensor) -> Tensor:
    turns = torch.nn.functional.pad(torsions.to(parent), (1, 0))[:, table.free + 1] + table.torsion.to(parent)
    axis = _unit(parent - near[:, :, 0])
    normal = _unit(torch.linalg.cross(near[:, :, 0] - near[:, :, 1], axis))
    across = torch.linalg.cross(normal, axis)
    angle = table.angle.to(parent)[:, None]
    turned: Tensor = torch.cos(turns)[..., None] * across + torch.sin(turns)[..., None] * normal
    direction: Tensor = torch.sin(angle) * turned - torch.cos(angle) * axis
    return direction


def _riders(atoms: AllAtoms) -> tuple[list[_Rider], tuple[int, ...], tuple[bool, ...]]:
    """Return all riding atoms, which of them turn freely, and which of those prefer a plane."""
    near: dict[int, list[int]] = {index: [] for index in atoms.heavy.tolist()}
    for first, second in atoms.bonds.tolist():
        if first in near and second in near:
            near[first].append(second)
            near[second].append(first)
    parents = atoms.parent.tolist()
    carried: dict[int, list[int]] = {}
    for atom, parent in enumerate(parents):
        if parent != atom:
            carried.setdefault(parent, []).append(atom)
    riders: list[_Rider] = []
    free: list[int] = []
    planar: list[bool] = []
    for parent, group in carried.items():
        around = tuple(near[parent])
        if len(around) > 1:
            riders += _fixed(atoms, parent, group, around)
            continue
        turns = len(group) == 1
        flat = turns and _in_ring(atoms, around[0])
        beyond = next(other for other in near[around[0]] if other != parent)
        riders += _turning(atoms, parent, group, (around[0], beyond), len(free) if turns else -1)
        if turns:
            free.append(group[0])
            planar.append(flat)
    return riders, tuple(free), tuple(planar)


def _in_ring(atoms: AllAtoms, atom: int) -> bool:
    residue = atoms.forms[int(atoms.residue[atom])]
    rings = RINGS.get("HIS" if residue.startswith("HI") else residue, ())
    return residue != "PRO" and any(atoms.names[atom] in ring for ring in rings)


def _fixed(atoms: AllAtoms, parent: int, group: list[int], around: tuple[int, ...]) -> list[_Rider]:
    """Return the riders of a parent that has at least two heavy neighbours."""
    element = atoms.elements[parent]
    length = _LENGTHS.get(element, _AROMATIC_HYDROGEN if _in_ring(atoms, parent) else _ALIPHATIC_HYDROGEN)
    if len(group) == 2:
        return [_Rider(a, "pair", parent, around, length, torsion=180.0 * side) for side, a in enumerate(group)]
    length = _OXT if atoms.names[group[0]] == "OXT" else length
    return [_Rider(group[0], "spread", parent, around, length)]


def _turning(atoms: AllAtoms, parent: int, group: list[int], chain: tuple[int, int], free: int) -> list[_Rider]:
    """Return the riders of a parent with one heavy neighbour; `chain` is that neighbour and one beyond it."""
    element = atoms.elements[parent]
    length = _LENGTHS.get(element, _ALIPHATIC_HYDROGEN)
    angle = _ANGLES[element, len(group)]
    if element == "O" and _in_ring(atoms, chain[0]):
        angle = _PHENOL_ANGLE
    turns = _TORSIONS[len(group)]
    return [
        _Rider(atom, "rotor", parent, chain, length, angle, turn, free) for atom, turn in zip(group, turns, strict=True)
    ]
