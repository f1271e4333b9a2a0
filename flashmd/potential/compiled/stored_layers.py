"""The dense layers of a network by name: read, stored in 16 bits, and put back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from flashmd.nn import SchNet
from flashmd.nn.frozen import DenseLayer
from flashmd.potential.compiled.calibration import Inputs
from flashmd.potential.compiled.quantization import equalize_, output_error, plainly_rounded, store
from flashmd.potential.compiled.report import LayerError


class _Parameters(NamedTuple):
    """Weight [n_out, n_in] and bias [n_out] of a layer, views of the network's parameters."""

    weight: Tensor
    bias: Tensor | None

    def columns(self) -> Tensor:
        """Return the weight and, where there is a bias, that as a last column."""
        return self.weight if self.bias is None else torch.cat([self.weight, self.bias[:, None]], 1)


def store_layers_(
    network: SchNet, inputs: Mapping[str, Inputs], dtype: torch.dtype
) -> tuple[dict[str, DenseLayer], tuple[LayerError, ...], SchNet]:
    """Store the dense layers of a network in 16 bits, in place.

    Args:
        network: in double precision; its weights become those that the stored layers stand for.
        inputs: inputs of the layers to store, by name.
        dtype: float16, bfloat16 or int16.

    Returns:
        The stored layers by name, their errors, and a copy of the network with plainly rounded weights.
    """
    plain = copy.deepcopy(network)
    plain_errors = {}
    for name, layer in _parameters(plain, inputs).items():
        rounded = plainly_rounded(layer.weight, dtype)
        change = layer.columns()
        exact = change.clone()
        change[:, : layer.weight.shape[1]] -= rounded
        change[:, layer.weight.shape[1] :] = 0.0
        plain_errors[name] = output_error(change, exact, inputs[name])
        layer.weight.copy_(rounded)
    equal = equalize_(network, inputs)
    layers, errors = {}, []
    for name, layer in _parameters(network, inputs).items():
        exact = layer.columns().clone()
        layers[name] = stored = store(layer.weight, layer.bias, equal[name], dtype)
        layer.weight.copy_(stored.dequantized())
        if layer.bias is not None and stored.bias is not None:
            layer.bias.copy_(stored.bias)
        error = output_error(layer.columns() - exact, exact, equal[name])
        errors.append(LayerError(name, error, plain_errors[name]))
    return layers, tuple(errors), plain


def _parameters(network: SchNet, names: Mapping[str, object]) -> dict[str, _Parameters]:
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
