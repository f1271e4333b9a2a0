"""A SchNet as constant tensors: tabulated filters and dense layers that may be stored in 16 bits.

The energy below is the definition of what compiled kernels compute. It is plain PyTorch and differentiable in the
distances, so autograd gives the forces to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from flashmd.nn.filter_table import FilterTable, interpolate
from flashmd.nn.mlp import activation
from flashmd.nn.schnet import InteractionBlock, SchNet
from flashmd.ops import Edges, cfconv, cfconv_transposed


@dataclass(frozen=True)
class DenseLayer:
    """An affine map ``x -> scale (W x) + bias``; the scales act on the product, one for each output channel.

    Attributes:
        weight: [n_out, n_in], float32 or float64, or stored as float16, bfloat16 or int16.
        scale: [n_out] in the dtype of the calculation, or None for ones.
        bias: [n_out] in the dtype of the calculation, or None.
    """

    weight: Tensor
    scale: Tensor | None = None
    bias: Tensor | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """Map [..., n_in] to [..., n_out]."""
        out = values @ self.weight.to(values.dtype).t()
        if self.scale is not None:
            out = out * self.scale
        return out if self.bias is None else out + self.bias

    def dequantized(self) -> Tensor:
        """Return the weights [n_out, n_in] that the layer stands for, in the dtype of the scales."""
        return self.weight if self.scale is None else self.weight.to(self.scale.dtype) * self.scale[:, None]

    def to(self, target: torch.dtype | torch.device) -> DenseLayer:
        """Return the layer for calculations in another dtype or on another device; stored bits stay."""
        stored = self.scale is not None and isinstance(target, torch.dtype)
        weight = self.weight if stored else self.weight.to(target)
        return DenseLayer(weight, *(None if each is None else each.to(target) for each in (self.scale, self.bias)))


@dataclass(frozen=True)
class FrozenBlock:
    """Dense layers of one interaction, see :class:`flashmd.nn.schnet.InteractionBlock`."""

    project: DenseLayer
    mix: DenseLayer
    update: DenseLayer

    def to(self, target: torch.dtype | torch.device) -> FrozenBlock:
        """Return the block for calculations in another dtype or on another device."""
        return FrozenBlock(self.project.to(target), self.mix.to(target), self.update.to(target))


@dataclass(frozen=True)
class FrozenSchNet:
    """A SchNet whose parameters do not change any more.

    Attributes:
        embedding: [n_types, n_channels].
        blocks: interactions.
        readout: layers from the features to the energy of an atom, activations between them.
        activation: "tanh", "ssp" or "silu".
        table: filters of all blocks.
    """

    embedding: Tensor
    blocks: tuple[FrozenBlock, ...]
    readout: tuple[DenseLayer, ...]
    activation: str
    table: FilterTable

    def to(self, target: torch.dtype | torch.device) -> FrozenSchNet:
        """Return the network for calculations in another dtype or on another device."""
        return FrozenSchNet(
            self.embedding.to(target),
            tuple(block.to(target) for block in self.blocks),
            tuple(layer.to(target) for layer in self.readout),
            self.activation,
            self.table.to(target),
        )


def freeze(network: SchNet, table: FilterTable, layers: Mapping[str, DenseLayer] | None = None) -> FrozenSchNet:
    """Copy the parameters of a network.

    Args:
        network: the network.
        table: its filters.
        layers: stored forms of its dense layers by module name, such as "blocks.0.mix"; the others are copied.

    Example:
        >>> from flashmd.nn import SchNetConfig
        >>> from flashmd.nn.filter_table import tabulate
        >>> network = SchNet(SchNetConfig(n_types=3, n_channels=8, n_filters=4, n_basis=5, n_blocks=1, readout=(4,)))
        >>> freeze(network, tabulate(network, 65)).blocks[0].mix.weight.shape
        torch.Size([8, 4])
    """
    stored = layers or {}

    def copied(name: str, module: nn.Module) -> DenseLayer:
        linear = cast("nn.Linear", module)
        bias = cast("Tensor | None", linear.bias)
        bias = None if bias is None else bias.detach().clone()
        return stored[name] if name in stored else DenseLayer(linear.weight.detach().clone(), None, bias)

    blocks = []
    for index, module in enumerate(network.blocks):
        block = cast("InteractionBlock", module)
        parts = (copied(f"blocks.{index}.{part}", getattr(block, part)) for part in ("project", "mix", "update"))
        blocks.append(FrozenBlock(*parts))
    readout = tuple(copied(f"readout.layers.{k}", layer) for k, layer in enumerate(network.readout.layers))
    fixed = FilterTable(table.values.detach(), table.slopes.detach(), table.cutoff)
    embedding = network.embedding.weight.detach().clone()
    return FrozenSchNet(embedding, tuple(blocks), readout, network.config.activation, fixed)


def frozen_energy(
    frozen: FrozenSchNet, types: Tensor, pairs: Edges, distance: Tensor, *, backend: str = "reference"
) -> Tensor:
    """Return the energy of every atom, differentiable in the distances.

    Args:
        frozen: the network.
        types: [n_atoms], int64.
        pairs: one edge of each pair, see :func:`flashmd.nn.half_edges`.
        distance: [n_pairs], nm.
        backend: "kernel" or "reference", see :func:`flashmd.ops.cfconv`.

    Returns:
        [n_atoms], kJ/mol.
    """
    act = activation(frozen.activation)
    features = frozen.embedding[types]
    for block, filters in zip(frozen.blocks, interpolate(frozen.table, distance).unbind(0), strict=True):
        sent = block.project(features)
        messages = cfconv(sent, filters, pairs, backend=backend)
        messages = messages + cfconv_transposed(sent, filters, pairs, backend=backend)
        features = features + block.update(act(block.mix(messages)))
    for layer in frozen.readout[:-1]:
        features = act(layer(features))
    return frozen.readout[-1](features).squeeze(-1)
