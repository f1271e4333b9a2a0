"""SchNet against an independent implementation in numpy, its layers, its configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from flashmd.nn import (
    MLP,
    ExpNormalBasis,
    FilterTable,
    GaussianBasis,
    SchNet,
    SchNetConfig,
    half_edges,
    tabulate,
)
from flashmd.nn.filter_table import interpolate
from flashmd.nn.mlp import activation, shifted_softplus
from flashmd.ops import Edges, edge_geometry, neighbor_list
from flashmd.system import System
from tests.potential.build import BACKENDS, chain

SMALL = {"n_types": 5, "n_channels": 7, "n_filters": 4, "n_basis": 6, "n_blocks": 2, "readout": (5, 3)}
NUMPY = {
    "tanh": np.tanh,
    "ssp": lambda x: np.log1p(np.exp(x)) - np.log(2.0),
    "silu": lambda x: x / (1.0 + np.exp(-x)),
}


def numpy_energy(network: SchNet, positions: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Evaluate the equations of the module docstrings with loops over atoms and neighbours."""
    config = network.config
    p = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    act = NUMPY[config.activation]
    n_atoms = len(types)
    x = p["embedding.weight"][types]

    def envelope(d: float) -> float:
        return 0.5 * (np.cos(np.pi * d / config.cutoff_upper) + 1.0) if d < config.cutoff_upper else 0.0

    for block in range(config.n_blocks):
        y = x @ p[f"blocks.{block}.project.weight"].T
        a = np.zeros((n_atoms, config.n_filters))
        for receiver in range(n_atoms):
            for sender in range(n_atoms):
                d = float(np.linalg.norm(positions[receiver] - positions[sender]))
                if receiver == sender or d >= config.cutoff_upper:
                    continue
                decay = np.exp(-5.0 / config.cutoff_upper * d)
                basis = envelope(d) * np.exp(-p["basis.betas"] * (decay - p["basis.means"]) ** 2)
                hidden = act(p["filter_network.weight_in"][block] @ basis + p["filter_network.bias_in"][block])
                a[receiver] += y[sender] * (p["filter_network.weight_out"][block] @ hidden) * envelope(d)
        u = a @ p[f"blocks.{block}.mix.weight"].T + p[f"blocks.{block}.mix.bias"]
        x = x + act(u) @ p[f"blocks.{block}.update.weight"].T + p[f"blocks.{block}.update.bias"]
    for layer in range(len(config.readout) + 1):
        x = x @ p[f"readout.layers.{layer}.weight"].T
        if layer < len(config.readout):
            x = act(x + p[f"readout.layers.{layer}.bias"])
    return x[:, 0]


def randomized(config: SchNetConfig) -> SchNet:
    """Return a float64 network whose biases are not zero."""
    network = SchNet(config, seed=2).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return network


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("act", ["tanh", "ssp", "silu"])
def test_against_numpy(act: str, half: bool, backend: str) -> None:
    network = randomized(SchNetConfig(**SMALL, activation=act, cutoff_upper=0.8))
    system = chain(8)
    # The list reaches farther than the cutoff: the extra edges must not count.
    edges = neighbor_list(system, 1.1, backend=backend)
    edges = half_edges(edges) if half else edges
    distance = edge_geometry(system, edges, backend=backend)[1]
    energy = network(system.types, edges, distance, half=half, backend=backend)
    expected = numpy_energy(network, system.positions.numpy(), system.types.numpy())
    np.testing.assert_allclose(energy.detach().numpy(), expected, rtol=1e-12, atol=1e-13)
    if half:
        closed = network.energy_and_slope(system.types, edges, distance, backend=backend)[0]
        np.testing.assert_allclose(closed.numpy(), expected, rtol=1e-12, atol=1e-13)


def periodic_edges() -> tuple[System, Edges]:
    """Return a periodic system whose cell is smaller than the reach, so that pairs have many images."""
    cell = torch.tensor([[0.5, 0.0, 0.0], [0.1, 0.6, 0.0], [0.0, 0.2, 0.55]], dtype=torch.float64)
    positions = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.3, 0.1], [0.4, 0.1, 0.3]], dtype=torch.float64)
    system = System.single(positions, torch.tensor([1, 2, 3]), cell=cell, pbc=True)
    return system, neighbor_list(system, 0.9, backend="reference")


def keys(edges: Edges, sign: int = 1) -> set[tuple[int, ...]]:
    """Return the edges, or with a negative sign their reverses, as tuples."""
    ends = (edges.receiver, edges.sender) if sign > 0 else (edges.sender, edges.receiver)
    return set(map(tuple, torch.cat([torch.stack(ends, 1), sign * edges.shift], 1).tolist()))


def test_half_of_a_periodic_list() -> None:
    _, edges = periodic_edges()
    half = half_edges(edges)
    assert keys(half) | keys(half, -1) == keys(edges)
    assert not keys(half) & keys(half, -1)
    assert half.n_edges * 2 == edges.n_edges
    assert any(receiver == sender for receiver, sender, *_ in keys(half))


