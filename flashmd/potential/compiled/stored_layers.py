"""A network with its dense layers stored in 16 bits: calibrated, rounded, refined, and what each layer lost."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from flashmd.nn import SchNet
from flashmd.nn.frozen import DenseLayer
from flashmd.potential.compiled.calibration import layer_samples
from flashmd.potential.compiled.quantization import equalize_, output_error, plainly_rounded, store
from flashmd.potential.compiled.refinement import refine_
from flashmd.potential.compiled.report import LayerError
from flashmd.potential.compiled.samples import Samples


@dataclass(frozen=True)
class StoredNetwork:
    """A network and the layers that are stored.

    Attributes:
        network: in double precision, with the weights that the stored layers stand for.
        layers: stored layers by name; the last layer of the readout, one row, stays in full precision.
        errors: of every stored layer.
        plain: the network with all layers rounded plainly instead.
    """

    network: SchNet
    layers: dict[str, DenseLayer]
    errors: tuple[LayerError, ...]
    plain: SchNet


class _Parameters(NamedTuple):
    """Weight [n_out, n_in] and bias [n_out] of a layer, views of the network's parameters."""

    weight: Tensor
    bias: Tensor | None

    def columns(self) -> Tensor:
        """Return a copy of the weight and, where there is a bias, of that as a last column."""
        return self.weight.clone() if self.bias is None else torch.cat([self.weight, self.bias[:, None]], 1)


def store_network(
    exact: SchNet, samples: list[Samples], dtype: torch.dtype, *, filters: bool, seed: int, backend: str
) -> StoredNetwork:
    """Store the dense layers of a network in 16 bits.

    Args:
        exact: in double precision.
        samples: frames to calibrate with.
        dtype: float16, bfloat16 or int16.
        filters: also store the layers of the filter network.
        seed: of the random displacements of the calibration.
        backend: "kernel" or "reference".
    """
    found = layer_samples(exact, samples, filters=filters, seed=seed, backend=backend)
    network = copy.deepcopy(exact)
    equal = equalize_(network, found)
    before = {name: layer.columns() for name, layer in _parameters(network, found).items()}
    layers = {}
    for name, layer in _parameters(network, found).items():
        layers[name] = stored = store(layer.weight, layer.bias, equal[name], dtype)
        layer.weight.copy_(stored.dequantized())
        if layer.bias is not None and stored.bias is not None:
            layer.bias.copy_(stored.bias)
    nodes = {name: layer for name, layer in layers.items() if not name.startswith("filter_network")}
    layers |= refine_(network, nodes, samples, backend=backend)
    plain, errors = copy.deepcopy(exact), []
    for name, layer in _parameters(plain, found).items():
        columns = layer.columns()
        change = torch.zeros_like(columns)
        change[:, : layer.weight.shape[1]] = plainly_rounded(layer.weight, dtype) - layer.weight
        plain_error = output_error(change, columns, found[name].inputs)
        after = _parameters(network, [name])[name].columns()
        error = output_error(after - before[name], before[name], equal[name].inputs)
        errors.append(LayerError(name, error, plain_error))
    last = f"readout.layers.{len(plain.readout.layers) - 1}"
    for layer in _parameters(plain, [*found, last]).values():
        layer.weight.copy_(plainly_rounded(layer.weight, dtype))
    return StoredNetwork(network, layers, tuple(errors), plain)


def _parameters(network: SchNet, names: Iterable[str]) -> dict[str, _Parameters]:
    """Return the layers called `names`, detached but sharing memory with the network."""
    net, found = network.filter_network, {}
    for name in names:
        path, _, last = name.rpartition(".")
        if path == "filter_network.weight_in":
            found[name] = _Parameters(net.weight_in.detach()[int(last)], net.bias_in.detach()[int(last)])
        elif path == "filter_network.weight_out":
            found[name] = _Parameters(net.weight_out.detach()[int(last)], None)
        else:
            linear = cast("nn.Linear", network.get_submodule(name))
            bias = cast("Tensor | None", linear.bias)
            found[name] = _Parameters(linear.weight.detach(), None if bias is None else bias.detach())
    return found
