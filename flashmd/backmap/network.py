"""The velocity field of the flow: message passing between residues, every residue seeing its surroundings in its frame.

A residue is one node that carries the coordinates of its fourteen slots. Neighbours are the residues with the closest
C-alphas, so that the graph and everything that depends on the trace alone is built once for all steps of the flow.
A message holds the neighbour's atoms as the receiver's frame shows them: handedness is seen and rotations are not.
Each layer corrects the velocity; the next one sees where the atoms would then arrive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flashmd.backmap.frames import N_SHAPES, to_local, to_world
from flashmd.backmap.graph import MAX_OFFSET, WINDOW, Graph, Trace
from flashmd.backmap.prior import N_COORDINATES, ResiduePrior
from flashmd.backmap.residues import N_SLOTS, RESIDUES, slot_mask

LENGTH = 0.3
"""nm, coordinates enter the network divided by this."""
CONFORMER_CHANNELS = 32
"""Channels over which a residue's state is compared with the conformers of its type."""
_LEAST_VARIANCE = 1e-8
_LOG_SCALES = (-2.5, 1.0)
_N_RADIAL = 16
_RADIAL_END = 2.0


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a `VelocityNetwork`.

    Attributes:
        width: channels of a residue.
        edge_width: channels of a message.
        n_layers: rounds of messages.
        n_neighbors: neighbours of a residue, the residue itself not counted.
        n_conformers: clusters of each residue type.
        spread: standard deviations of the prior in units of those of structures.
        dropout: share of the channels of messages and of what is read from states that a step of training leaves out.
    """

    width: int = 128
    edge_width: int = 128
    n_layers: int = 5
    n_neighbors: int = 18
    n_conformers: int = 64
    spread: float = 0.5
    dropout: float = 0.0


def _radial(distance: Tensor) -> Tensor:
    """Return Gaussians of a distance: [..., 16]."""
    centres = torch.linspace(0.0, _RADIAL_END, _N_RADIAL, device=distance.device, dtype=distance.dtype)
    return torch.exp(-(((distance[..., None] - centres) * (_N_RADIAL / _RADIAL_END)) ** 2))


def _time_features(time: Tensor) -> Tensor:
    """Return sines and cosines of a time in [0, 1]: [n, 16]."""
    angles = time[:, None] * (math.pi * torch.arange(1, 9, device=time.device, dtype=time.dtype))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _gather(values: Tensor, index: Tensor) -> Tensor:
    """Return rows of a matrix: [n, c] and [n, k] to [n, k, c]."""
    return values.index_select(0, index.reshape(-1)).view(*index.shape, -1)


@dataclass(frozen=True)
class _Context:
    """What the surroundings change of the mixture over conformers.

    Attributes:
        log_odds: [n, k], added to the log-probabilities.
        shift: [n, 42], nm, added to all centres.
        log_scale: [n, 14], logarithm of a factor for the width of each atom around its centre.
    """

    log_odds: Tensor
    shift: Tensor
    log_scale: Tensor


@dataclass(frozen=True)
class _Mixture:
    """The flow under a mixture of Gaussians around conformers, at one point and time; lengths in nm.

    With x1 ~ N(m, s^2) and x0 ~ N(mu, p^2) in each coordinate, x_t has the variance V = t^2 s^2 + (1 - t)^2 p^2, and
    E[x1 - x0 | x_t] = m - mu + (t s^2 - (1 - t) p^2) / V (x_t - t m - (1 - t) mu).

    Attributes:
        at: [n, 42], x_t.
        mean: [n, 42], mu.
        time: [n, 1].
        start: [n, 42], p^2.
        width: [n, 42], s^2.
        centres: [n, k, 42], m.
        log_weight: [n, k], log-probability of the conformers given x_t and the trace's shape, up to a constant.
    """

    at: Tensor
    mean: Tensor
    time: Tensor
    start: Tensor
    width: Tensor
    centres: Tensor
    log_weight: Tensor

    @classmethod
    def of(cls, prior: ResiduePrior, local: Tensor, time: Tensor, trace: Trace) -> _Mixture:
        at, time = local.flatten(1), time[:, None]
        mean, start = prior.mean[trace.types, trace.shapes], prior.deviation[trace.types, trace.shapes].square()
        centres, width = prior.centres[trace.types], prior.width[trace.types].square()
        known = trace.known.repeat_interleave(3, dim=1)
        variance = torch.where(known, width, _variance(time, width, start))
        seen = torch.where(known, at, at - (1 - time) * mean)
        scale = torch.where(known, 1.0, time)
        used = slot_mask().to(at.device)[trace.types].repeat_interleave(3, dim=1) / variance
        linear = torch.bmm(centres, (seen * scale * used)[..., None])[..., 0]
        quadratic = torch.bmm(centres.square(), (scale**2 * used)[..., None])[..., 0]
        log_weight = prior.log_frequency[trace.types, trace.shapes] + linear - quadratic / 2
        return cls(at, mean, time, start, width, centres, log_weight)

    def velocity(self, context: _Context) -> Tensor:
        """Return the mean velocity: [n, 14, 3]."""
        weight = (self.log_weight + context.log_odds).softmax(-1)
        centre = torch.bmm(weight[:, None], self.centres)[:, 0] + context.shift
        scale = context.log_scale.clamp(*_LOG_SCALES).repeat_interleave(3, dim=1).exp()
        width = self.width * scale.square()
        gain = (self.time * width - (1 - self.time) * self.start) / _variance(self.time, width, self.start)
        rest = self.at - self.time * centre - (1 - self.time) * self.mean
        return (centre - self.mean + gain * rest).view(-1, N_SLOTS, 3)


def _variance(time: Tensor, width: Tensor, start: Tensor) -> Tensor:
    return (time**2 * width + (1 - time) ** 2 * start).clamp_min(_LEAST_VARIANCE)


class _Layer(nn.Module):
    """One round of messages, and what it changes."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, edge = config.width, config.edge_width
        self.norm = nn.LayerNorm(width)
        self.own = nn.Linear(width, edge)
        self.other = nn.Linear(width, edge, bias=False)
        self.atoms = nn.Linear(N_COORDINATES, edge, bias=False)
        self.trace = nn.Linear(_N_RADIAL + 12, edge, bias=False)
        self.offset = nn.Embedding(2 * MAX_OFFSET + 2, edge)
        self.message = nn.Linear(edge, edge)
        self.update = nn.Sequential(
            nn.Linear(width + edge + 2 * N_COORDINATES, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.readout = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU())
        self.velocity = nn.Linear(width, N_COORDINATES)
        self.preference = nn.Linear(width, CONFORMER_CHANNELS)
        self.shift = nn.Linear(width, N_COORDINATES)
        self.log_scale = nn.Linear(width, N_SLOTS)
        for last in (self.velocity, self.preference, self.shift, self.log_scale):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def static(self, graph: Graph) -> Tensor:
        """Return the part of the messages that depends on the trace only: [n, k, edge_width]."""
        features = torch.cat(
            [_radial(graph.shift.norm(dim=-1)), graph.shift / (3 * LENGTH), graph.rotation.flatten(-2)], dim=-1
        )
        part: Tensor = self.trace(features) + self.offset(graph.offset)
        return part

    def forward(
        self, state: Tensor, centred: Tensor, expected: Tensor, trace: Trace, neighbors: Tensor, static: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the new state [n, width], and what is read from it [n, width].

        Args:
            state: [n, width].
            centred: [n, 42], atoms relative to the mean of the prior, in units of `LENGTH` as all lengths here.
            expected: [n, 14, 3], where the atoms seem to go, local.
            trace: the residues.
            neighbors: [n, k].
            static: [n, k, edge_width].
        """
        normed = self.norm(state)
        world = to_world(expected, trace.ca / LENGTH, trace.axes).flatten(1)
        n_residues, count = neighbors.shape
        around = _gather(world, neighbors).view(n_residues, count * N_SLOTS, 3)
        seen = to_local(around, trace.ca / LENGTH, trace.axes).view(n_residues, count, N_COORDINATES)
        hidden = static + self.own(normed)[:, None] + _gather(self.other(normed), neighbors) + self.atoms(seen)
        message = self.dropout(nn.functional.silu(self.message(nn.functional.silu(hidden))).mean(1))
        state = state + self.update(torch.cat([normed, message, expected.flatten(1), centred], dim=-1))
        return state, self.dropout(self.readout(state))

    def changes(self, read: Tensor, conformers: Tensor, context: _Context, free: Tensor) -> tuple[_Context, Tensor]:
        """Return the context with what this layer adds, and a velocity [n, 14, 3] in units of `LENGTH`.

        Args:
            read: [n, width].
            conformers: [n, k, CONFORMER_CHANNELS].
            context: of the layers before.
            free: [n, 14, 1], one for atoms that move.
        """
        odds = torch.bmm(conformers, self.preference(read).to(conformers)[..., None])[..., 0]
        updated = _Context(
            context.log_odds + odds.to(context.log_odds),
            context.shift + LENGTH * self.shift(read),
            context.log_scale + self.log_scale(read),
        )
        return updated, self.velocity(read).view(-1, N_SLOTS, 3) * free


class VelocityNetwork(nn.Module):
    """Velocities of the atoms of a protein on their way from the prior to a structure.

    The velocity is that of a mixture over conformers, whose weights the layers correct, plus a correction of its own.
    Layers see where the atoms would arrive with the velocity found so far.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.types = nn.Embedding(len(RESIDUES), config.width)
        self.shapes = nn.Embedding(N_SHAPES, config.width)
        self.given = nn.Linear(N_SLOTS + 4 + 4 * WINDOW * 2, config.width)
        self.time = nn.Sequential(nn.Linear(16, config.width), nn.SiLU(), nn.Linear(config.width, config.width))
        self.conformers = nn.Parameter(torch.randn(len(RESIDUES), config.n_conformers, CONFORMER_CHANNELS) / 4)
        self.shape_of_conformer = nn.Sequential(
            nn.Linear(N_COORDINATES, 2 * CONFORMER_CHANNELS),
            nn.SiLU(),
            nn.Linear(2 * CONFORMER_CHANNELS, CONFORMER_CHANNELS),
        )
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.n_layers))

    def static(self, graph: Graph) -> list[Tensor]:
        """Return what every layer needs of the trace, to be reused for all times."""
        return [layer.static(graph) for layer in self._layers]

    @property
    def _layers(self) -> list[_Layer]:
        return [layer for layer in self.layers if isinstance(layer, _Layer)]

    def forward(
        self,
        local: Tensor,
        time: Tensor,
        prior: ResiduePrior,
        trace: Trace,
        graph: Graph,
        static: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return velocities in the local frames and the weights of the conformers.

        Args:
            local: [n, 14, 3], nm, atoms in the frames of their residues.
            time: [n], 0 at the prior and 1 at the structure.
            prior: start and conformers.
            trace: the residues.
            graph: their neighbours.
            static: result of `static`, computed here when not given.

        Returns:
            [n, 14, 3], nm, zero for known atoms and empty slots; and [n, n_conformers], log-weights up to a constant.
        """
        static = self.static(graph) if static is None else static
        free = trace.free.to(local)[..., None]
        mixture = _Mixture.of(prior, local, time, trace)
        at, left = local / LENGTH, (1 - time)[:, None, None]
        centred = ((mixture.at - mixture.mean) / LENGTH) * free.expand_as(local).flatten(1)
        state = self._initial(time, trace)
        conformers = (self.conformers + self.shape_of_conformer(prior.centres / LENGTH))[trace.types]
        context = _Context(
            torch.zeros_like(mixture.log_weight), torch.zeros_like(mixture.at), local.new_zeros(local.shape[:2])
        )
        correction = torch.zeros_like(local)
        for layer, part in zip(self._layers, static, strict=True):
            expected = at + left * (mixture.velocity(context) * free + correction) / LENGTH
            state, read = layer(state, centred, expected, trace, graph.neighbors, part)
            context, step = layer.changes(read, conformers, context, free)
            correction = correction + step * LENGTH
        return mixture.velocity(context) * free + correction, mixture.log_weight + context.log_odds

    def _initial(self, time: Tensor, trace: Trace) -> Tensor:
        """Return the states of the residues before any message: [n, width]."""
        given = torch.cat(
            [trace.known, trace.centroids / LENGTH, trace.has_centroid[:, None], trace.window.flatten(1)], dim=-1
        )
        residue: Tensor = self.types(trace.types) + self.shapes(trace.shapes)
        moment: Tensor = self.time(_time_features(time))
        context: Tensor = self.given(given)
        return residue + moment + context
