"""Sparse tables of parameters by tuples of types.

A table over five-atom-type tuples would have millions of empty entries if it were dense. Here the tuples that exist
are encoded as sorted integers and looked up by bisection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from flashmd.errors import message

_MOST_CODES = (1 << 63) - 1


class TypeTable(NamedTuple):
    """Parameters of type tuples; a plain tuple of the same two entries serves as well.

    Attributes:
        types: [n_entries, order], int64; (a, b) and (b, a) are different tuples, so store both.
        columns: parameter values [n_entries] by name.
    """

    types: Tensor
    columns: Mapping[str, Tensor]

    def symmetrized(self) -> TypeTable:
        """Return the table with the reversed tuples added where they are missing.

        >>> table = TypeTable(torch.tensor([[1, 2], [3, 3]]), {"sigma": torch.tensor([0.3, 0.4])})
        >>> table.symmetrized().types.tolist()
        [[1, 2], [3, 3], [2, 1]]
        """
        known = {tuple(row) for row in self.types.tolist()}
        added = [index for index, row in enumerate(self.types.tolist()) if tuple(row[::-1]) not in known]
        types = torch.cat([self.types, self.types[added].flip(1)])
        return TypeTable(types, {name: torch.cat([value, value[added]]) for name, value in self.columns.items()})


def checked_table(
    table: tuple[Tensor, Mapping[str, Tensor]], columns: tuple[str, ...], *, what: str, order: int
) -> TypeTable:
    """Sort a table by its types and refuse one that is wrong.

    Raises:
        ValueError: shapes or column names do not fit, a tuple occurs twice, or a value is not finite.
    """
    types, values = table[0].to(torch.int64), table[1]
    if types.dim() != 2 or types.shape[1] != order:
        got = f"{tuple(types.shape)}"
        raise ValueError(message(f"type tuples of {what}", f"shape (n_entries, {order})", got, "pass one tuple a row"))
    if set(values) != set(columns):
        got = f"{sorted(values)}"
        raise ValueError(message(f"columns of {what}", f"{sorted(columns)}", got, "rename, add or remove columns"))
    if types.shape[0] and int(types.min()) < 0:
        raise ValueError(message(f"type tuples of {what}", "types >= 0", f"{int(types.min())}", "correct the types"))
    if base_of(types) ** order > _MOST_CODES:
        got = f"{int(types.max())}"
        raise ValueError(message(f"type tuples of {what}", "types whose tuples fit 63 bits", got, "renumber the types"))
    for name, column in values.items():
        if column.shape != types.shape[:1]:
            got = f"{tuple(column.shape)}"
            raise ValueError(
                message(f"column {name!r} of {what}", f"shape ({types.shape[0]},)", got, "one value a tuple")
            )
        wrong = torch.nonzero(~torch.isfinite(column))
        if wrong.numel():
            row = tuple(types[int(wrong[0])].tolist())
            got = f"{float(column[int(wrong[0])])} for types {row}"
            raise ValueError(message(f"column {name!r} of {what}", "finite values", got, "repeat the fit of this term"))
    return _sorted_table(TypeTable(types, values), what)


def _sorted_table(table: TypeTable, what: str) -> TypeTable:
    codes = encode(table.types, base_of(table.types))
    order = torch.argsort(codes, stable=True)
    codes = codes[order]
    same = torch.nonzero(codes[1:] == codes[:-1])
    if same.numel():
        row = tuple(table.types[order[int(same[0])]].tolist())
        raise ValueError(
            message(f"type tuples of {what}", "each tuple once", f"{row} twice", "keep one of the entries")
        )
    return TypeTable(table.types[order], {name: column[order] for name, column in table.columns.items()})


def base_of(types: Tensor) -> int:
    """Return the base in which tuples of these types are encoded."""
    return int(types.max()) + 1 if types.numel() else 1


def encode(types: Tensor, base: int) -> Tensor:
    """Return one integer [n] for each tuple [n, order] of types below `base`."""
    code = types[:, 0]
    for position in range(1, types.shape[1]):
        code = code * base + types[:, position]
    return code


def find_rows(wanted: Tensor, types: Tensor) -> tuple[Tensor, Tensor]:
    """Look tuples up in the sorted tuples of a table.

    Args:
        wanted: [n, order], types of the atoms of each term.
        types: [n_entries, order], sorted.

    Returns:
        Row of each tuple [n] and whether it was found [n]; rows that were not found have no meaning.
    """
    if types.shape[0] == 0:
        return wanted.new_zeros(wanted.shape[0]), wanted.new_zeros(wanted.shape[0], dtype=torch.bool)
    base = base_of(types)
    codes = encode(types, base)
    # A type beyond the table would alias another tuple, so it is masked instead of encoded.
    inside = ((wanted >= 0) & (wanted < base)).all(1)
    code = encode(wanted.clamp(0, base - 1), base)
    row = torch.searchsorted(codes, code).clamp_max(codes.shape[0] - 1)
    return row, inside & (codes[row] == code)
