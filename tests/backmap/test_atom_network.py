"""The published network: its size, its symmetries, and training and sampling with it."""

from pathlib import Path

import pytest
import torch

from flashmd.backmap.atom_network import AtomNetwork, AtomNetworkConfig, ca_prior
from flashmd.backmap.dataset import Structure
from flashmd.backmap.frames import to_world
from flashmd.backmap.graph import make_graph, make_trace
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.training import BackmapTraining, train
from tests.backmap.test_frames import rotation
from tests.backmap.test_training import write_chains

PUBLISHED_PARAMETERS = 177_470
UNUSED_TABLE = 21 * 32  # the publication counts a second table of residue types that it never reads


def world_velocity(network: AtomNetwork, structure: Structure, known: torch.Tensor) -> torch.Tensor:
    """Velocities of a structure's atoms, nm: [n_residues, 14, 3]."""
    trace = make_trace(structure.chains, structure.positions[None, :, 1], known)
    graph = make_graph(trace, [20], 4)
    local = (structure.positions - trace.ca[:, None]) @ trace.axes
    velocity = network(local, torch.full((20,), 0.4), ca_prior(network.config), trace, graph)[0]
    return to_world(velocity, torch.zeros_like(trace.ca), trace.axes)


@pytest.fixture
def network() -> AtomNetwork:
    torch.manual_seed(1)
    made = AtomNetwork(AtomNetworkConfig(width=8, n_layers=2, n_neighbors=6))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def test_size_is_that_of_the_publication() -> None:
    count = sum(parameter.numel() for parameter in AtomNetwork(AtomNetworkConfig()).parameters())
    assert count == PUBLISHED_PARAMETERS - UNUSED_TABLE


def test_velocity_turns_and_mirrors_with_the_protein(
    network: AtomNetwork, structures: list[Structure], ca_only: torch.Tensor
) -> None:
    original = world_velocity(network, structures[0], ca_only)
    assert original.abs().max() > 1e-3
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    for matrix in (rotation(3).float(), mirror):
        moved = Structure("moved", structures[0].chains, structures[0].positions @ matrix.T)
        assert torch.allclose(world_velocity(network, moved, ca_only), original @ matrix.T, atol=1e-5)


def test_ca_atoms_take_no_part(network: AtomNetwork, structures: list[Structure], ca_only: torch.Tensor) -> None:
    """CA atoms do not move, and a CA placed elsewhere changes nothing but the frames."""
    velocity = world_velocity(network, structures[0], ca_only)
    assert bool((velocity[:, 1] == 0).all())
    assert bool((velocity[~structures[0].chains.mask] == 0).all())


def test_proteins_in_one_row_do_not_see_each_other(
    network: AtomNetwork, structures: list[Structure], ca_only: torch.Tensor
) -> None:
    chains = structures[0].chains
    pair = torch.stack([structures[0].positions, structures[0].positions + 0.01])
    trace = make_trace(chains, pair[:, :, 1], ca_only)
    graph = make_graph(trace, [20, 20], 4)
    local = (pair.view(-1, 14, 3) - trace.ca[:, None]) @ trace.axes
    assert graph.sizes == (20, 20)
    found = network(local, torch.full((40,), 0.4), ca_prior(network.config), trace, graph)[0]
    alone_trace = make_trace(chains, pair[:1, :, 1], ca_only)
    alone_graph = make_graph(alone_trace, [20], 4)
    features = network._features(chains.types, torch.zeros(20, dtype=torch.int64), torch.arange(20), torch.zeros(20))
    assert features.shape == (20, 8)
    alone = network(local[:20], torch.full((20,), 0.4), ca_prior(network.config), alone_trace, alone_graph)[0]
    assert torch.allclose(found[:20], alone, atol=1e-5)


def test_it_trains_samples_and_survives_its_file(
    structures: list[Structure], ca_only: torch.Tensor, tmp_path: Path
) -> None:
    data = write_chains(structures, tmp_path / "chains.npz")
    settings = {"kind": "atoms", "width": 8, "n_layers": 1, "n_neighbors": 5}
    config = BackmapTraining.model_validate(
        {"data": data, "validation": data, "output": tmp_path / "run", "network": settings, "steps": 2}
        | {"batch_residues": 30, "report_every": 2}
    )
    trained = train(config)
    loaded = BackmapModel.load(tmp_path / "run" / "model.safetensors")
    assert isinstance(loaded.network, AtomNetwork)
    frames, seeds = structures[0].positions[None], torch.tensor([1])
    drawn = [m.sample(structures[0].chains, frames, ca_only, seeds=seeds, steps=2) for m in (trained, loaded)]
    assert torch.equal(drawn[0], drawn[1])
    assert (drawn[0] - frames[:, :, 1:2]).norm(dim=-1).max() < 1.0
