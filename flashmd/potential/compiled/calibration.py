"""What the dense layers of a network are fed with on sample frames, and how much the energy depends on their outputs.

Forces are derivatives, so a layer must be right for its inputs and for the derivatives of these, and the derivatives
of the energy by its outputs must be right together with theirs. Each sample brings all four: values, and their change
along a random displacement of all atoms.
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
class Rows:
    """Samples of a vector.

    Attributes:
        values: [n, n_columns].
        slopes: [n, n_columns], derivatives along random displacements.
    """

    values: Tensor
    slopes: Tensor

    def moments(self, damping: float) -> Tensor:
        """Return the second moments [n_columns, n_columns] of values and slopes with the same weight.

        Args:
            damping: added to the diagonal, over its mean, so that what the samples do not tell apart counts a little.
        """
        parts = [rows.t() @ rows for rows in (self.values, self.slopes)]
        total = sum((part / _positive(part.diagonal().mean()) for part in parts), torch.zeros_like(parts[0]))
        identity = torch.eye(total.shape[0], dtype=total.dtype, device=total.device)
        return total + damping * _positive(total.diagonal().mean()) * identity


@dataclass(frozen=True)
class LayerSamples:
    """What a layer meets.

    Attributes:
        inputs: rows of n_in columns, and a last column for the bias where there is one.
        gradients: derivatives of the energy by the outputs, rows of n_out columns, or None where all count alike.
    """

    inputs: Rows
    gradients: Rows | None

    def divided(self, factors: Tensor) -> LayerSamples:
        """Return the samples with the inputs divided by `factors` [n_in]."""
        n_in = factors.shape[0]
        rows = (self.inputs.values, self.inputs.slopes)
        return LayerSamples(
            Rows(*(torch.cat([each[:, :n_in] / factors, each[:, n_in:]], 1) for each in rows)), self.gradients
        )

    def multiplied(self, factors: Tensor) -> LayerSamples:
        """Return the samples with the gradients multiplied by `factors` [n_out]."""
        if self.gradients is None:
            return self
        return LayerSamples(self.inputs, Rows(self.gradients.values * factors, self.gradients.slopes * factors))


def layer_samples(
    network: SchNet, samples: list[Samples], *, filters: bool, seed: int, backend: str
) -> dict[str, LayerSamples]:
    """Record what all dense layers meet, by module name.

    Args:
        network: in double precision; its parameters do not require gradients.
        samples: frames.
        filters: also the layers of the filter network, as "filter_network.weight_in.0" for each block.
        seed: of the displacements.
        backend: "kernel" or "reference".
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[tuple[Tensor, ...]]] = {}
    for part in samples:
        noise = torch.randn(part.system.n_atoms, 3, generator=generator, dtype=torch.float64)
        moved = part.system.with_positions(part.system.positions + STEP * noise.to(part.system.positions.device))
        displaced = edge_geometry(moved, part.pairs, backend=backend)[1]
        here, there = (_rows_at(network, part, distance, backend) for distance in (part.distance, displaced))
        if filters:
            stride = max(len(samples) * part.distance.shape[0] // MOST_PAIRS, 1)
            here |= _filter_rows(network, part.distance[::stride])
            there |= _filter_rows(network, displaced[::stride])
        for name, rows in here.items():
            slopes = [(after - before) / STEP for before, after in zip(rows, there[name], strict=True)]
            found.setdefault(name, []).append((*rows, *slopes))
    return {name: _joined(parts) for name, parts in found.items()}


def _joined(parts: list[tuple[Tensor, ...]]) -> LayerSamples:
    columns = [torch.cat(each) for each in zip(*parts, strict=True)]
    half = len(columns) // 2
    pairs = [Rows(values, slopes) for values, slopes in zip(columns[:half], columns[half:], strict=True)]
    return LayerSamples(pairs[0], pairs[1] if half == 2 else None)


def _rows_at(network: SchNet, part: Samples, distance: Tensor, backend: str) -> dict[str, tuple[Tensor, ...]]:
    """Return inputs and gradients of the outputs of all layers but the last, whose output is the energy."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(layer: nn.Module, values: tuple[Tensor, ...], out: Tensor) -> None:
            biased = cast("Tensor | None", layer.bias) is not None
            inputs[name] = _with_ones(values[0].detach()) if biased else values[0].detach()
            outputs[name] = out if out.requires_grad else out.requires_grad_()

        return record

    last = network.readout.layers[-1]
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    hooks = [layer.register_forward_hook(recorder(name)) for name, layer in layers.items() if layer is not last]
    try:
        with torch.enable_grad():
            energy = network(part.system.types, part.pairs, distance, half=True, backend=backend)
            gradients = torch.autograd.grad(energy.sum(), list(outputs.values()))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (inputs[name], gradient) for name, gradient in zip(outputs, gradients, strict=True)}


def _filter_rows(network: SchNet, distance: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Return the inputs of the filter network times the envelope, by which their errors count."""
    net, envelope = network.filter_network, network.envelope(distance)[:, None]
    basis = network.basis(distance)
    found: dict[str, tuple[Tensor, ...]] = {}
    for block, (weight, bias) in enumerate(zip(net.weight_in, net.bias_in, strict=True)):
        hidden = activation(network.config.activation)(torch.addmm(bias, basis, weight.t()))
        found[f"filter_network.weight_in.{block}"] = (_with_ones(basis) * envelope,)
        found[f"filter_network.weight_out.{block}"] = (hidden * envelope,)
    return found


def _with_ones(values: Tensor) -> Tensor:
    return torch.cat([values, torch.ones_like(values[:, :1])], 1)


def _positive(number: Tensor) -> Tensor:
    """Replace zero by one."""
    return torch.where(number > 0.0, number, torch.ones_like(number))
