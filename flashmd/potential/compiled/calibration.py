"""What the dense layers of a network are fed with on sample frames.

Forces are derivatives, so the layers must be right for their inputs and for the derivatives of these: each sample
brings the inputs of a layer and their change along a random displacement of all atoms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from flashmd.nn import SchNet
from flashmd.nn.mlp import activation
from flashmd.ops import edge_geometry
from flashmd.potential.compiled.samples import Samples

STEP = 1e-5
"""Displacement of the difference quotients, nm."""
MOST_PAIRS = 20_000
"""Pairs that calibrate the filter network."""


@dataclass(frozen=True)
class Inputs:
    """Inputs of a layer; a layer with a bias has a last column for it.

    Attributes:
        values: [n, n_columns].
        slopes: [n, n_columns], derivatives along random displacements.
    """

    values: Tensor
    slopes: Tensor

    def divided(self, factors: Tensor) -> Inputs:
        """Return the inputs with their leading columns divided by `factors` [n_in]."""
        n_in = factors.shape[0]
        parts = (torch.cat([each[:, :n_in] / factors, each[:, n_in:]], 1) for each in (self.values, self.slopes))
        return Inputs(*parts)


def layer_inputs(network: SchNet, samples: Samples, *, filters: bool, seed: int, backend: str) -> dict[str, Inputs]:
    """Record the inputs of all dense layers by module name.

    Args:
        network: in double precision.
        samples: frames.
        filters: also the layers of the filter network, as "filter_network.weight_in.0" for each block.
        seed: of the displacements.
        backend: "kernel" or "reference".
    """
    system = samples.system
    noise = torch.randn(system.n_atoms, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    moved = system.with_positions(system.positions + STEP * noise.to(system.positions.device))
    distances = (samples.distance, edge_geometry(moved, samples.pairs, backend=backend)[1])
    values, displaced = (_inputs_at(network, samples, distance, filters, backend) for distance in distances)
    return {name: Inputs(rows, (displaced[name] - rows) / STEP) for name, rows in values.items()}


@torch.no_grad()
def _inputs_at(network: SchNet, samples: Samples, distance: Tensor, filters: bool, backend: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def recorder(name: str, biased: bool) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found[name] = _with_ones(inputs[0]) if biased else inputs[0]

        return record

    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    hooks = [
        layer.register_forward_pre_hook(recorder(name, cast("Tensor | None", layer.bias) is not None))
        for name, layer in layers.items()
    ]
    try:
        network(samples.system.types, samples.pairs, distance, half=True, backend=backend)
    finally:
        for hook in hooks:
            hook.remove()
    if filters:
        stride = -(-distance.shape[0] // MOST_PAIRS)
        found |= _filter_inputs(network, distance[::stride])
    return found


def _filter_inputs(network: SchNet, distance: Tensor) -> dict[str, Tensor]:
    """Return the inputs of the filter network times the envelope, by which their errors count."""
    net, envelope = network.filter_network, network.envelope(distance)[:, None]
    basis = network.basis(distance)
    found = {}
    for block, (weight, bias) in enumerate(zip(net.weight_in, net.bias_in, strict=True)):
        hidden = activation(network.config.activation)(torch.addmm(bias, basis, weight.t()))
        found[f"filter_network.weight_in.{block}"] = _with_ones(basis) * envelope
        found[f"filter_network.weight_out.{block}"] = hidden * envelope
    return found


def _with_ones(values: Tensor) -> Tensor:
    return torch.cat([values, torch.ones_like(values[:, :1])], 1)
