"""Unordered pairs of a symmetric edge list.

The filter of an edge depends on its distance alone, so an edge and its reverse share it. Evaluating geometry, basis
and filter network once for each unordered pair and reading the result twice halves the cost of both passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.ops import Edges


@dataclass(frozen=True)
class EdgePairs:
    """The two-to-one map from directed edges to unordered pairs.

    Attributes:
        half: one directed edge of each pair, n_pairs edges.
        pair: [n_edges], int64, pair of each directed edge.
        first: [n_pairs], int64, the directed edge that `half` keeps.
        second: [n_pairs], int64, its reverse.
    """

    half: Edges
    pair: Tensor
    first: Tensor
    second: Tensor


def pair_edges(edges: Edges) -> EdgePairs | None:
    """Match every edge with its reverse.

    Args:
        edges: directed edges; an edge (t, s, shift) is the reverse of (s, t, -shift).

    Returns:
        The map, or None where some edge has no reverse.
    """
    code, mirrored = _codes(edges)
    order, mirrored_order = torch.argsort(code), torch.argsort(mirrored)
    if not torch.equal(code[order], mirrored[mirrored_order]):
        return None
    reverse = torch.empty_like(order)
    reverse[order] = mirrored_order
    edge = torch.arange(order.shape[0], device=order.device)
    first = torch.nonzero(edge < reverse)[:, 0]
    second = reverse[first]
    pair = torch.empty_like(order)
    index = torch.arange(first.shape[0], device=order.device)
    pair[first] = index
    pair[second] = index
    # `first` ascends and edges are sorted, so the order of `half` is the order of `first`.
    shift = edges.shift[first] if edges.periodic else None
    half = Edges.from_pairs(edges.receiver[first], edges.sender[first], edges.n_atoms, shift)
    return EdgePairs(half=half, pair=pair, first=first, second=second)


def gather_pairs(values: Tensor, pairs: EdgePairs) -> Tensor:
    """Copy values of pairs to their two directed edges; differentiable to any order.

    Args:
        values: [n_layers, n_pairs, n_columns].
        pairs: the map.

    Returns:
        [n_layers, n_edges, n_columns].
    """
    out: Tensor = _Gather.apply(values, pairs)  # type: ignore[no-untyped-call]
    return out


def _codes(edges: Edges) -> tuple[Tensor, Tensor]:
    """Return one integer for each edge and one for its mirror image."""
    n_atoms = edges.n_atoms
    reach = int(edges.shift.abs().max()) if edges.periodic and edges.n_edges else 0
    width = 2 * reach + 1
    weights = torch.tensor([width * width, width, 1], device=edges.shift.device)
    image = (edges.shift * weights).sum(1)
    center = reach * int(weights.sum())
    images = width**3
    code = (edges.receiver * n_atoms + edges.sender) * images + center + image
    mirrored = (edges.sender * n_atoms + edges.receiver) * images + center - image
    return code, mirrored


class _Gather(torch.autograd.Function):
    """Pairs to edges. The backward pass is `_Sum`, so the two are closed under differentiation."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, pairs: EdgePairs) -> Tensor:
        ctx.pairs = pairs  # type: ignore[attr-defined]
        return values.index_select(1, pairs.pair)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(grads[0], ctx.pairs), None  # type: ignore[attr-defined, no-untyped-call]


class _Sum(torch.autograd.Function):
    """Edges to pairs: the sum over the two directions."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, pairs: EdgePairs) -> Tensor:
        ctx.pairs = pairs  # type: ignore[attr-defined]
        return values.index_select(1, pairs.first).add_(values.index_select(1, pairs.second))

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        return _Gather.apply(grads[0], ctx.pairs), None  # type: ignore[attr-defined, no-untyped-call]
