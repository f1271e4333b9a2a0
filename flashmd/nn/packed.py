"""Packing of a frozen SchNet into the layout of the compiled kernels.

A matrix [n_in, n_out] is stored in chunks of sixteen columns, [n_out / 16, n_in, 16], once for the way forward and,
transposed, once for the way back. Widths are padded with zeros, which no activation turns into anything that counts:
what leaves a padded channel is multiplied by zero weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.nn.filter_table import FilterTable
from flashmd.nn.frozen import DenseLayer, FrozenSchNet
from flashmd.ops.schnet_evaluate import PackedSchNet, pack_tiles

_CHUNK = 16
_ACTIVATIONS = ("tanh", "ssp", "silu")
_STORED = (torch.float16, torch.bfloat16, torch.int16)


def pack(frozen: FrozenSchNet) -> PackedSchNet:
    """Pack a frozen SchNet for calculations in the dtype of its embedding.

    Raises:
        ValueError: the layers between the embedding and the last one are stored in different types.
    """
    dtype, layers = frozen.embedding.dtype, _dense_layers(frozen)
    storage = _storage(layers, dtype)
    first = frozen.blocks[0].project
    constants = [_padded(frozen.embedding), _padded(frozen.embedding @ first.weight.to(dtype).t() * _scale(first))]
    weights: list[Tensor] = []
    for layer in layers:
        # Stored bits are packed as they are; a full-precision layer is packed with its scales applied.
        stored = layer.weight if storage else layer.dequantized().to(dtype)
        matrix = _padded(_padded(stored).t()).t()
        words = matrix.contiguous().view(torch.int16) if storage else matrix.contiguous()
        weights += [_chunks(words.t()), _chunks(words)]
        scale = _scale(layer) if storage else torch.ones_like(_scale(layer))
        bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.to(dtype)
        constants += [_padded(scale.to(dtype)), _padded(bias)]
    last = frozen.readout[-1]
    last_bias = last.bias if last.bias is not None else frozen.embedding.new_zeros(1)
    constants += [_padded(last.dequantized().to(dtype)[0]), last_bias.to(dtype).expand(_CHUNK)]
    hidden = [_round_up(layer.weight.shape[0]) for layer in frozen.readout[:-1]]
    n_types, n_channels = frozen.embedding.shape
    n_blocks, n_knots, n_filters = frozen.table.values.shape
    codes = [_ACTIVATIONS.index(frozen.activation), storage]
    widths = [_round_up(n_channels), _round_up(n_filters)]
    sizes = [n_types, *widths, n_blocks, n_knots - 1, len(hidden), *codes, *hidden]
    packed_sizes, packed_weights = torch.tensor(sizes), torch.cat([each.reshape(-1) for each in weights])
    single = dtype == torch.float32
    return PackedSchNet(
        packed_sizes,
        packed_weights,
        pack_tiles(packed_sizes, packed_weights) if single else packed_weights.new_empty(0, dtype=torch.int16),
        torch.cat([each.reshape(-1) for each in constants]),
        _packed_table(frozen.table).to(dtype),
        frozen.table.cutoff,
    )


def unpack_table(packed: PackedSchNet, n_filters: int) -> FilterTable:
    """Return the table of a packed network with so many filters; slopes may differ by a rounding."""
    values, slopes = packed.table.permute(3, 0, 2, 1, 4).flatten(3)[..., :n_filters]
    n_knots = packed.table.shape[2]
    return FilterTable(values, slopes * ((n_knots - 1) / packed.cutoff), packed.cutoff)


def _dense_layers(frozen: FrozenSchNet) -> list[DenseLayer]:
    """Return the layers in the order of the kernels; the last one of the readout is apart."""
    blocks = [layer for block in frozen.blocks for layer in (block.project, block.mix, block.update)]
    return [*blocks, *frozen.readout[:-1]]


def _storage(layers: list[DenseLayer], dtype: torch.dtype) -> int:
    """Return the code of the type that all layers are stored in; 0 for the dtype of the calculation."""
    types = {layer.weight.dtype for layer in layers}
    if types == {dtype}:
        return 0
    if len(types) == 1 and types <= set(_STORED):
        return 1 + _STORED.index(types.pop())
    names = ", ".join(sorted(map(str, types)))
    raise ValueError(message("the dense layers", f"one type of storage, or {dtype}", names, "freeze the model again"))


def _scale(layer: DenseLayer) -> Tensor:
    return layer.weight.new_ones(layer.weight.shape[0]) if layer.scale is None else layer.scale


def _round_up(number: int) -> int:
    return -(-number // _CHUNK) * _CHUNK


def _padded(values: Tensor) -> Tensor:
    """Pad the last dimension with zeros to a multiple of 16."""
    return torch.nn.functional.pad(values, (0, _round_up(values.shape[-1]) - values.shape[-1]))


def _chunks(matrix: Tensor) -> Tensor:
    """Return [n_columns / 16, n_rows, 16] of a matrix [n_rows, n_columns]."""
    return matrix.reshape(matrix.shape[0], -1, _CHUNK).transpose(0, 1).contiguous()


def _packed_table(table: FilterTable) -> Tensor:
    """Return [n_blocks, n_filters / 16, n_knots, 2, 16], the slopes per interval instead of per length."""
    both = torch.stack([_padded(table.values), _padded(table.slopes * table.spacing)], 2)
    n_blocks, n_knots = both.shape[:2]
    return both.reshape(n_blocks, n_knots, 2, -1, _CHUNK).permute(0, 3, 1, 2, 4).contiguous()
