"""The frozen network: the energy of the network it was copied from, whatever happens to that later."""

from __future__ import annotations

import pytest
import torch

from flashmd.nn import SchNet, SchNetConfig, half_edges
from flashmd.nn.filter_table import tabulate
from flashmd.nn.frozen import DenseLayer, freeze, frozen_energy
from flashmd.ops import edge_geometry, neighbor_list
from tests.potential.build import chain

SMALL = {"n_types": 4, "n_channels": 6, "n_filters": 5, "n_basis": 7, "n_blocks": 2, "readout": (4, 3)}


def network_of(activation: str = "tanh") -> SchNet:
    return SchNet(SchNetConfig(**SMALL, cutoff_upper=0.9, activation=activation), seed=2).double()


@pytest.mark.parametrize("activation", ["tanh", "ssp", "silu"])
def test_energy_and_slopes_of_the_network(activation: str) -> None:
    network, system = network_of(activation), chain(9)
    pairs = half_edges(neighbor_list(system, 1.0, backend="reference"))
    distance = edge_geometry(system, pairs, backend="reference")[1].requires_grad_()
    exact = network(system.types, pairs, distance, half=True, backend="reference")
    frozen = frozen_energy(freeze(network, tabulate(network, 2049)), system.types, pairs, distance)
    torch.testing.assert_close(frozen, exact, rtol=1e-9, atol=1e-9)
    slopes = [torch.autograd.grad(each.sum(), distance)[0] for each in (frozen, exact)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-7, atol=1e-7)


def test_later_training_does_not_reach_the_copy() -> None:
    network, system = network_of(), chain(5)
    pairs = half_edges(neighbor_list(system, 0.9, backend="reference"))
    distance = edge_geometry(system, pairs, backend="reference")[1]
    frozen = freeze(network, tabulate(network, 65))
    before = frozen_energy(frozen, system.types, pairs, distance)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert torch.equal(frozen_energy(frozen, system.types, pairs, distance), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int16])
def test_stored_layer(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(3, 4, generator=generator) * 100).to(dtype)
    scale, bias = torch.tensor([0.5, 2.0, 1e-3], dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    layer = DenseLayer(weight, scale, bias)
    values = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(layer(values), values @ layer.dequantized().t() + bias, rtol=1e-13, atol=1e-13)
    single = layer.to(torch.float32)
    assert single.weight.dtype == dtype
    assert single.dequantized().dtype == torch.float32
    assert single(values.float()).dtype == torch.float32


def test_stored_layers_replace_those_of_the_network() -> None:
    network = network_of()
    stored = DenseLayer(torch.ones(6, 5, dtype=torch.int16), torch.ones(6, dtype=torch.float64))
    frozen = freeze(network, tabulate(network, 9), {"blocks.1.mix": stored})
    assert frozen.blocks[1].mix is stored
    assert torch.equal(frozen.blocks[0].mix.weight, network.blocks[0].mix.weight)
    single = frozen.to(torch.float32)
    assert (single.blocks[1].mix.weight.dtype, single.readout[0].weight.dtype) == (torch.int16, torch.float32)
    assert single.embedding.dtype == single.table.values.dtype == torch.float32
