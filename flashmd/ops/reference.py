"""The operators in plain PyTorch: the truth every compiled kernel is measured against.

Any floating dtype, any device, differentiable to any order. `backend="reference"` selects these functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flashmd.ops.edges import Edges

if TYPE_CHECKING:
    from flashmd.ops.filter_form import FilterForm, FilterWeights
    from flashmd.ops.radial_basis import BasisForm


def cfconv(features: Tensor, filters: Tensor, edges: Edges) -> Tensor:
    """Sum filtered sender features over the edges of each receiver; see `flashmd.ops.cfconv`."""
    messages = features.index_select(0, edges.sender) * filters
    return features.new_zeros(features.shape).index_add(0, edges.receiver, messages)


def cfconv_transposed(features: Tensor, filters: Tensor, edges: Edges) -> Tensor:
    """Sum filtered receiver features over the edges of each sender; see `flashmd.ops.cfconv_transposed`."""
    messages = features.index_select(0, edges.receiver) * filters
    return features.new_zeros(features.shape).index_add(0, edges.sender, messages)


def edge_product(left: Tensor, right: Tensor, edges: Edges) -> Tensor:
    """Multiply receiver rows of `left` by sender rows of `right`; see `flashmd.ops.edge_product`."""
    return left.index_select(0, edges.receiver) * right.index_select(0, edges.sender)


def segment_sum(values: Tensor, ptr: Tensor) -> Tensor:
    """Sum consecutive rows; see `flashmd.ops.segment_sum`."""
    out = values.new_zeros((ptr.shape[0] - 1, *values.shape[1:]))
    return out.index_add(0, _segment_of_row(ptr, values.shape[0]), values)


def segment_expand(values: Tensor, ptr: Tensor, n_rows: int) -> Tensor:
    """Repeat each row over its segment; see `flashmd.ops.segment_expand`."""
    return values.index_select(0, _segment_of_row(ptr, n_rows))


def _segment_of_row(ptr: Tensor, n_rows: int) -> Tensor:
    segments = torch.arange(ptr.shape[0] - 1, device=ptr.device)
    return torch.repeat_interleave(segments, ptr[1:] - ptr[:-1], output_size=n_rows)


def envelope(distance: Tensor, kind: str, lower: float, upper: float) -> Tensor:
    """Return the factors of a "cosine" or "identity" envelope; see :mod:`flashmd.nn.cutoff`."""
    if kind == "identity":
        return (distance <= upper).to(distance.dtype)
    # cos(pi) is -1 exactly in both precisions, so clamping the argument gives exact zeros beyond the bounds.
    if lower == 0.0:
        angle = (distance * (math.pi / upper)).clamp(max=math.pi)
    else:
        scale = 2.0 * math.pi / (upper - lower)
        angle = ((distance - lower) * scale + math.pi).clamp(min=math.pi, max=3.0 * math.pi)
    return 0.5 * torch.cos(angle) + 0.5


def radial_basis(distance: Tensor, centres: Tensor, widths: Tensor, form: BasisForm) -> Tensor:
    """Expand distances; see `flashmd.ops.radial_basis`.

    Exponents are cut off at -60: farther out the functions would be subnormal numbers, which slow exp, products and
    matrix products down by an order of magnitude; 1e-26 is zero for every use of the basis.
    """
    coordinate = distance if form.kind == "gaussian" else torch.exp((form.lower - distance) * form.alpha)
    deviation = coordinate[:, None] - centres
    factor = envelope(distance, form.envelope, form.lower, form.upper)
    return torch.exp((deviation * deviation * -widths).clamp_min(-60.0)) * factor[:, None]


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "ssp": lambda values: torch.nn.functional.softplus(values) - math.log(2.0),
    "silu": torch.nn.functional.silu,
}


def filters(distance: Tensor, weights: FilterWeights, form: FilterForm) -> Tensor:
    """Return the filters [n_pairs, n_filters] at distances [n_pairs], nm; see `flashmd.ops.flash_cfconv`."""
    basis = radial_basis(distance, weights.centres, weights.widths, form.basis)
    hidden = _ACTIVATIONS[form.activation](torch.addmm(weights.bias_in, basis, weights.weight_in.t()))
    factor = envelope(distance, form.envelope, form.basis.lower, form.basis.upper)
    return hidden @ weights.weight_out.t() * factor[:, None]


def flash_cfconv(features: Tensor, distance: Tensor, weights: FilterWeights, form: FilterForm, edges: Edges) -> Tensor:
    """Compute the filters of all pairs, then convolve; see `flashmd.ops.flash_cfconv`."""
    rows = filters(distance, weights, form)
    return cfconv(features, rows, edges) + cfconv_transposed(features, rows, edges)


_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def _multiply(constant: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """Return high and low word of a 32 x 32 bit product; two halves keep the partial products inside int64."""
    upper, lower = constant * (word >> 16), constant * (word & 0xFFFF)
    return (upper + (lower >> 16)) >> 16, ((upper << 16) + lower) & _MASK


def philox_words(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Apply Philox4x32-10 to 128-bit counters.

    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11, doi:10.1145/2063384.2063405.

    Args:
        counter: [..., 4], int64 holding 32-bit words, lowest first.
        key: two 32-bit words, lowest first.

    Returns:
        [..., 4], int64 holding 32-bit words.
    """
    word0, word1, word2, word3 = counter.unbind(-1)
    key0, key1 = key
    for _ in range(10):
        high0, low0 = _multiply(_MULTIPLIERS[0], word0)
        high1, low1 = _multiply(_MULTIPLIERS[1], word2)
        word0, word1, word2, word3 = high1 ^ word1 ^ key0, low1, high0 ^ word3 ^ key1, low0
        key0, key1 = (key0 + _WEYL[0]) & _MASK, (key1 + _WEYL[1]) & _MASK
    return torch.stack([word0, word1, word2, word3], -1)


