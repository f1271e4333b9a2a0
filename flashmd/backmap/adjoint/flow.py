"""A backmapping model as adjoint matching sees it: a row of coordinates for each residue, prior, velocity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.adjoint.matching import Correction, Velocity
from flashmd.backmap.adjoint.process import GaussianPrior
from flashmd.backmap.atom_network import AtomNetwork
from flashmd.backmap.chains import Chains
from flashmd.backmap.frames import to_local, to_world
from flashmd.backmap.graph import Graph, Trace, make_trace
from flashmd.backmap.model import BackmapModel, Guidance
from flashmd.backmap.network import VelocityNetwork
from flashmd.backmap.prior import ResiduePrior
from flashmd.backmap.residues import N_SLOTS, SLOT_CA


@dataclass(frozen=True)
class ModelFlow:
    """The flow of a model for some frames of one protein.

    The state is [n, 42]: the local coordinates of all slots of each of the n residues of all frames, nm.

    Attributes:
        chains: the protein.
        trace: its residues in all frames.
        graph: their neighbours.
        tables: of the model, what it knows of residues.
        prior: of the atoms that move; the others stand at their given places.
    """

    chains: Chains
    trace: Trace
    graph: Graph
    tables: ResiduePrior
    prior: GaussianPrior

    @classmethod
    def of(cls, model: BackmapModel, chains: Chains, positions: Tensor, known: Tensor) -> ModelFlow:
        """Prepare some frames.

        Args:
            model: whose prior is used.
            chains: the protein.
            positions: [n_frames, n_residues, 14, 3], nm, read where `known`.
            known: [n_residues, 14], bool.
        """
        trace = make_trace(chains, positions[:, :, SLOT_CA], known)
        graph = model.graph(trace, [chains.n_residues] * positions.shape[0])
        given = to_local(positions.reshape(-1, N_SLOTS, 3), trace.ca, trace.axes)
        mean = model.prior.mean[trace.types, trace.shapes].view(-1, N_SLOTS, 3)
        start = torch.where(trace.known[..., None], given, mean).flatten(1)
        variance = model.prior.deviation[trace.types, trace.shapes].square()
        free = trace.free.repeat_interleave(3, dim=1)
        prior = GaussianPrior.from_covariance(start, torch.diag_embed(variance), free)
        return cls(chains, trace, graph, model.prior, prior)

    def velocity(self, network: VelocityNetwork | AtomNetwork) -> Velocity:
        """Return the velocity of a network whose parameters stay as they are."""
        static = network.static(self.graph)

        def velocity(state: Tensor, time: float) -> Tensor:
            times = state.new_full((state.shape[0],), time)
            local = state.view(-1, N_SLOTS, 3)
            moved: Tensor = network(local, times, self.tables, self.trace, self.graph, static)[0]
            return moved.flatten(1)

        return velocity

    def correction(self, guidance: Guidance | None) -> Correction | None:
        """Return physics in the flow as displacements of the state, constants in derivatives."""
        if guidance is None:
            return None

        def correct(state: Tensor, time: float, step: float) -> Tensor:
            with torch.no_grad():
                moved = guidance(self.positions(state), time, step).view(-1, N_SLOTS, 3)
            return (moved @ self.trace.axes * self.trace.free[..., None]).flatten(1)

        return correct

    def positions(self, state: Tensor) -> Tensor:
        """Return world coordinates [n_frames, n_residues, 14, 3], nm."""
        world = to_world(state.view(-1, N_SLOTS, 3), self.trace.ca, self.trace.axes)
        return world.view(-1, self.chains.n_residues, N_SLOTS, 3)

    def gradient(self, world: Tensor) -> Tensor:
        """Return a gradient by world coordinates [n_frames, n_residues, 14, 3] as one by the state."""
        local = world.to(self.trace.ca).view(-1, N_SLOTS, 3) @ self.trace.axes
        return (local * self.trace.free[..., None]).flatten(1)
