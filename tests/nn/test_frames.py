"""The path of training against the network on an edge list of each frame."""

from __future__ import annotations

import itertools

import pytest
import torch

from flashmd.nn import FrameEnergies, SchNet, SchNetConfig
from flashmd.ops import Edges

N_FRAMES, N_BEADS = 5, 6
TOLERANCE = 1e-12  # float64, sums of fewer than a hundred terms in another order


@pytest.mark.parametrize("basis", ["expnormal", "gaussian"])
def test_energies_and_forces_are_those_of_the_edge_list(basis: str) -> None:
    config = SchNetConfig(
        n_types=7, n_channels=12, n_filters=10, n_basis=9, basis=basis, cutoff_upper=0.9, n_blocks=2, readout=(8,)
    )
    network = SchNet(config, seed=1).double()
    types = torch.tensor([1, 2, 3, 3, 5, 6])
    # Some pairs lie beyond the cutoff.
    positions = torch.rand(N_FRAMES, N_BEADS, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    positions.requires_grad_()
    together = FrameEnergies(network, types)(positions)
    receiver, sender = zip(*itertools.permutations(range(N_BEADS), 2), strict=True)
    edges = Edges.from_pairs(torch.tensor(receiver), torch.tensor(sender), N_BEADS)
    for frame, energy in zip(positions, together, strict=True):
        distance = (frame[edges.sender] - frame[edges.receiver]).norm(dim=-1)
        inside = distance < config.cutoff_upper
        assert 0 < int(inside.sum()) < len(distance)
        kept = Edges.from_pairs(edges.receiver[inside], edges.sender[inside], N_BEADS)
        expected = network(types, kept, distance[inside], backend="reference").sum()
        torch.testing.assert_close(energy, expected, rtol=TOLERANCE, atol=TOLERANCE)
        own = torch.autograd.grad(energy, positions, retain_graph=True)[0]
        other = torch.autograd.grad(expected, positions, retain_graph=True)[0]
        torch.testing.assert_close(own, other, rtol=TOLERANCE, atol=TOLERANCE)


def test_frames_do_not_see_each_other() -> None:
    config = SchNetConfig(n_types=3, n_channels=8, n_filters=8, n_basis=6, n_blocks=1, readout=(4,))
    energies = FrameEnergies(SchNet(config).double(), torch.tensor([1, 2, 1]))
    positions = torch.rand(4, 3, 3, dtype=torch.float64)
    together = energies(positions)
    alone = torch.cat([energies(frame[None]) for frame in positions])
    torch.testing.assert_close(together, alone, rtol=TOLERANCE, atol=TOLERANCE)
