"""Directed pairs of atoms in both orders that reductions need.

Edges are sorted by receiver, then sender, and `row_ptr` bounds the edges of each receiver. `transpose` lists the same
edges sorted by sender and `col_ptr` bounds those of each sender, so a sum over either end is a sum over a contiguous
range: no atomics, one order of summation, reproducible results.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.ops._extension import Operator, use_kernels
from flashmd.system import System


@dataclass(frozen=True)
class Edges:
    """Directed pairs with ``edge_vec = x_sender - x_receiver + shift @ cell``.

    Made by `Edges.from_pairs` or `neighbor_list`; the kernels trust the indices in it.

    Attributes:
        receiver: [n_edges], int64, ascending.
        sender: [n_edges], int64, ascending among the edges of one receiver.
        shift: [n_edges, 3], int64, lattice vectors added to the sender.
        row_ptr: [n_atoms + 1], int64, first edge of each receiver and n_edges.
        transpose: [n_edges], int64, edges sorted by sender (stable).
        col_ptr: [n_atoms + 1], int64, first entry of `transpose` of each sender and n_edges.
        periodic: False where every shift is known to be zero, which spares the product with the cell.

    Example:
        >>> import torch
        >>> from flashmd.ops import Edges
        >>> edges = Edges.from_pairs(torch.tensor([1, 0, 1]), torch.tensor([2, 1, 0]), 3)
        >>> edges.receiver.tolist(), edges.sender.tolist(), edges.row_ptr.tolist()
        ([0, 1, 1], [1, 0, 2], [0, 1, 3, 3])
    """

    receiver: Tensor
    sender: Tensor
    shift: Tensor
    row_ptr: Tensor
    transpose: Tensor
    col_ptr: Tensor
    periodic: bool = True

    @classmethod
    def from_pairs(cls, receiver: Tensor, sender: Tensor, n_atoms: int, shift: Tensor | None = None) -> Edges:
        """Sort any list of directed pairs and index it both ways.

        Args:
            receiver: [n_edges], integer atom indices.
            sender: [n_edges], integer atom indices.
            n_atoms: number of atoms of the batch.
            shift: [n_edges, 3], integer lattice shifts; zero where left out.

        Raises:
            ValueError: the tensors do not match or an index lies outside the batch.
        """
        receiver, sender = receiver.to(torch.int64), sender.to(torch.int64)
        periodic = shift is not None
        shift = receiver.new_zeros(receiver.shape[0], 3) if shift is None else shift.to(torch.int64)
        _check_pairs(receiver, sender, shift, n_atoms)
        order = torch.arange(receiver.shape[0], device=receiver.device)
        minor_keys = (shift[:, 2], shift[:, 1], shift[:, 0]) if periodic else ()
        for key in (*minor_keys, receiver * n_atoms + sender):
            order = order[torch.argsort(key[order], stable=True)]
        receiver, sender, shift = receiver[order], sender[order], shift[order]
        row_ptr, col_ptr = _offsets(receiver, n_atoms), _offsets(sender, n_atoms)
        return cls(receiver, sender, shift, row_ptr, torch.argsort(sender, stable=True), col_ptr, periodic)

    def to(self, device: torch.device | str) -> Edges:
        """Move all tensors to `device`."""
        moved = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "periodic"
        }
        return Edges(**{name: tensor.to(device) for name, tensor in moved.items()}, periodic=self.periodic)

    @property
    def index(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The index tensors in the order in which the compiled operators take them."""
        return self.receiver, self.sender, self.row_ptr, self.transpose, self.col_ptr

    @property
    def n_edges(self) -> int:
        """Number of directed pairs."""
        return self.receiver.shape[0]

    @property
    def n_atoms(self) -> int:
        """Number of atoms of the batch the pairs belong to."""
        return self.row_ptr.shape[0] - 1


def _check_pairs(receiver: Tensor, sender: Tensor, shift: Tensor, n_atoms: int) -> None:
    n_edges = receiver.shape[0]
    for name, tensor, shape in (("sender", sender, (n_edges,)), ("shift", shift, (n_edges, 3))):
        if tuple(tensor.shape) != shape:
            got = f"{tuple(tensor.shape)}"
            raise ValueError(message(f"`{name}`", f"shape {shape}", got, "pass one entry for each pair"))
    for name, tensor in (("receiver", receiver), ("sender", sender)):
        if n_edges and not 0 <= int(tensor.min()) <= int(tensor.max()) < n_atoms:
            got = f"indices from {int(tensor.min())} to {int(tensor.max())}"
            raise ValueError(message(f"`{name}`", f"indices from 0 to {n_atoms - 1}", got, "check `n_atoms`"))


def _offsets(sorted_or_not: Tensor, n_atoms: int) -> Tensor:
    counts = torch.bincount(sorted_or_not, minlength=n_atoms)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def edge_geometry(system: System, edges: Edges, *, backend: str = "kernel") -> tuple[Tensor, Tensor]:
    """Return vectors and lengths of all edges, differentiable in positions and cell.

    Args:
        system: batch of systems; positions [n_atoms, 3], nm.
        edges: pairs of that batch.
        backend: "kernel" or "reference".

    Returns:
        edge_vec [n_edges, 3], nm, from receiver to sender, and distance [n_edges], nm.

    Example:
        >>> import torch
        >>> from flashmd.ops import edge_geometry, neighbor_list
        >>> from flashmd.system import System
        >>> dimer = System.single(torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]), torch.tensor([1, 2]))
        >>> edges = neighbor_list(dimer, 1.0, backend="reference")
        >>> edge_geometry(dimer, edges, backend="reference")[1]
        tensor([0.3000, 0.3000])
    """
    positions = system.positions
    if use_kernels(backend):
        edge_vec: Tensor = _DIFFERENCE(positions, *edges.index)
    else:
        edge_vec = positions.index_select(0, edges.sender) - positions.index_select(0, edges.receiver)
    if edges.periodic or system.cell.requires_grad:
        cell = system.cell.index_select(0, system.batch.index_select(0, edges.receiver))
        edge_vec = edge_vec + torch.einsum("ek,ekd->ed", edges.shift.to(positions), cell.to(positions))
    return edge_vec, torch.linalg.vector_norm(edge_vec, dim=-1)


def _save_index(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[1:])


def _difference_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _DIVERGENCE(grad, *ctx.saved_tensors), *(None,) * 5


def _divergence_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _DIFFERENCE(grad, *ctx.saved_tensors), *(None,) * 5


def _fake_difference(values: Tensor, receiver: Tensor, *index: Tensor) -> Tensor:
    del index
    return values.new_empty(receiver.shape[0], values.shape[1])


def _fake_divergence(values: Tensor, receiver: Tensor, sender: Tensor, row_ptr: Tensor, *index: Tensor) -> Tensor:
    del receiver, sender, index
    return values.new_empty(row_ptr.shape[0] - 1, values.shape[1])


_DIFFERENCE = Operator(
    "edge_difference", _fake_difference, _difference_backward, setup_context=_save_index, n_differentiable=1
)
_DIVERGENCE = Operator(
    "edge_divergence", _fake_divergence, _divergence_backward, setup_context=_save_index, n_differentiable=1
)
