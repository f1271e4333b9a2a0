"""A frozen SchNet in the layout of the CUDA kernels.

Filters are padded with zeros to slices of 32 channels, one for each lane of a warp. A matrix is kept as [n_in, n_out]
for the way forward and as its transpose for the way back. Layers stored in 16 bits are widened once: their weights stay
in the caches of a GPU in either form, so storing them narrow would save no time there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.nn.filter_table import FilterTable
from flashmd.nn.frozen import DenseLayer, FrozenSchNet

SLICE = 32
"""Channels that a warp works on."""
_ACTIVATIONS = ("tanh", "ssp", "silu")


@dataclass(frozen=True)
class Matrix:
    """A dense layer.

    Attributes:
        forward: [n_in, n_out].
        back: [n_out, n_in].
        bias: [n_out] or None.
    """

    forward: Tensor
    back: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, layer: DenseLayer, dtype: torch.dtype, *, pad_in: bool = False, pad_out: bool = False) -> Matrix:
        """Widen a layer, and pad its inputs or outputs to whole slices."""
        weight = layer.dequantized().to(dtype)
        rows = _missing(weight.shape[0]) if pad_out else 0
        columns = _missing(weight.shape[1]) if pad_in else 0
        weight = torch.nn.functional.pad(weight, (0, columns, 0, rows))
        bias = None if layer.bias is None else torch.nn.functional.pad(layer.bias.to(dtype), (0, rows))
        return cls(weight.t().contiguous(), weight.contiguous(), bias)


@dataclass(frozen=True)
class CudaBlock:
    """The layers of one interaction."""

    project: Matrix
    mix: Matrix
    update: Matrix
    table: Tensor


@dataclass(frozen=True)
class CudaWeights:
    """A frozen SchNet.

    Attributes:
        embedding: [n_types, n_channels].
        blocks: interactions; their tables are [n_slices, n_knots, 2, 32], values and slopes per interval.
        hidden: layers of the readout but the last.
        last: [n_in], weights of the last layer of the readout.
        last_bias: [1] or None.
        activation: its code in the kernels.
        cutoff: nm.
    """

    embedding: Tensor
    blocks: tuple[CudaBlock, ...]
    hidden: tuple[Matrix, ...]
    last: Tensor
    last_bias: Tensor | None
    activation: int
    cutoff: float

    @classmethod
    def of(cls, frozen: FrozenSchNet) -> CudaWeights:
        """Arrange a network, in the dtype and on the device of its embedding."""
        dtype, tables = frozen.embedding.dtype, _tables(frozen.table)
        blocks = tuple(
            CudaBlock(
                Matrix.of(block.project, dtype, pad_out=True),
                Matrix.of(block.mix, dtype, pad_in=True),
                Matrix.of(block.update, dtype),
                table,
            )
            for block, table in zip(frozen.blocks, tables.to(dtype).unbind(0), strict=True)
        )
        *hidden, last = frozen.readout
        return cls(
            embedding=frozen.embedding,
            blocks=blocks,
            hidden=tuple(Matrix.of(layer, dtype) for layer in hidden),
            last=last.dequantized().to(dtype)[0].contiguous(),
            last_bias=None if last.bias is None else last.bias.to(dtype),
            activation=_ACTIVATIONS.index(frozen.activation),
            cutoff=frozen.table.cutoff,
        )

    @property
    def n_slices(self) -> int:
        """Slices of the filters."""
        return self.blocks[0].table.shape[0]

    @property
    def n_knots(self) -> int:
        """Knots of the tables."""
        return self.blocks[0].table.shape[1]


def _missing(width: int) -> int:
    return -width % SLICE


def _tables(table: FilterTable) -> Tensor:
    """Return [n_blocks, n_slices, n_knots, 2, SLICE]."""
    both = torch.stack([table.values, table.slopes * table.spacing], 2)
    padded = torch.nn.functional.pad(both, (0, _missing(both.shape[-1])))
    n_blocks, n_knots = table.values.shape[:2]
    return padded.view(n_blocks, n_knots, 2, -1, SLICE).permute(0, 3, 1, 2, 4).contiguous()
