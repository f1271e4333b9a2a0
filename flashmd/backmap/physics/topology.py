"""All terms of chains as index tables over atoms, made once and evaluated for any number of frames.

Atoms are numbered by residue and slot, 14 i + s; empty slots exist but belong to no term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.physics.fragments import Terms, fragment, padded_cosines, separations
from flashmd.backmap.physics.parameters import force_field, spring_of_angle, united_atoms
from flashmd.backmap.residues import N_SLOTS, RESIDUES, SLOT_CA, SLOT_CB

_CYS = RESIDUES.index("CYS")
_SG = 5
_JUNCTIONS = 20


@dataclass(frozen=True)
class Topology:
    """What physics needs to know of chains.

    Attributes:
        terms: bonded terms of all residues, int64 and float64.
        free: [n_residues, 14], bool, atoms that exist and may move.
        filled: [n_residues, 14], bool, atoms that exist.
        kinds: [n_residues, 14], int64, united atoms.
        rows: [n_residues], int64, row of `separation` within each residue.
        next_rows: [n_residues], int64, row towards the next residue; -1 where it is not joined.
        partner: [n_residues], int64, residue at the other end of a disulfide bond, -1 without one.
        separation: [420, 14, 14], int64, bonds between atoms, see `fragments.separations`.
    """

    terms: Terms
    free: Tensor
    filled: Tensor
    kinds: Tensor
    rows: Tensor
    next_rows: Tensor
    partner: Tensor
    separation: Tensor

    @property
    def n_residues(self) -> int:
        """Number of residues."""
        return self.free.shape[0]


def build_topology(chains: Chains, known: Tensor, disulfides: Sequence[tuple[int, int]] = ()) -> Topology:
    """Make the tables of chains.

    Args:
        chains: residues.
        known: [n_residues, 14], bool, atoms that never move.
        disulfides: pairs of residues with a bond between their SG.

    Example:
        >>> chains = Chains.from_sequence("GAW")
        >>> build_topology(chains, torch.zeros(3, 14, dtype=torch.bool)).terms.bonds.shape
        torch.Size([2, 24])
    """
    types, device = chains.types, chains.types.device
    pieces = [_placed(fragment(kind, None), torch.nonzero(types == kind)[:, 0]) for kind in types.unique().tolist()]
    codes = types[:-1] * _JUNCTIONS + types[1:]
    codes = torch.where(chains.joined[:-1], codes, -1)
    for code in codes[codes >= 0].unique().tolist():
        places = torch.nonzero(codes == code)[:, 0]
        pieces += [_placed(fragment(code // _JUNCTIONS, code % _JUNCTIONS), places)]
    partner = torch.full_like(types, -1)
    for first, second in disulfides:
        partner[first], partner[second] = second, first
        pieces.append(_disulfide(first, second))
    next_rows = torch.cat([torch.where(codes >= 0, _JUNCTIONS + codes, -1), codes.new_full((1,), -1)])
    return Topology(
        terms=_joined(pieces, device),
        free=chains.mask & ~known,
        filled=chains.mask,
        kinds=united_atoms().to(device)[types],
        rows=types,
        next_rows=next_rows,
        partner=partner,
        separation=separations().to(device),
    )


def _placed(terms: Terms, residues: Tensor) -> Terms:
    """Return the terms of a fragment at each of the residues."""
    copies = residues.shape[0]

    def place(name: str, table: Tensor) -> Tensor:
        if name.endswith("values"):
            return table.repeat(1, copies)
        return (table[:, None, :] + N_SLOTS * residues.to(table)[None, :, None]).flatten(1)

    return Terms(**{field.name: place(field.name, getattr(terms, field.name)) for field in fields(Terms)})


def _joined(pieces: list[Terms], device: torch.device) -> Terms:
    """Return the terms of all pieces in one table of each sort."""
    names = [field.name for field in fields(Terms)]
    return Terms(**{name: torch.cat([getattr(piece, name) for piece in pieces], 1).to(device) for name in names})


def _disulfide(first: int, second: int) -> Terms:
    """Return bond, angles and torsion of a disulfide bond."""
    field = force_field()
    length, angle = field.disulfide["bond"][0][0], field.disulfide["angle"][0]
    spring = spring_of_angle(field.bond("2C", "S")[0], length, *angle)
    atom = {
        (number, slot): N_SLOTS * residue + slot for number, residue in enumerate((first, second)) for slot in (4, 5)
    }
    cb, sg = (atom[0, SLOT_CB], atom[1, SLOT_CB]), (atom[0, _SG], atom[1, _SG])
    cosines = torch.tensor(padded_cosines(field.disulfide["torsion"]), dtype=torch.float64)
    quad = torch.tensor([cb[0], sg[0], sg[1], cb[1]])
    empty = torch.zeros(4, 0, dtype=torch.int64)
    return Terms(
        bonds=torch.tensor(sg)[:, None],
        bond_values=torch.tensor(field.disulfide["bond"][0], dtype=torch.float64)[:, None],
        angles=torch.tensor([[cb[0], sg[0]], [sg[1], cb[1]]]),
        angle_values=torch.tensor(spring, dtype=torch.float64)[:, None].repeat(1, 2),
        planes=empty,
        plane_values=torch.zeros(1, 0, dtype=torch.float64),
        peptides=empty[:3],
        hands=empty,
        hand_values=torch.zeros(1, 0, dtype=torch.float64),
        torsions=quad[:, None],
        torsion_values=cosines[:, None],
    )


def disulfides(chains: Chains, ca: Tensor) -> tuple[tuple[int, int], ...]:
    """Return the pairs of cysteines whose CA atoms allow a disulfide bond in every frame.

    Natural disulfide bonds join CA atoms 0.38 to 0.68 nm apart. Cysteines fewer than three residues apart in one chain
    are left out; of several partners the one nearest to the common 0.55 nm is taken.

    Args:
        chains: residues.
        ca: [n_frames, n_residues, 3], nm.

    Example:
        >>> chains = Chains.from_sequence(["C", "C"])
        >>> disulfides(chains, torch.tensor([[[0.0, 0, 0], [0.55, 0, 0]]]))
        ((0, 1),)
    """
    cysteines = torch.nonzero(chains.types == _CYS)[:, 0].tolist()
    unbroken = torch.cumsum(~chains.joined, 0).tolist()
    found = []
    for place, first in enumerate(cysteines):
        for second in cysteines[place + 1 :]:
            inside = unbroken[second - 1] == (unbroken[first - 1] if first else 0)
            distance = (ca[:, first] - ca[:, second]).norm(dim=-1)
            allowed = bool(((distance > _NEAREST) & (distance < _FARTHEST)).all())
            if allowed and not (inside and second - first < _SHORTEST_LOOP):
                found.append((float((distance.mean() - _COMMON).abs()), first, second))
    taken: set[int] = set()
    pairs = []
    for _, first, second in sorted(found):
        if not {first, second} & taken:
            taken |= {first, second}
            pairs.append((first, second))
    return tuple(sorted(pairs))


_NEAREST, _FARTHEST, _COMMON = 0.38, 0.68, 0.55
_SHORTEST_LOOP = 3


def disulfide_separation(topology: Topology) -> Tensor:
    """Return the bonds between atoms of two cysteines that share a disulfide bond: [14, 14], int64."""
    table = torch.full((N_SLOTS, N_SLOTS), 4)
    depth = {_SG: 0, SLOT_CB: 1, SLOT_CA: 2}
    for one, steps in depth.items():
        for other, more in depth.items():
            table[one, other] = min(4, steps + more + 1)
    return table.to(topology.free.device)
