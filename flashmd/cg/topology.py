"""Lists of bonded and non-bonded terms of a coarse-grained molecule, under the names the priors look up.

C-alpha resolution: `bonds` (i, i+1), `angles`, `dihedrals` of consecutive beads of one chain and `non_bonded`, all
pairs that are not bonded, not two bonds apart and not ends of one angle.

Five-bead resolution, the names of the published five-bead priors: `bonds` and `angles` split into `n_term_`, `bulk_`
and `c_term_` (a term belongs to a terminus when one of its beads lies in a terminal residue), `{RES}_phi` (C N CA C),
`{RES}_psi` (N CA C N), `pro_omega` and `non_pro_omega` (CA C N CA), the impropers `gamma_1` (N CB C CA) and `gamma_2`
(CA O N C), and `non_bonded`, pairs in different residues at least five bonds apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from flashmd.cg.beads import RESIDUES, Resolution
from flashmd.cg.mapping import CGStructure
from flashmd.errors import message
from flashmd.system import System

_Terms = dict[str, list[tuple[int, ...]]]
_CA_MIN_BONDS_APART = 3
_FIVE_BEAD_MIN_BONDS_APART = 5


def interaction_lists(structure: CGStructure) -> dict[str, Tensor]:
    """Return all lists of terms of a molecule.

    Args:
        structure: mapped molecule; residues that follow one another in a chain are bonded unless their numbers
            show a gap.

    Returns:
        For each name an int64 tensor [n_terms, order] of bead indices; lists without terms are left out.
    """
    terms = _ca_lists(structure) if structure.resolution == "ca" else _five_bead_lists(structure)
    return {name: torch.tensor(rows, dtype=torch.int64) for name, rows in terms.items() if rows}


def list_orders(resolution: Resolution) -> dict[str, int]:
    """Return the number of beads in a term for the name of every list that a resolution has.

    >>> list_orders("ca")
    {'bonds': 2, 'angles': 3, 'dihedrals': 4, 'non_bonded': 2}
    """
    if resolution == "ca":
        return {"bonds": 2, "angles": 3, "dihedrals": 4, "non_bonded": 2}
    places = ("n_term", "bulk", "c_term")
    torsions = [f"{residue}_{kind}" for residue in RESIDUES for kind in ("phi", "psi")]
    impropers = ("pro_omega", "non_pro_omega", "gamma_1", "gamma_2")
    return {
        **{f"{place}_bonds": 2 for place in places},
        **{f"{place}_angles": 3 for place in places},
        **dict.fromkeys((*torsions, *impropers), 4),
        "non_bonded": 2,
    }


def build_system(structure: CGStructure, *, dtype: torch.dtype = torch.float32, frame: int = 0) -> System:
    """Return one frame as a `System` with masses and all interaction lists of its resolution, empty ones included.

    A transferable potential looks up lists of residues that this molecule may not have.

    Args:
        structure: mapped molecule.
        dtype: of positions and masses.
        frame: index of the frame.
    """
    if not -structure.n_frames <= frame < structure.n_frames:
        raise ValueError(
            message("`frame`", f"an index of {structure.n_frames} frames", f"{frame}", "pass an existing frame")
        )
    empty = {
        name: torch.empty(0, order, dtype=torch.int64) for name, order in list_orders(structure.resolution).items()
    }
    return System.single(
        structure.positions[frame].to(dtype),
        structure.types,
        masses=structure.masses.to(dtype),
        interactions=empty | interaction_lists(structure),
    )


def _links(structure: CGStructure) -> list[bool]:
    """Whether residue r is bonded to residue r + 1."""
    linked = []
    for r in range(len(structure.sequence) - 1):
        gap = structure.residue_ids[r + 1] - structure.residue_ids[r]
        # A gap of 0 is an insertion code (10, 10A).
        linked.append(structure.chain[r] == structure.chain[r + 1] and gap in (0, 1))
    return linked


def _ca_lists(structure: CGStructure) -> _Terms:
    linked, n = _links(structure), structure.n_beads
    terms: _Terms = {}
    for name, order in (("bonds", 2), ("angles", 3), ("dihedrals", 4)):
        terms[name] = [tuple(range(i, i + order)) for i in range(n - order + 1) if all(linked[i : i + order - 1])]
    distance = _bonds_apart(n, terms["bonds"], limit=_CA_MIN_BONDS_APART)
    terms["non_bonded"] = [(i, j) for i in range(n) for j in range(i + 1, n) if j not in distance[i]]
    return terms


def _five_bead_lists(structure: CGStructure) -> _Terms:
    beads: list[dict[str, int]] = [{} for _ in structure.sequence]
    residue = structure.residue_index.tolist()
    for index, name in enumerate(structure.bead_names):
        beads[residue[index]][name] = index
    linked = _links(structure)
    bonds = _five_bead_bonds(beads, linked)
    terms = _split_termini("bonds", bonds, structure)
    terms.update(_split_termini("angles", _angles(structure.n_beads, bonds), structure))
    _add_torsions(terms, beads, linked, structure.sequence)
    near = _bonds_apart(structure.n_beads, bonds, limit=_FIVE_BEAD_MIN_BONDS_APART)
    n = structure.n_beads
    terms["non_bonded"] = [
        (i, j) for i in range(n) for j in range(i + 1, n) if residue[i] != residue[j] and j not in near[i]
    ]
    return terms


def _five_bead_bonds(beads: list[dict[str, int]], linked: list[bool]) -> list[tuple[int, ...]]:
    bonds: list[tuple[int, ...]] = []
    for r, own in enumerate(beads):
        for a, b in (("N", "CA"), ("CA", "CB"), ("CA", "C"), ("C", "O")):
            if a in own and b in own:
                bonds.append((own[a], own[b]))
        if r < len(linked) and linked[r]:
            bonds.append((own["C"], beads[r + 1]["N"]))
    return bonds


def _angles(n_beads: int, bonds: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    neighbours: list[list[int]] = [[] for _ in range(n_beads)]
    for i, j in bonds:
        neighbours[i].append(j)
        neighbours[j].append(i)
    return [
        (a, centre, b)
        for centre, around in enumerate(neighbours)
        for k, a in enumerate(sorted(around))
        for b in sorted(around)[k + 1 :]
    ]


def _split_termini(name: str, rows: Sequence[tuple[int, ...]], structure: CGStructure) -> _Terms:
    linked, residue = _links(structure), structure.residue_index.tolist()
    first = {r for r in range(len(structure.sequence)) if r == 0 or not linked[r - 1]}
    last = {r for r in range(len(structure.sequence)) if r == len(linked) or not linked[r]}
    split: _Terms = {f"n_term_{name}": [], f"bulk_{name}": [], f"c_term_{name}": []}
    for row in rows:
        residues = {residue[i] for i in row}
        place = "n_term" if residues & first else "c_term" if residues & last else "bulk"
        split[f"{place}_{name}"].append(row)
    return split


def _add_torsions(terms: _Terms, beads: list[dict[str, int]], linked: list[bool], sequence: Sequence[str]) -> None:
    for r, (own, name) in enumerate(zip(beads, sequence, strict=True)):
        if "CB" in own:
            terms.setdefault("gamma_1", []).append((own["N"], own["CB"], own["C"], own["CA"]))
        if r < len(linked) and linked[r]:
            following = beads[r + 1]
            terms.setdefault(f"{name}_psi", []).append((own["N"], own["CA"], own["C"], following["N"]))
            terms.setdefault("gamma_2", []).append((own["CA"], own["O"], following["N"], own["C"]))
        if r > 0 and linked[r - 1]:
            before = beads[r - 1]
            omega = "pro_omega" if name == "PRO" else "non_pro_omega"
            terms.setdefault(f"{name}_phi", []).append((before["C"], own["N"], own["CA"], own["C"]))
            terms.setdefault(omega, []).append((before["CA"], before["C"], own["N"], own["CA"]))


def _bonds_apart(n_beads: int, bonds: Sequence[tuple[int, ...]], *, limit: int) -> list[set[int]]:
    """Beads closer than `limit` bonds to each bead, by breadth-first search."""
    neighbours: list[list[int]] = [[] for _ in range(n_beads)]
    for i, j in bonds:
        neighbours[i].append(j)
        neighbours[j].append(i)
    near = []
    for start in range(n_beads):
        depth, queue = {start: 0}, deque([start])
        while queue:
            here = queue.popleft()
            for other in neighbours[here]:
                if other not in depth and depth[here] + 1 < limit:
                    depth[other] = depth[here] + 1
                    queue.append(other)
        near.append(set(depth))
    return near
