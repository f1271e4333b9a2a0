"""Structures as PDB and mmCIF text, model after model, with chains, author numbers and insertion codes of the input."""

from __future__ import annotations

from typing import Any

import numpy as np

from flashmd.backmap.chains import ResidueLabel
from flashmd.backmap.layout import AtomLayout
from flashmd.errors import message

_LARGEST_PDB_NUMBER = 9999
_SMALLEST_PDB_NUMBER = -999
_LARGEST_PDB_COORDINATE = 9999.0
_SERIALS = 100_000
_ANGSTROM_PER_NM = 10.0
_ATOM_SITE = (
    *("group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id"),
    *("label_entity_id", "label_seq_id", "pdbx_PDB_ins_code", "Cartn_x", "Cartn_y", "Cartn_z", "occupancy"),
    *("B_iso_or_equiv", "auth_seq_id", "auth_comp_id", "auth_asym_id", "auth_atom_id", "pdbx_PDB_model_num"),
)


def why_not_pdb(labels: tuple[ResidueLabel, ...]) -> str:
    """Return what of some identities the PDB format cannot hold, "" where it can hold all."""
    for label in labels:
        if len(label.chain) > 1:
            return f"the chain identifier {label.chain!r}"
        if not _SMALLEST_PDB_NUMBER <= label.number <= _LARGEST_PDB_NUMBER:
            return f"the residue number {label.number}"
        if len(label.name) > 3:
            return f"the residue name {label.name!r}"
    return ""


class PdbText:
    """Text of models in the PDB format.

    Args:
        layout: atoms.
        one_model: leave out the records around a single model.

    Raises:
        ValueError: the format cannot hold the identity of a residue.
    """

    head = ""

    def __init__(self, layout: AtomLayout, *, one_model: bool = False) -> None:
        if reason := why_not_pdb(layout.labels):
            fix = "write mmCIF (`.cif`)"
            raise ValueError(message("an output in the PDB format", "identities that it can hold", reason, fix))
        self._one_model = one_model
        self._n_models = 0
        self._atoms: list[tuple[str, str]] = []
        serial = 0
        for index, residue in enumerate(layout.residues):
            serial += 1
            label, element = layout.labels[residue], layout.elements[index]
            place = f"{label.name:>3} {label.chain or ' '}{label.number:4d}{label.insertion_code or ' '}"
            before = f"ATOM  {serial % _SERIALS:5d} {_padded(layout.names[index], element)} {place}   "
            after = f"  1.00  0.00          {element:>2}\n"
            if layout.ends_segment(index):
                serial += 1
                after += f"TER   {serial % _SERIALS:5d}      {place}\n"
            self._atoms.append((before, after))

    def model(self, positions: np.ndarray[Any, Any]) -> str:
        """Return the text of the next model.

        Args:
            positions: [n_atoms, 3], nm.

        Raises:
            ValueError: a coordinate has too many digits for the format.
        """
        angstrom = positions * _ANGSTROM_PER_NM
        if not (np.abs(angstrom) < _LARGEST_PDB_COORDINATE).all():
            fix = "move the molecule to the origin or write mmCIF (`.cif`)"
            raise ValueError(message("a coordinate of a PDB file", "less than 9999 Å", "more", fix))
        self._n_models += 1
        lines = [
            f"{before}{x:8.3f}{y:8.3f}{z:8.3f}{after}"
            for (before, after), (x, y, z) in zip(self._atoms, angstrom.tolist(), strict=True)
        ]
        if self._one_model:
            return "".join([*lines, "END\n"])
        return "".join([f"MODEL     {self._n_models:4d}\n", *lines, "ENDMDL\n"])


class CifText:
    """Text of models in the mmCIF format; models follow one another in one table, so that more can be appended.

    Author identifiers are those of the input. Segments have label identifiers of their own, since programs bond the
    neighbours of one.

    Args:
        layout: atoms.
    """

    head = "data_backmap\n#\nloop_\n" + "".join(f"_atom_site.{item}\n" for item in _ATOM_SITE)

    def __init__(self, layout: AtomLayout) -> None:
        self._n_models = 0
        self._serial = 0
        self._atoms: list[tuple[str, str]] = []
        order, asym = _order_in_segment(layout), _segment_names(layout)
        for index, residue in enumerate(layout.residues):
            label, name = layout.labels[residue], layout.names[index]
            segment = layout.segments[residue]
            place = f"{label.name} {asym[segment]} {segment + 1} {order[residue]}"
            before = f"{layout.elements[index]} {name} . {place} {label.insertion_code or '?'} "
            after = f" 1.00 0.00 {label.number} {label.name} {label.chain or '.'} {name} "
            self._atoms.append((before, after))

    def model(self, positions: np.ndarray[Any, Any]) -> str:
        """Return the rows of the next model; positions are [n_atoms, 3], nm."""
        self._n_models += 1
        rows = []
        for (before, after), (x, y, z) in zip(self._atoms, (positions * _ANGSTROM_PER_NM).tolist(), strict=True):
            self._serial += 1
            rows.append(f"ATOM {self._serial} {before}{x:.4f} {y:.4f} {z:.4f}{after}{self._n_models}\n")
        return "".join(rows)


def _order_in_segment(layout: AtomLayout) -> list[int]:
    """Return the place of each residue in its segment, from 1."""
    order: list[int] = []
    for index, segment in enumerate(layout.segments):
        order.append(order[-1] + 1 if index and layout.segments[index - 1] == segment else 1)
    return order


def _padded(name: str, element: str) -> str:
    """Return an atom name in its four columns, the element right-aligned in the first two."""
    return f"{name:<4}" if len(name) > 3 or len(element) > 1 else f" {name:<3}"


def _segment_names(layout: AtomLayout) -> dict[int, str]:
    """Return a name for each segment: that of its chain, with a number behind it where it is taken."""
    names: dict[int, str] = {}
    for residue, segment in enumerate(layout.segments):
        if segment not in names:
            base, taken, number = layout.labels[residue].chain or "A", set(names.values()), 1
            while (name := base if number == 1 else f"{base}{number}") in taken:
                number += 1
            names[segment] = name
    return names
