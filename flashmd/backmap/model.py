"""A trained backmapping model: prior and velocity network in one file, and the call that draws structures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import safetensors.torch
import torch
from torch import Tensor, nn

from flashmd.backmap.atom_network import AtomNetwork, AtomNetworkConfig, ca_prior
from flashmd.backmap.chains import Chains
from flashmd.backmap.flow import Correction, integrate
from flashmd.backmap.frames import to_local, to_world
from flashmd.backmap.graph import Graph, Trace, make_graph, make_trace
from flashmd.backmap.network import NetworkConfig, VelocityNetwork
from flashmd.backmap.prior import ResiduePrior
from flashmd.backmap.residues import N_SLOTS, SLOT_CA
from flashmd.errors import CheckpointError, message
from flashmd.files import write_atomically
from flashmd.tensor_files import read_tensors

FORMAT = "flashmd-backmap-1"
_KINDS: dict[type[NetworkConfig | AtomNetworkConfig], str] = {NetworkConfig: "residues", AtomNetworkConfig: "atoms"}
_BLOCK = 4096
"""Residues that go through the network at once."""


class Guidance(Protocol):
    """Physical terms that correct structures on their way."""

    def __call__(self, positions: Tensor, time: float, step: float, /) -> Tensor:
        """Return displacements [n_frames, n_residues, 14, 3], nm, after a step that ended at a time."""
        ...


class BackmapModel(nn.Module):
    """Draws all-atom structures that fit a trace.

    Args:
        config: sizes of the network; their kind chooses between the network of residues and the published one of atoms.

    Example:
        >>> import torch
        >>> from flashmd.backmap.chains import Chains
        >>> chains = Chains.from_sequence("GAWS")
        >>> model = BackmapModel(NetworkConfig(width=8, edge_width=8, n_layers=1, n_neighbors=3))
        >>> trace = 0.38 * torch.arange(4.0)[:, None, None] * torch.tensor([1.0, 0.0, 0.0]).expand(4, 14, 3)
        >>> known = torch.zeros(4, 14, dtype=torch.bool)
        >>> known[:, 1] = True
        >>> model.sample(chains, trace[None], known, seeds=torch.tensor([1]), steps=2).shape
        torch.Size([1, 4, 14, 3])
    """

    def __init__(self, config: NetworkConfig | AtomNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.prior: ResiduePrior
        self.network: VelocityNetwork | AtomNetwork
        if isinstance(config, AtomNetworkConfig):
            self.prior, self.network = ca_prior(config), AtomNetwork(config)
        else:
            self.prior = ResiduePrior(config.n_conformers, config.spread)
            self.network = VelocityNetwork(config)

    @torch.no_grad()
    def sample(
        self,
        chains: Chains,
        positions: Tensor,
        known: Tensor,
        *,
        seeds: Tensor | None = None,
        noise: Tensor | None = None,
        centroids: Tensor | None = None,
        has_centroid: Tensor | None = None,
        steps: int = 20,
        solver: str = "euler",
        guidance: Guidance | None = None,
    ) -> Tensor:
        """Draw one structure for each frame.

        Args:
            chains: the protein.
            positions: [n_frames, n_residues, 14, 3], nm, read where `known`.
            known: [n_residues, 14], bool; every CA must be known.
            seeds: [n_frames], int64, one random stream for each frame.
            noise: [n_frames, n_residues, 14, 3], standard normal numbers in place of `seeds`.
            centroids: [n_frames, n_residues, 3], nm, centres of side-chain heavy atoms.
            has_centroid: [n_residues], bool, where `centroids` are to be used.
            steps: steps of the flow.
            solver: "euler" or "heun".
            guidance: physical terms added to the flow.

        Returns:
            [n_frames, n_residues, 14, 3], nm; known atoms are bitwise those of `positions`.
        """
        noise = self._noise(chains, positions, known, seeds, noise)
        frames = max(1, _BLOCK // chains.n_residues)
        parts = []
        for begin in range(0, positions.shape[0], frames):
            chosen = slice(begin, begin + frames)
            given = None if centroids is None else centroids[chosen]
            trace = make_trace(chains, positions[chosen, :, SLOT_CA], known, given, has_centroid)
            parts.append(self._block(chains, positions[chosen], trace, noise[chosen], steps, solver, guidance))
        filled = torch.where(known[:, :, None], positions, torch.cat(parts))
        return torch.where(chains.mask[:, :, None], filled, filled[..., SLOT_CA, None, :])

    def _block(
        self,
        chains: Chains,
        positions: Tensor,
        trace: Trace,
        noise: Tensor,
        steps: int,
        solver: str,
        guidance: Guidance | None,
    ) -> Tensor:
        shape = positions.shape
        graph = self.graph(trace, [chains.n_residues] * shape[0])
        rows = positions.reshape(-1, N_SLOTS, 3)
        given = to_local(rows, trace.ca, trace.axes)
        drawn = self.prior.start(trace.types, trace.shapes, noise.reshape(-1, N_SLOTS, 3).to(rows))
        start = torch.where(trace.known[..., None], given, drawn)

        correction = None if guidance is None else _correction(guidance, trace, rows, shape)
        local = integrate(
            self.network, self.prior, start, trace, graph, steps=steps, solver=solver, correction=correction
        )
        return to_world(local, trace.ca, trace.axes).view(shape)

    def graph(self, trace: Trace, sizes: Sequence[int]) -> Graph:
        """Connect the residues of a trace as this network expects them."""
        return make_graph(trace, sizes, self.config.n_neighbors)

    @staticmethod
    def _noise(chains: Chains, positions: Tensor, known: Tensor, seeds: Tensor | None, noise: Tensor | None) -> Tensor:
        """Check the arguments and return standard normal numbers [n_frames, n_residues, 14, 3]."""
        expected = (positions.shape[0], chains.n_residues, N_SLOTS, 3)
        if tuple(positions.shape) != expected:
            fix = "pad coordinates with `Chains.pad`"
            raise ValueError(message("`positions`", f"shape {expected}", f"{tuple(positions.shape)}", fix))
        if not bool(known[:, SLOT_CA].all()):
            missing = chains.labels[int((~known[:, SLOT_CA]).nonzero()[0, 0])]
            raise ValueError(message("`known`", "a CA for every residue", f"none for {missing}", "give all CA atoms"))
        if (seeds is None) == (noise is None):
            got = "neither" if seeds is None else "both"
            raise ValueError(message("random numbers", "`seeds` or `noise`", got, "pass one of the two"))
        if noise is None:
            streams = [] if seeds is None else seeds.tolist()
            return torch.stack([_normal(seed, expected[1:]) for seed in streams])
        if tuple(noise.shape) != expected:
            raise ValueError(
                message("`noise`", f"shape {expected}", f"{tuple(noise.shape)}", "draw one for each frame")
            )
        return noise

    def save(self, path: str | Path, *, card: Mapping[str, object] | None = None) -> None:
        """Write prior, network and a description of the training to a safetensors file."""
        metadata = {
            "format": FORMAT,
            "config": json.dumps({"kind": _KINDS[type(self.config)], **asdict(self.config)}),
            "card": json.dumps(dict(card or {})),
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        write_atomically(Path(path), safetensors.torch.save(tensors, metadata), advice="save again")

    @classmethod
    def load(cls, path: str | Path) -> BackmapModel:
        """Read a model.

        Raises:
            CheckpointError: the file is missing, damaged or holds something else.
        """
        fix = "pass a file written by `flashmd train-backmap`"
        metadata, tensors = read_tensors(path, what="model", expected="a readable safetensors file", fix=fix)
        if metadata.get("format") != FORMAT:
            got = f"format {metadata.get('format')!r}"
            raise CheckpointError(message(f"model {path}", f"a backmapping model ({FORMAT})", got, fix))
        sizes = json.loads(metadata["config"])
        kind = {name: each for each, name in _KINDS.items()}[sizes.pop("kind")]
        model = cls(kind(**sizes))
        model.load_state_dict(tensors)
        return model.eval()


def _correction(guidance: Guidance, trace: Trace, given: Tensor, shape: torch.Size) -> Correction:
    """Let terms for positions of whole frames act on local coordinates.

    Args:
        guidance: the terms.
        trace: residues of all frames in one row.
        given: [n, 14, 3], nm, positions of known atoms.
        shape: (n_frames, n_residues, 14, 3).
    """

    def correct(local: Tensor, time: float, step: float) -> Tensor:
        world = torch.where(trace.known[..., None], given, to_world(local, trace.ca, trace.axes))
        moved = guidance(world.view(shape), time, step).view(-1, N_SLOTS, 3)
        return moved @ trace.axes * trace.free[..., None]

    return correct


def _normal(seed: int, shape: Sequence[int]) -> Tensor:
    """Return standard normal numbers of one stream, the same on every device."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))
