"""Derivatives of the convolution with recomputed filters that a GPU has no kernel for: a loop over tiles of pairs.

Each tile is evaluated by plain operations and differentiated by autograd; only sums and numbers of pairs outlive it, so
the memory is bounded as that of the kernels is. Sums over the pairs of an atom run through the kernels for segments,
without atomic operations, in an order that the tiles fix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from flashmd.ops import reference
from flashmd.ops.edges import Edges
from flashmd.ops.filter_form import FilterForm, FilterWeights
from flashmd.ops.message_passing import cfconv, cfconv_transposed

PAIRS_OF_TILE = 32768
N_DIFFERENTIABLE = 7
N_INDEX = 5
N_NUMBERS = 7

Tile = tuple[int, int, Edges]


def tiles(receiver: Tensor, sender: Tensor, row_ptr: Tensor) -> Iterator[Tile]:
    """Cut pairs sorted by receiver into ranges and index each range both ways, without waiting for the device."""
    atoms = torch.arange(row_ptr.shape[0], device=receiver.device)
    for begin in range(0, receiver.shape[0], PAIRS_OF_TILE):
        end = min(begin + PAIRS_OF_TILE, receiver.shape[0])
        ends, order = torch.sort(sender[begin:end], stable=True)
        rows = row_ptr.clamp(begin, end) - begin
        # No pair of a tile is shifted as far as these sums are concerned, so the shifts are left out.
        none = receiver.new_zeros(0, 3)
        columns = torch.searchsorted(ends, atoms)
        yield begin, end, Edges(receiver[begin:end], sender[begin:end], none, rows, order, columns, periodic=False)


def gradient(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """Do what the operator `flash_cfconv_backward` does; arguments are those of its schema but the last."""
    tensors, index, form = _parts(arguments)
    wanted = _wanted(*arguments[N_DIFFERENTIABLE + N_INDEX :][:4])
    sums = _zeros(tensors, wanted)
    for begin, end, edges in tiles(*index[:3]):
        with torch.enable_grad():
            leaves = _leaves(tensors, begin, end, wanted)
            out = _convolve(leaves, form, edges)
        asked = [leaf for leaf in leaves if leaf.requires_grad]
        _add(sums, torch.autograd.grad(out, asked, grad), begin, end, wanted)
    return tuple(sums)


def curvature(*arguments: Any) -> tuple[Tensor, ...]:
    """Do what the operator `flash_cfconv_double_backward` does; arguments are those of its schema but the last."""
    along, (grad, *rest) = arguments[:N_DIFFERENTIABLE], arguments[N_DIFFERENTIABLE:]
    tensors, index, form = _parts(rest)
    wanted = _wanted(True, *rest[N_DIFFERENTIABLE + N_INDEX :][:3])
    by_grad, sums = torch.zeros_like(grad), _zeros(tensors, wanted)
    for begin, end, edges in tiles(*index[:3]):
        with torch.enable_grad():
            g, leaves = grad.detach().requires_grad_(), _leaves(tensors, begin, end, (True,) * N_DIFFERENTIABLE)
            first = torch.autograd.grad(_convolve(leaves, form, edges), leaves, g, create_graph=True)
            ways = [along[0], along[1][begin:end], *along[2:]]
            total = torch.stack([(a * b).sum() for a, b in zip(first, ways, strict=True) if b.numel()]).sum()
        asked = [leaf for leaf, want in zip(leaves, wanted, strict=True) if want]
        part, *found = torch.autograd.grad(total, [g, *asked], materialize_grads=True)
        by_grad += part
        _add(sums, found, begin, end, wanted)
    return by_grad, *sums


def _parts(arguments: Sequence[Any]) -> tuple[list[Tensor], Sequence[Tensor], FilterForm]:
    index = arguments[N_DIFFERENTIABLE : N_DIFFERENTIABLE + N_INDEX]
    return list(arguments[:N_DIFFERENTIABLE]), index, FilterForm.of_numbers(*arguments[-N_NUMBERS:])


def _wanted(features: bool, distance: bool, basis: bool, weights: bool) -> tuple[bool, ...]:
    return features, distance, basis, basis, weights, weights, weights


def _zeros(tensors: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    """Start sums for the wanted gradients; the others are empty."""
    return [torch.zeros_like(each) if want else each.new_zeros(0) for each, want in zip(tensors, wanted, strict=True)]


def _leaves(tensors: Sequence[Tensor], begin: int, end: int, wanted: Sequence[bool]) -> list[Tensor]:
    features, distance, *weights = tensors
    parts = [features, distance[begin:end], *weights]
    return [each.detach().requires_grad_(want) for each, want in zip(parts, wanted, strict=True)]


def _add(sums: list[Tensor], found: Sequence[Tensor], begin: int, end: int, wanted: Sequence[bool]) -> None:
    asked = [position for position, want in enumerate(wanted) if want]
    for position, part in zip(asked, found, strict=True):
        (sums[1][begin:end] if position == 1 else sums[position]).add_(part)


def _convolve(leaves: Sequence[Tensor], form: FilterForm, edges: Edges) -> Tensor:
    features, distance, *weights = leaves
    rows = reference.filters(distance, FilterWeights(*weights), form)
    return cfconv(features, rows, edges) + cfconv_transposed(features, rows, edges)