def philox_bits(seed: int, stream: Tensor, counter: int, n_blocks: int) -> Tensor:
    """Return the random words of each stream, [n, 4 * n_blocks], int64 holding 32-bit words.

    The 128 counter bits are, lowest first: block (16), counter (48), stream (64); the key is the seed (64).
    """
    block = torch.arange(n_blocks, device=stream.device)
    low = block | ((counter & 0xFFFF) << 16)
    counters = torch.stack(
        torch.broadcast_tensors(
            low[None],
            torch.full_like(low[None], counter >> 16),
            (stream & _MASK)[:, None],
            ((stream >> 32) & _MASK)[:, None],
        ),
        -1,
    )
    return philox_words(counters, (seed & _MASK, (seed >> 32) & _MASK)).flatten(1)


def philox_uniform(seed: int, stream: Tensor, counter: int, n_columns: int, dtype: torch.dtype) -> Tensor:
    """Uniform numbers on (0, 1); see `flashmd.ops.philox_uniform`."""
    words = philox_bits(seed, stream, counter, -(-n_columns // 4))[:, :n_columns]
    uniform = ((words.to(torch.float64) + 0.5) * 2.0**-32).to(dtype)
    return uniform.clamp(max=1.0 - 2.0**-24) if dtype == torch.float32 else uniform


def philox_normal(seed: int, stream: Tensor, counter: int, n_columns: int, dtype: torch.dtype) -> Tensor:
    """Standard normal numbers; see `flashmd.ops.philox_normal`."""
    words = philox_bits(seed, stream, counter, -(-n_columns // 4)).unflatten(1, (-1, 2)).to(torch.float64)
    radius = torch.sqrt(-2.0 * torch.log((words[..., 0] + 1.0) * 2.0**-32))
    angle = words[..., 1] * (torch.pi * 2.0**-31)
    pair = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)
    return pair.flatten(1)[:, :n_columns].to(dtype)