def test_half_gives_the_same_energy_in_a_small_cell() -> None:
    network = randomized(SchNetConfig(**SMALL, cutoff_upper=0.9))
    system, edges = periodic_edges()
    energies = []
    for half, chosen in ((False, edges), (True, half_edges(edges))):
        distance = edge_geometry(system, chosen, backend="reference")[1]
        energies.append(network(system.types, chosen, distance, half=half, backend="reference"))
    torch.testing.assert_close(energies[1], energies[0], rtol=1e-13, atol=1e-13)


def test_empty_list() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    edges = half_edges(Edges.from_pairs(nothing, nothing, 2))
    assert edges.n_edges == 0
    network = SchNet(SchNetConfig(**SMALL))
    energy = network(torch.tensor([1, 1]), edges, torch.zeros(0), half=True, backend="reference")
    assert energy[0] == energy[1]
    closed, slope = network.energy_and_slope(torch.tensor([1, 1]), edges, torch.zeros(0), backend="reference")
    torch.testing.assert_close(closed, energy.detach())
    assert slope.shape == (0,)


@pytest.mark.parametrize("basis", [ExpNormalBasis, GaussianBasis])
def test_slope_of_the_basis(basis: type[ExpNormalBasis]) -> None:
    for lower, envelope in ((0.0, "cosine"), (0.2, "cosine"), (0.0, "identity")):
        module = basis(lower, 1.0, n_basis=7, envelope=envelope).double()
        distance = torch.linspace(0.05, 1.3, 40, dtype=torch.float64, requires_grad=True)
        expected = module(distance, backend="reference")
        value, slope = module.value_and_slope(distance.detach())
        torch.testing.assert_close(value, expected.detach(), rtol=1e-13, atol=1e-15)
        for k in range(7):
            (wanted,) = torch.autograd.grad(expected[:, k].sum(), distance, retain_graph=True)
            torch.testing.assert_close(slope[:, k], wanted, rtol=1e-11, atol=1e-11)


def test_seed_decides_the_weights() -> None:
    config = SchNetConfig(**SMALL)
    state = torch.get_rng_state()
    first, again, other = SchNet(config, seed=1), SchNet(config, seed=1), SchNet(config, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.embedding.weight, other.embedding.weight)
    bound = np.sqrt(6.0 / (config.n_basis + config.n_filters))
    assert float(first.filter_network.weight_in.detach().abs().max()) <= bound
    assert all(torch.equal(b.mix.bias, torch.zeros_like(b.mix.bias)) for b in first.blocks)


def test_configuration_survives_json() -> None:
    config = SchNetConfig(**SMALL, basis_alpha=2.5)
    assert SchNetConfig(**json.loads(json.dumps(config.to_dict()))) == config


def test_mlp_against_numpy() -> None:
    network = MLP(
        [3, 4, 2], activation_name="ssp", generator=torch.Generator().manual_seed(0), last_bias=False
    ).double()
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    expected = NUMPY["ssp"](values.numpy() @ p["layers.0.weight"].T + p["layers.0.bias"]) @ p["layers.1.weight"].T
    np.testing.assert_allclose(network(values).detach().numpy(), expected, rtol=1e-13)
    assert "layers.1.bias" not in p


def test_activations() -> None:
    x = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)
    for name, function in NUMPY.items():
        np.testing.assert_allclose(activation(name)(x).numpy(), function(x.numpy()), rtol=1e-12, atol=1e-15)
    assert float(shifted_softplus(torch.zeros((), dtype=torch.float64))) == 0.0


def test_wrong_choices_are_named() -> None:
    with pytest.raises(ValueError, match=r"`activation`: expected one of tanh, ssp, silu, got 'relu'"):
        SchNet(SchNetConfig(**SMALL, activation="relu"))
    with pytest.raises(ValueError, match=r"`basis`: expected one of 'expnormal', 'gaussian', got 'bessel'"):
        SchNet(SchNetConfig(**SMALL, basis="bessel"))
    with pytest.raises(ValueError, match=r"`n_blocks`: expected a positive integer, got 0"):
        SchNetConfig(n_types=3, n_blocks=0)
    with pytest.raises(ValueError, match=r"`widths`: expected an input and an output width, got \[3\]"):
        MLP([3], activation_name="tanh", generator=torch.Generator())


def test_network_through_a_table_is_the_network_with_interpolated_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    network = SchNet(SchNetConfig(**SMALL), seed=1).double()
    table = tabulate(network, 17)
    edges = Edges.from_pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), 3)
    types, distance = torch.tensor([1, 2, 3]), torch.tensor([0.3, 1.2, 1.6], dtype=torch.float64)
    monkeypatch.setattr(SchNet, "filters", lambda self, d, **_: interpolate(table, d))
    expected = network(types, edges, distance, half=True, backend="reference")
    for backend in ("kernel", "reference"):
        found = network(types, edges, distance, half=True, table=table, backend=backend)
        torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-13)


def test_a_table_needs_half_pairs() -> None:
    network, edges = SchNet(SchNetConfig(**SMALL)), Edges.from_pairs(torch.tensor([0, 1]), torch.tensor([1, 0]), 2)
    table = FilterTable(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), 1.5)
    with pytest.raises(ValueError, match="`edges` with `table`: expected one edge of each pair, got both directions"):
        network(torch.tensor([1, 2]), edges, torch.tensor([0.4, 0.4]), table=table)
