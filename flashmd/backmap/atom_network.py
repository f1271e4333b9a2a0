"""The published velocity field: an EGNN over all heavy atoms, kept to compare with and to reproduce the method.

Nodes are the atoms other than CA; a node knows its residue type, its name, its place in the protein and the time. Each
layer connects every atom with the nearest atoms of its protein as they then stand. The network sees distances only, so
that left and right are the same to it: see `VelocityNetwork` for the field that sees handedness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flashmd.backmap.frames import to_world
from flashmd.backmap.graph import Graph, Trace
from flashmd.backmap.prior import ResiduePrior
from flashmd.backmap.residues import ATOMS, N_SLOTS, RESIDUES, SLOT_CA, slot_mask
from flashmd.nn.egnn import EGNNLayer

_DISTANCE_SCALES = (1.0, 2.0, 4.0, 8.0)
_INDEX_PERIODS = (10.0, 20.0, 40.0, 80.0)
_INDEX_DECAY = 100.0
_INDEX_SCALE = 1000.0
_N_EDGE_FEATURES = 1 + 2 * len(_DISTANCE_SCALES) + 2 * len(_INDEX_PERIODS)


@dataclass(frozen=True)
class AtomNetworkConfig:
    """Sizes of an `AtomNetwork`, those of the publication by default.

    Attributes:
        width: channels of an atom.
        n_layers: rounds of messages.
        n_neighbors: nearest atoms, the atom itself counted.
        noise: standard deviation of the start around CA, nm.
    """

    width: int = 32
    n_layers: int = 6
    n_neighbors: int = 15
    noise: float = 0.003


def atom_names() -> Tensor:
    """Return a number for the name of the atom in each slot: [20, 14], int64; 0 for empty slots."""
    names = sorted({name for atoms in ATOMS.values() for name in atoms})
    table = torch.zeros(len(RESIDUES), N_SLOTS, dtype=torch.int64)
    for kind, residue in enumerate(RESIDUES):
        for place, name in enumerate(ATOMS[residue]):
            table[kind, place] = 1 + names.index(name)
    return table


def ca_prior(config: AtomNetworkConfig) -> ResiduePrior:
    """Return the published start of the flow: all atoms of a residue at its CA, with a little noise."""
    prior = ResiduePrior(1, 1.0)
    free = slot_mask().clone()
    free[:, SLOT_CA] = False
    prior.deviation.copy_(config.noise * free.repeat_interleave(3, dim=1)[:, None].expand_as(prior.deviation))
    return prior


class AtomNetwork(nn.Module):
    """Velocities of atoms by an E(3)-equivariant network.

    Args:
        config: sizes.
    """

    def __init__(self, config: AtomNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.residues = nn.Embedding(len(RESIDUES) + 1, config.width)
        self.names = nn.Embedding(int(atom_names().max()) + 1, config.width)
        self.layers = nn.ModuleList(EGNNLayer(config.width, _N_EDGE_FEATURES) for _ in range(config.n_layers))

    def static(self, graph: Graph) -> list[Tensor]:  # noqa: ARG002 (signature of VelocityNetwork)
        """Return nothing: neighbours depend on the atoms' positions."""
        return []

    def forward(
        self,
        local: Tensor,
        time: Tensor,
        prior: ResiduePrior,  # noqa: ARG002 (signature of VelocityNetwork)
        trace: Trace,
        graph: Graph,
        static: list[Tensor] | None = None,  # noqa: ARG002 (signature of VelocityNetwork)
    ) -> tuple[Tensor, Tensor]:
        """Return velocities in the local frames, see `VelocityNetwork.forward`; the prior has one conformer."""
        nodes = slot_mask().to(local.device)[trace.types]
        nodes[:, SLOT_CA] = False
        residue, place = nodes.nonzero().T
        positions = to_world(local, trace.ca, trace.axes)[residue, place]
        protein = (
            torch.arange(len(graph.sizes)).repeat_interleave(torch.tensor(graph.sizes)).to(residue.device)[residue]
        )
        index = torch.arange(residue.shape[0], device=local.device)
        features = self._features(trace.types[residue], place, index, time[residue])
        start = positions
        for layer in self.layers:
            neighbors = _nearest(positions, protein, self.config.n_neighbors)
            features, positions = layer(features, positions, neighbors, _edges(positions, neighbors, index))
        velocity = torch.zeros_like(local)
        velocity[residue, place] = ((positions - start)[:, None] @ trace.axes[residue])[:, 0].to(velocity)
        return velocity * trace.free[..., None], local.new_zeros(local.shape[0], 1)

    def _features(self, types: Tensor, place: Tensor, index: Tensor, time: Tensor) -> Tensor:
        """Return the channels of the atoms before any message: [n_atoms, width]."""
        half = torch.arange(self.config.width // 2, device=index.device)
        angle = index[:, None] / _INDEX_SCALE ** (2 * half / self.config.width)
        encoded = torch.cat([angle.sin(), angle.cos()], dim=-1).to(time)
        names = atom_names().to(index.device)[types, place]
        known: Tensor = self.residues(types + 1) + self.names(names)
        return known + encoded + time[:, None]


def _nearest(positions: Tensor, protein: Tensor, count: int) -> Tensor:
    """Return the nearest atoms of the same protein, itself among them: [n, count], int64."""
    parts, begin = [], 0
    for part in positions.detach().split(torch.unique_consecutive(protein, return_counts=True)[1].tolist()):
        distance = torch.cdist(part.float(), part.float(), compute_mode="donot_use_mm_for_euclid_dist")
        near = distance.topk(min(count, part.shape[0]), dim=-1, largest=False).indices
        own = torch.arange(part.shape[0], device=part.device)[:, None].expand(-1, count - near.shape[1])
        parts.append(torch.cat([near, own], dim=-1) + begin)
        begin += part.shape[0]
    return torch.cat(parts)


def _edges(positions: Tensor, neighbors: Tensor, index: Tensor) -> Tensor:
    """Return functions of distance and of place along the protein: [n, k, 17]."""
    square = (positions[:, None] - positions[neighbors]).square().sum(-1)
    waves = square[..., None] / square.new_tensor(_DISTANCE_SCALES)
    steps = (index[neighbors] - index[:, None]).to(square)
    angle = 2 * math.pi * steps[..., None] / steps.new_tensor(_INDEX_PERIODS)
    decay = torch.exp(-steps.abs() / _INDEX_DECAY)[..., None]
    return torch.cat([square[..., None], waves.sin(), waves.cos(), decay * angle.sin(), decay * angle.cos()], dim=-1)
