"""How the compiled analytic terms find their atoms and parameters.

Systems with equal lists and parameters share one template, whose atoms count from the first atom of the system, so the
replicas of a molecule read one copy. The CPU gets the terms sixteen at a time: in the order of the lists, or, where a
list holds most pairs of its atoms, as rows of one atom with sixteen neighbours in memory. A CUDA device gets an
inverted index from each atom to its terms. The structs of csrc/cpu/priors.h and csrc/cuda/priors.h mirror the tables.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flashmd.errors import message
from flashmd.system import System

_LANES = 16
_MIN_FILL = 4
"""Rows of sixteen neighbours pay where at least so many of them are terms."""
_SLAB_GROUPS, _MOST_SLABS = 128, 16
"""A template is cut into slabs of at least so many groups, and into so many at most."""

Array = NDArray[Any]


class PriorForm(IntEnum):
    """Forms of the compiled terms with their columns of parameters; as in csrc/include/prior_forms.h."""

    HARMONIC_DISTANCE = 0  # k, x0
    REPULSION = 1  # sigma^2
    EXP_REPULSION = 2  # amplitude, alpha, rate: amplitude exp(alpha - rate d)
    CUTOFF_REPULSION = 3  # sigma^2
    CUTOFF_EXP_REPULSION = 4  # amplitude, alpha, rate, energy and slope at the cutoff
    HARMONIC_COSINE = 5  # k, x0
    QUARTIC_COSINE = 6  # v0, k1, k2, k3, k4
    RESTRICTED_QUARTIC = 7  # a, b, c, d, k, v0
    HARMONIC_ANGLE = 8  # k, x0
    QUARTIC_ANGLE = 9  # v0, k1, k2, k3, k4
    HARMONIC_TORSION = 10  # k, x0
    SHIFTED_TORSION = 11  # k, x0
    FOURIER = 12  # v0, k1_1, k1_2, .., k2_1, k2_2, ..

    @property
    def order(self) -> int:
        """Atoms of a term."""
        return 2 if self <= PriorForm.CUTOFF_EXP_REPULSION else 3 if self <= PriorForm.QUARTIC_ANGLE else 4


@dataclass(frozen=True)
class TermGroup:
    """Terms of one form.

    Attributes:
        form: what they are.
        index: [n_terms, order], int64, atoms of the batch.
        parameters: [n_columns, n_terms], the columns of `form`.
        cutoff: nm, for the forms that have one.
    """

    form: PriorForm
    index: Tensor
    parameters: Tensor
    cutoff: float = 0.0


@dataclass(frozen=True)
class PackedTerms:
    """Terms of a batch in the layout of the kernels of one device; made by `pack_terms`.

    Attributes:
        tensors: the arguments of the operator in its order: index, parameters, sections, cutoffs, ranges, slab_ptr,
            template_ptr and template_of.
        n_templates: number of different systems.
    """

    tensors: tuple[Tensor, ...]
    n_templates: int


@dataclass
class _Part:
    """The terms of one form in one system, atoms counted from its first."""

    group: TermGroup
    index: Array
    parameters: Array

    def key(self) -> tuple[Any, ...]:
        return self.index.tobytes(), self.parameters.tobytes()


class _Tables:
    """Growing index, parameters and sections."""

    def __init__(self) -> None:
        self.index: list[Array] = []
        self.parameters: list[Array] = []
        self.sections: list[list[int]] = []
        self.cutoffs: list[float] = []
        self._sizes = [0, 0]

    def add_index(self, values: Array) -> int:
        """Append integers and return where they begin."""
        return self._append(self.index, values.astype(np.int32, copy=False), 0)

    def add_parameters(self, values: Array) -> int:
        """Append parameters and return where they begin."""
        return self._append(self.parameters, values, 1)

    def add_section(self, cutoff: float, row: list[int]) -> None:
        self.sections.append(row)
        self.cutoffs.append(cutoff)

    def _append(self, target: list[Array], values: Array, which: int) -> int:
        begin = self._sizes[which]
        target.append(values.reshape(-1))
        self._sizes[which] += values.size
        return begin


def pack_terms(groups: Sequence[TermGroup], system: System, *, inverted: bool | None = None) -> PackedTerms:
    """Lay terms out for the compiled kernels.

    Args:
        groups: the terms, at most one group of equal form, number of columns and cutoff.
        system: batch; only its bounds, dtype and device matter, not positions.
        inverted: take the layout of the CUDA kernels; by default where the system lies on a CUDA device.

    Raises:
        ValueError: a term has atoms of several systems or beyond the batch.
    """
    bounds = system.ptr.cpu().numpy()
    templates, template_of = _templates(groups, system, bounds)
    device = system.positions.device
    tables = _Tables()
    if inverted or (inverted is None and device.type == "cuda"):
        empty = np.zeros((0, 3), np.int64)
        template_ptr = [0]
        for n_atoms, parts in templates:
            for part in parts:
                _add_inverted(tables, part, n_atoms)
            template_ptr.append(len(tables.sections))
        layout, width = (empty, np.zeros(1, np.int64), np.array(template_ptr)), 7
    else:
        layout, width = _add_slabs(tables, [parts for _, parts in templates]), 6
    dtype = np.float32 if system.positions.dtype == torch.float32 else np.float64
    arrays = (
        np.concatenate([np.zeros(0, np.int32), *tables.index]),
        np.concatenate([np.zeros(0, dtype), *tables.parameters]),
        np.array(tables.sections, np.int64).reshape(-1, width),
        np.array(tables.cutoffs, np.float64),
        *layout,
        template_of,
    )
    return PackedTerms(tuple(torch.from_numpy(array).to(device) for array in arrays), len(templates))


def _templates(
    groups: Sequence[TermGroup], system: System, bounds: Array
) -> tuple[list[tuple[int, list[_Part]]], Array]:
    """Return the different systems (atoms and terms) and which of them each system is."""
    n_systems = len(bounds) - 1
    parts: list[list[_Part]] = [[] for _ in range(n_systems)]
    for group in groups:
        for number, part in _split(group, system.batch, bounds):
            parts[number].append(part)
    known: dict[tuple[Any, ...], int] = {}
    templates: list[tuple[int, list[_Part]]] = []
    template_of = np.zeros(n_systems, np.int64)
    for number in range(n_systems):
        n_atoms = int(bounds[number + 1] - bounds[number])
        key = (n_atoms, *((id(part.group), part.key()) for part in parts[number]))
        if key not in known:
            known[key] = len(templates)
            templates.append((n_atoms, parts[number]))
        template_of[number] = known[key]
    return templates, template_of


def _split(group: TermGroup, batch: Tensor, bounds: Array) -> list[tuple[int, _Part]]:
    """Return the terms of a group by system."""
    index, parameters = group.index.cpu().numpy(), group.parameters.cpu().numpy()
    if not len(index):
        return []
    inside = ((index >= 0) & (index < bounds[-1])).all(1)
    member = batch.cpu().numpy()[np.where(inside, index[:, 0], 0)]
    local = index - bounds[member][:, None]
    good = inside & ((local >= 0) & (index < bounds[member + 1][:, None])).all(1)
    if not good.all():
        term = tuple(index[int(np.argmin(good))].tolist())
        fix = "count the atoms of a list from the start of the batch"
        raise ValueError(message("every term of `interactions`", "atoms of one system of the batch", f"{term}", fix))
    order = np.argsort(member, kind="stable")
    ends = np.searchsorted(member[order], np.arange(len(bounds)))
    local = local[order].astype(np.int32)
    parameters = parameters[:, order]
    found = []
    for number in np.unique(member):
        chosen = slice(int(ends[number]), int(ends[number + 1]))
        found.append((int(number), _Part(group, local[chosen], np.ascontiguousarray(parameters[:, chosen]))))
    return found


def _add_slabs(tables: _Tables, templates: list[list[_Part]]) -> tuple[Array, Array, Array]:
    """Add all terms in groups of sixteen; return ranges, slab_ptr and template_ptr."""
    ranges: list[list[int]] = []
    slab_ptr, template_ptr = [0], [0]
    for parts in templates:
        counts = [_add_groups(tables, part) for part in parts]
        total = sum(count for _, count in counts)
        n_slabs = min(_MOST_SLABS, max(1, total // _SLAB_GROUPS))
        cuts = [total * slab // n_slabs for slab in range(n_slabs + 1)]
        for begin, end in itertools.pairwise(cuts):
            start = 0
            for section, count in counts:
                low, high = max(begin, start) - start, min(end, start + count) - start
                if low < high:
                    ranges.append([section, low, high])
                start += count
            slab_ptr.append(len(ranges))
        template_ptr.append(len(slab_ptr) - 1)
    return np.array(ranges, np.int64).reshape(-1, 3), np.array(slab_ptr), np.array(template_ptr)


def _add_groups(tables: _Tables, part: _Part) -> tuple[int, int]:
    """Add a section and return its number and that of its groups."""
    form, (n_terms, order) = part.group.form, part.index.shape
    rows = _rows(part) if form.order == 2 else None
    if rows is None:
        n_groups = -(-n_terms // _LANES)
        # The last group repeats its last term in the lanes that do not count.
        padded = np.minimum(np.arange(n_groups * _LANES), n_terms - 1)
        index = part.index[padded].reshape(n_groups, _LANES, order).transpose(0, 2, 1)
        parameters = part.parameters[:, padded].reshape(-1, n_groups, _LANES).transpose(1, 0, 2)
    else:
        index, parameters = rows
    begins = tables.add_index(index), tables.add_parameters(parameters)
    row = [int(form), int(rows is not None), part.parameters.shape[0], n_terms, *begins]
    tables.add_section(part.group.cutoff, row)
    return len(tables.sections) - 1, int(index.shape[0])


def _rows(part: _Part) -> tuple[Array, Array] | None:
    """Return (i, j) [n_groups, 2] and parameters [n_groups, n_columns, 16], or None where most lanes would be empty."""
    low, high = part.index.min(1).astype(np.int64), part.index.max(1).astype(np.int64)
    order = np.lexsort((high, low))
    low, high = low[order], high[order]
    new = np.ones(len(low), bool)
    new[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    # A pair that is listed twice goes to a row of its own.
    first = np.maximum.accumulate(np.where(new, np.arange(len(low)), 0))
    repeat = np.arange(len(low)) - first
    code = (low * (high.max() // _LANES + 1) + high // _LANES) * (repeat.max() + 1) + repeat
    blocks, block_of = np.unique(code, return_inverse=True)
    if len(low) < _MIN_FILL * len(blocks):
        return None
    pairs = np.zeros((len(blocks), 2), np.int32)
    pairs[block_of, 0], pairs[block_of, 1] = low, high // _LANES * _LANES
    parameters = np.zeros((len(blocks), part.parameters.shape[0], _LANES), part.parameters.dtype)
    parameters[block_of, :, high % _LANES] = part.parameters[:, order].T
    return pairs, parameters


def _add_inverted(tables: _Tables, part: _Part, n_atoms: int) -> None:
    """Add a section in which every atom finds its terms."""
    n_terms, order = part.index.shape
    acts_on = part.index.reshape(-1)
    by_atom = np.argsort(acts_on, kind="stable")
    rows = np.concatenate([[0], np.cumsum(np.bincount(acts_on, minlength=n_atoms))])
    if order == 2:
        entries = part.index[:, ::-1].reshape(-1)[by_atom]
        parameters, index, n_items = part.parameters[:, by_atom // 2], entries[:0], 2 * n_terms
    else:
        entries, parameters, index, n_items = by_atom, part.parameters, part.index.T, n_terms
    begins = tables.add_index(index), tables.add_parameters(parameters)
    lists = tables.add_index(rows), tables.add_index(entries)
    tables.add_section(part.group.cutoff, [int(part.group.form), part.parameters.shape[0], n_items, *begins, *lists])
