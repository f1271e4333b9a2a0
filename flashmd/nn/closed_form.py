r"""Energies of a SchNet and their derivatives with respect to the distances, written out.

Dynamics needs the forces of frozen weights only. The derivative below keeps nothing that such a call does not need and
consists of few, large operations. With the filters :math:`w`, the envelope :math:`C`, :math:`W = w C`, the sent
features :math:`y` and the gradient :math:`g = \partial E / \partial a` of the summed messages, a pair (t, s) gives

.. math:: \frac{\partial E}{\partial W} = g_t y_s + g_s y_t, \qquad
          \frac{\partial E}{\partial d} = \Bigl\langle \frac{\partial E}{\partial W},
          C' w + C \frac{\partial w}{\partial d} \Bigr\rangle
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from flashmd.nn.mlp import MLP, activate_
from flashmd.nn.radial_basis import ExpNormalBasis, GaussianBasis, Pullback
from flashmd.nn.schnet import InteractionBlock, SchNet
from flashmd.ops import Edges, cfconv, cfconv_transposed, edge_product


class _Step(NamedTuple):
    """What the way back through a block needs."""

    block: InteractionBlock
    filters: Tensor
    sent: Tensor
    pullback: Pullback


@torch.no_grad()
def energy_and_slope(
    network: SchNet, types: Tensor, edges: Edges, distance: Tensor, *, backend: str = "kernel"
) -> tuple[Tensor, Tensor]:
    """Evaluate a network on pairs.

    Args:
        network: the network.
        types: [n_atoms], int64.
        edges: one edge of each pair, see :func:`flashmd.nn.half_edges`.
        distance: [n_pairs], nm.
        backend: "kernel" or "reference".

    Returns:
        Energy of every atom [n_atoms], kJ/mol, and the derivative [n_pairs] of their sum, kJ/mol/nm.
    """
    name = network.config.activation
    filters, filter_pullback = _filters(network, distance)
    features: Tensor = network.embedding(types)
    steps = []
    for module, weight in zip(network.blocks, filters.unbind(0), strict=True):
        block = cast("InteractionBlock", module)
        sent = block.project(features)
        messages = cfconv(sent, weight, edges, backend=backend)
        messages += cfconv_transposed(sent, weight, edges, backend=backend)
        active, pullback = activate_(name, block.mix(messages))
        features = torch.addmm(features + block.update.bias, active, _weight(block.update).t())
        steps.append(_Step(block, weight, sent, pullback))
    energy, gradient = _readout(network.readout, features, name)
    slopes = []
    for index, step in reversed(list(enumerate(steps))):
        down = step.pullback(gradient @ _weight(step.block.update)) @ _weight(step.block.mix)
        slope = edge_product(down, step.sent, edges, backend=backend)
        slopes.append(slope.add_(edge_product(step.sent, down, edges, backend=backend)))
        if index:
            back = cfconv(down, step.filters, edges, backend=backend)
            back += cfconv_transposed(down, step.filters, edges, backend=backend)
            gradient = torch.addmm(gradient, back, _weight(step.block.project))
    return energy, filter_pullback(torch.stack(slopes[::-1]))


def _weight(layer: nn.Linear) -> Tensor:
    return layer.weight


def _filters(network: SchNet, distance: Tensor) -> tuple[Tensor, Pullback]:
    """Return the filters [n_blocks, n_pairs, n_filters] and the map from their gradient to that of the distance."""
    net, basis_of = network.filter_network, cast("GaussianBasis | ExpNormalBasis", network.basis)
    n_blocks, n_filters, n_basis = net.weight_in.shape
    basis, basis_pullback = basis_of.value_and_pullback(distance)
    envelope, envelope_slope = network.envelope.value_and_slope(distance)
    into = net.weight_in.reshape(n_blocks * n_filters, n_basis)
    hidden, pullback = activate_(network.config.activation, torch.addmm(net.bias_in.reshape(-1), basis, into.t()))
    # The envelope multiplies the hidden layer: the last layer is linear, and nothing else need be kept.
    scaled = (hidden * envelope[:, None]).view(-1, n_blocks, n_filters).transpose(0, 1)
    filters = torch.bmm(scaled, net.weight_out.transpose(1, 2))

    def to_distance(gradient: Tensor) -> Tensor:
        inner = torch.bmm(gradient, net.weight_out).transpose(0, 1).reshape(-1, n_blocks * n_filters)
        along_envelope = torch.sum(inner * hidden, 1)
        to_basis = pullback(inner.mul_(envelope[:, None])) @ into
        return basis_pullback(to_basis).addcmul_(envelope_slope, along_envelope)

    return filters, to_distance


def _readout(readout: MLP, features: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return the energies [n_atoms] and the gradient [n_atoms, n_channels] of their sum."""
    layers = [cast("nn.Linear", layer) for layer in readout.layers]
    pullbacks = []
    for layer in layers[:-1]:
        features, pullback = activate_(name, layer(features))
        pullbacks.append(pullback)
    energy: Tensor = layers[-1](features)
    gradient = _weight(layers[-1]).expand(features.shape[0], -1)
    for layer, back in zip(layers[-2::-1], reversed(pullbacks), strict=True):
        gradient = back(gradient) @ _weight(layer)
    return energy.squeeze(-1), gradient
