"""Conditional flow matching between the prior and structures, and the integration of the learned flow.

With x0 from the prior and x1 a structure, both in the frames of the trace, the path is x_t = (1 - t) x0 + t x1 and the
network learns its velocity u = x1 - x0 (Lipman et al., arXiv:2210.02747, eq. 23). Known atoms stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flashmd.backmap.atom_network import AtomNetwork
from flashmd.backmap.graph import Graph, Trace
from flashmd.backmap.network import VelocityNetwork
from flashmd.backmap.prior import ResiduePrior
from flashmd.backmap.residues import BONDS, N_SLOTS, RESIDUES, RINGS, SLOT_C, SLOT_CA, SLOT_N, SLOT_O, slot

PATH_NOISE = 0.003
"""nm, noise on x_t, which makes the field smooth around the path."""
SOFTENING = 0.03
"""nm, errors of a velocity below this are squared, beyond it they count linearly."""
LOSS_WEIGHTS = (1.0, 10.0, 0.02)
"""Weights of the parts of the loss."""
LATE = 0.6
"""Time from which distances of the predicted structure are compared."""
_LINK = ((SLOT_C, SLOT_N), (SLOT_CA, SLOT_N), (SLOT_C, SLOT_CA), (SLOT_O, SLOT_N), (SLOT_CA, SLOT_CA))


def rigid_pairs() -> Tensor:
    """Return which pairs of slots have a fixed distance, by bonds, angles or rings: [20, 14, 14], bool."""
    table = torch.zeros(len(RESIDUES), N_SLOTS, N_SLOTS, dtype=torch.bool)
    for kind, name in enumerate(RESIDUES):
        bonded = torch.zeros(N_SLOTS, N_SLOTS, dtype=torch.bool)
        for first, second in BONDS[name]:
            bonded[slot(name, first), slot(name, second)] = bonded[slot(name, second), slot(name, first)] = True
        table[kind] = bonded | (bonded.float() @ bonded.float() > 0)
        for ring in RINGS.get(name, ()):
            members = torch.tensor([slot(name, atom) for atom in ring])
            table[kind, members[:, None], members] = name != "PRO"
    return table.triu(1)


@dataclass(frozen=True)
class Batch:
    """Proteins in one row with their structures.

    Attributes:
        trace: residues.
        seen: the same as the network is shown them, with noise on the places of C-alphas relative to each other.
        graph: neighbours, as shown.
        structure: [n, 14, 3], nm, in the local frames.
        time: [n], the same within a protein.
    """

    trace: Trace
    seen: Trace
    graph: Graph
    structure: Tensor
    time: Tensor


def flow_loss(network: VelocityNetwork | AtomNetwork, prior: ResiduePrior, batch: Batch, noise: Tensor) -> Tensor:
    """Return the errors of velocities, of late distances and of conformers.

    Args:
        network: velocity field.
        prior: start of the flow.
        batch: structures with times.
        noise: [2, n, 14, 3], standard normal numbers of the prior and of the path.

    Returns:
        [3]: mean error of the velocity of a free atom, nm; `distance_loss`, nm; cross-entropy of the conformers.
    """
    trace, target, time = batch.trace, batch.structure, batch.time[:, None, None]
    free = trace.free.to(target)[..., None]
    start = torch.where(trace.free[..., None], prior.start(trace.types, trace.shapes, noise[0]), target)
    at = (1 - time) * start + time * target + PATH_NOISE * (1 - time) * noise[1] * free
    velocity, log_weight = network(at, batch.time, prior, batch.seen, batch.graph)
    error = (velocity - (target - start)) * free
    length = (error.square().sum(-1) + SOFTENING**2).sqrt() - SOFTENING
    velocity_loss = (length * free[..., 0]).sum() / free.sum().clamp_min(1)
    conformer_loss = nn.functional.cross_entropy(log_weight, prior.nearest(trace.types, target))
    return torch.stack([velocity_loss, distance_loss(at + (1 - time) * velocity, batch), conformer_loss])


def _distances(local: Tensor, trace: Trace, pairs: Tensor, links: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances over all rigid pairs inside residues and over the peptide bonds to the next residue."""
    residue, first, second = pairs
    inside = (local[residue, first] - local[residue, second]).norm(dim=-1)
    world = local @ trace.axes.transpose(1, 2) + trace.ca[:, None]
    own, other = torch.tensor(_LINK, device=local.device).T
    across = (world[links][:, own] - world[links + 1][:, other]).norm(dim=-1)
    return inside, across


def distance_loss(predicted: Tensor, batch: Batch) -> Tensor:
    """Return the mean error of bonded and angle distances of late structures, weighted towards the end, nm."""
    trace = batch.trace
    late = batch.time > LATE
    table = rigid_pairs().to(predicted.device)
    pairs = (table[trace.types] & late[:, None, None]).nonzero().T
    follows = trace.place[1:] - trace.place[:-1] == 1
    links = (follows & late[1:]).nonzero()[:, 0]
    wanted = _distances(batch.structure, trace, pairs, links)
    got = _distances(predicted, trace, pairs, links)
    weight = 0.1 / (1.1 - batch.time)
    inside = ((got[0] - wanted[0]).abs() * weight[pairs[0]]).sum()
    across = ((got[1] - wanted[1]).abs() * weight[links, None]).sum()
    count = torch.as_tensor(got[0].numel() + got[1].numel(), device=predicted.device).clamp_min(1)
    return (inside + across) / count


Correction = Callable[[Tensor, float, float], Tensor]
"""Displacement of world positions [n, 14, 3] to add after a step that ends at a time and took a time."""


def integrate(
    network: VelocityNetwork | AtomNetwork,
    prior: ResiduePrior,
    start: Tensor,
    trace: Trace,
    graph: Graph,
    *,
    steps: int,
    solver: str = "euler",
    correction: Correction | None = None,
) -> Tensor:
    """Follow the flow from the prior to structures.

    Args:
        network: velocity field.
        prior: that the network was trained with.
        start: [n, 14, 3], nm, local; known atoms at their places.
        trace: residues.
        graph: neighbours.
        steps: steps of equal length.
        solver: "euler", one evaluation a step, or "heun", two.
        correction: called after every step with local positions.

    Returns:
        [n, 14, 3], nm, local.
    """
    static = network.static(graph)
    local, length = start, 1.0 / steps

    def velocity(at: Tensor, time: float) -> Tensor:
        velocities: Tensor = network(at, torch.full_like(at[:, 0, 0], time), prior, trace, graph, static)[0]
        return velocities

    for step in range(steps):
        time = step * length
        move = velocity(local, time)
        if solver == "heun" and step < steps - 1:
            move = (move + velocity(local + length * move, time + length)) / 2
        local = local + length * move
        if correction is not None:
            local = local + correction(local, time + length, length)
    return local
