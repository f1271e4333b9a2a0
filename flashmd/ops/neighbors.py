"""Neighbour lists of a batch: all directed pairs of one system within a cutoff, periodic images included."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashmd.errors import NeighborOverflowError, message
from flashmd.ops._extension import Operator, use_kernels
from flashmd.ops.edges import Edges
from flashmd.ops.neighbors_reference import brute_force_pairs, complete_cell, vesin_pairs
from flashmd.system import System

_BACKENDS = ("kernel", "reference", "vesin")
_SMALLEST_VOLUME = 1e-9
"""Volume of a lattice relative to the product of its edges below which it counts as flat."""
_MOST_CELLS = 1e9
"""Farther from the origin, shifts leave 32 bits and coordinates mean nothing."""


def neighbor_list(system: System, cutoff: float, *, capacity: int | None = None, backend: str = "kernel") -> Edges:
    """Find all directed pairs of atoms of the same system closer than `cutoff`.

    An atom is no neighbour of itself, but of its periodic images. The order is fixed: receiver, sender, shift.

    Args:
        system: batch; open, periodic along any lattice vectors, triclinic, or with cells smaller than the cutoff.
        cutoff: nm, positive.
        capacity: largest number of edges allowed; as many as there are where left out.
        backend: "kernel", "reference" (every pair and image, plain PyTorch) or "vesin" (one system, on the CPU).

    Raises:
        ValueError: a position is not finite, a periodic cell is singular, or an argument is out of range.
        NeighborOverflowError: more than `capacity` edges exist.

    Example:
        >>> import torch
        >>> from flashmd.ops import neighbor_list
        >>> from flashmd.system import System
        >>> dimer = System.single(torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]), torch.tensor([1, 2]))
        >>> neighbor_list(dimer, 0.5, backend="reference").sender.tolist()
        [1, 0]
    """
    if not 0.0 < cutoff < float("inf"):
        raise ValueError(message("`cutoff`", "a positive finite length in nm", str(cutoff), "pass the model's cutoff"))
    if capacity is not None and capacity < 0:
        raise ValueError(message("`capacity`", "zero or more edges", str(capacity), "leave it out to grow"))
    if backend not in _BACKENDS:
        raise ValueError(message("`backend`", f"one of {_BACKENDS}", repr(backend), "choose one of them"))
    if backend == "kernel" and use_kernels(backend):
        return _search(system, cutoff, capacity)
    _check_system(system)
    pairs = vesin_pairs if backend == "vesin" else brute_force_pairs
    receiver, sender, shift = pairs(system, cutoff)
    if capacity is not None and receiver.shape[0] > capacity:
        raise NeighborOverflowError(receiver.shape[0], capacity)
    periodic = bool(system.pbc.any())
    return Edges.from_pairs(receiver, sender, system.n_atoms, shift if periodic else None)


def half_neighbor_list(system: System, cutoff: float) -> Edges:
    """Find one edge of each pair closer than `cutoff`, by the compiled search on the CPU.

    The edges are those that :func:`flashmd.nn.half_edges` keeps of :func:`neighbor_list`, found in half the time.

    Args:
        system: batch on the CPU.
        cutoff: nm, positive.

    Raises:
        ValueError: a position is not finite or a periodic cell is singular.

    Example:
        >>> import torch
        >>> from flashmd.ops import half_neighbor_list
        >>> from flashmd.system import System
        >>> dimer = System.single(torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]), torch.tensor([1, 2]))
        >>> half_neighbor_list(dimer, 0.5).sender.tolist()
        [1]
    """
    use_kernels("kernel")
    positions, cell = system.positions.detach(), system.cell.detach().to(system.positions.dtype)
    lists = _HALF_NEIGHBOR_LIST(positions, system.ptr, cell, system.pbc, cutoff)
    receiver, sender, shift, row_ptr, transpose, col_ptr, status = lists
    _raise_if_bad(status.tolist())
    return Edges(receiver, sender, shift, row_ptr, transpose, col_ptr, bool(system.pbc.any()))


def any_moved(positions: Tensor, reference: Tensor, limit: float, *, backend: str = "kernel") -> bool:
    """Whether some atom is farther than `limit` from where it was; one whose distance is not a number counts too.

    Args:
        positions: [n_atoms, 3], nm.
        reference: [n_atoms, 3], nm, where the atoms were, in the same dtype.
        limit: nm.
        backend: "kernel", which serves the CPU, or "reference".

    Example:
        >>> import torch
        >>> from flashmd.ops.neighbors import any_moved
        >>> any_moved(torch.tensor([[0.0, 0.3, 0.4]]), torch.zeros(1, 3), 0.6, backend="reference")
        False
    """
    if use_kernels(backend):
        return bool(_COUNT_MOVED(positions, reference, limit).item())
    if positions.shape[0] == 0:
        return False
    # Written so that a NaN, which the largest of numbers keeps, counts.
    return not (positions - reference).square_().sum(-1).max().item() <= limit**2


def _search(system: System, cutoff: float, capacity: int | None) -> Edges:
    """Run the compiled search; the list is symmetric, so rows and columns have the same bounds."""
    limit = -1 if capacity is None else capacity
    positions, cell = system.positions.detach(), system.cell.detach().to(system.positions.dtype)
    lists = _NEIGHBOR_LIST(positions, system.ptr, cell, system.pbc, cutoff, limit)
    receiver, sender, shift, row_ptr, transpose, status = lists
    found = _raise_if_bad(status.tolist())
    if capacity is not None and found > capacity:
        raise NeighborOverflowError(found, capacity)
    return Edges(receiver, sender, shift, row_ptr, transpose, row_ptr, bool(system.pbc.any()))


def _raise_if_bad(status: list[int]) -> int:
    """Return the number of edges that a search reports, unless it reports what it cannot search."""
    found, bad_atom, bad_system = status
    if bad_atom >= 0:
        _raise_not_finite(bad_atom)
    if bad_system >= 0:
        _raise_singular(bad_system)
    return found


def _check_system(system: System) -> None:
    """Refuse what the compiled search refuses."""
    finite = torch.isfinite(system.positions).all(1)
    if not bool(finite.all()):
        _raise_not_finite(int((~finite).nonzero()[0]))
    bounds = system.ptr.tolist()
    for index, (cell, pbc) in enumerate(zip(system.cell.detach(), system.pbc, strict=True)):
        basis = complete_cell(cell.to(torch.float64), pbc)
        scale = torch.linalg.vector_norm(basis, dim=1).prod()
        if not bool(torch.linalg.det(basis).abs() > _SMALLEST_VOLUME * scale):
            _raise_singular(index)
        positions = system.positions[bounds[index] : bounds[index + 1]].detach().to(torch.float64)
        far = ((positions @ torch.linalg.inv(basis)).abs() > _MOST_CELLS)[:, pbc].any(1)
        if bool(far.any()):
            _raise_not_finite(bounds[index] + int(far.nonzero()[0]))


def _raise_not_finite(atom: int) -> None:
    fix = "reduce the time step, or repair the coordinates"
    raise ValueError(message(f"`positions` of atom {atom}", "finite numbers within 10^9 cells", "others", fix))


def _raise_singular(system: int) -> None:
    what, fix = f"`cell` of system {system}", "pass such vectors, or `pbc=False`"
    raise ValueError(message(what, "independent lattice vectors where `pbc` is set", "a singular cell", fix))


def _fake(positions: Tensor, ptr: Tensor, *options: Any) -> tuple[Tensor, ...]:
    del options
    n_edges = torch.library.get_ctx().new_dynamic_size()
    receiver, sender, transpose = (ptr.new_empty(n_edges) for _ in range(3))
    shift, row_ptr = ptr.new_empty(n_edges, 3), ptr.new_empty(positions.shape[0] + 1)
    return receiver, sender, shift, row_ptr, transpose, ptr.new_empty(3)


def _fake_half(positions: Tensor, ptr: Tensor, *options: Any) -> tuple[Tensor, ...]:
    receiver, sender, shift, row_ptr, transpose, status = _fake(positions, ptr, *options)
    return receiver, sender, shift, row_ptr, transpose, torch.empty_like(row_ptr), status


def _fake_count(positions: Tensor, reference: Tensor, limit: float) -> Tensor:
    del reference, limit
    return positions.new_empty((), dtype=torch.int64)


_NEIGHBOR_LIST = Operator("neighbor_list", _fake)
_HALF_NEIGHBOR_LIST = Operator("half_neighbor_list", _fake_half)
_COUNT_MOVED = Operator("count_moved", _fake_count)
