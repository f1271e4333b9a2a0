"""What is known of a residue before the network: where the flow starts, and which conformers there are.

Both are tables in the frame of the C-alpha. The start of the flow is a Gaussian around the mean of a residue type and
a local shape of the trace; it is already a right-handed residue. The conformers are cluster centres of each type. Under
the mixture of Gaussians around them the flow's velocity is known in closed form up to the weights of the conformers,
and the network, which sees the surroundings, corrects weights and velocity.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from flashmd.backmap.dataset import Structure
from flashmd.backmap.frames import N_SHAPES, local_frames, to_local
from flashmd.backmap.residues import N_SLOTS, RESIDUES, SLOT_CA, slot_mask

N_COORDINATES = 3 * N_SLOTS
_FLOOR = 0.005
"""nm, least standard deviation of a coordinate."""
_SHRINKAGE = 40.0
"""Residues that the moments of all shapes of a type count for in those of one shape."""
_ROUNDS = 25


class ResiduePrior(nn.Module):
    """Tables of residue types in local frames; lengths in nm, coordinates flattened to 42.

    Args:
        n_conformers: clusters of each type.
        spread: standard deviations of the start in units of those of structures.

    Attributes:
        mean: [20, N_SHAPES, 42], of the start.
        deviation: [20, N_SHAPES, 42], standard deviations of the start, zero for CA and empty slots.
        centres: [20, n_conformers, 42], conformers.
        width: [20, 42], standard deviations around a conformer.
        log_frequency: [20, N_SHAPES, n_conformers], of the conformers.
    """

    mean: Tensor
    deviation: Tensor
    centres: Tensor
    width: Tensor
    log_frequency: Tensor

    def __init__(self, n_conformers: int, spread: float) -> None:
        super().__init__()
        self.spread = spread
        n_types = len(RESIDUES)
        self.register_buffer("mean", torch.zeros(n_types, N_SHAPES, N_COORDINATES))
        self.register_buffer("deviation", torch.zeros(n_types, N_SHAPES, N_COORDINATES))
        self.register_buffer("centres", torch.zeros(n_types, n_conformers, N_COORDINATES))
        self.register_buffer("width", torch.ones(n_types, N_COORDINATES))
        self.register_buffer("log_frequency", torch.zeros(n_types, N_SHAPES, n_conformers))

    @torch.no_grad()
    def fit(self, structures: Iterable[Structure]) -> ResiduePrior:
        """Take all tables from structures."""
        types, shapes, local = _collect(structures)
        free = slot_mask().clone()
        free[:, SLOT_CA] = False
        for kind in range(len(RESIDUES)):
            own = types == kind
            if not bool(own.any()):
                continue
            values, shape = local[own], shapes[own]
            keep = free[kind].repeat_interleave(3)
            for index in range(N_SHAPES):
                mean, variance = _moments(values[shape == index], values)
                self.mean[kind, index] = mean * keep
                self.deviation[kind, index] = self.spread * variance.sqrt().clamp_min(_FLOOR) * keep
            centres, nearest = _cluster(values, self.centres.shape[1])
            self.centres[kind] = centres
            self.width[kind] = (values - centres[nearest]).square().mean(0).sqrt().clamp_min(_FLOOR)
            counts = torch.zeros(N_SHAPES, centres.shape[0], dtype=torch.float64)
            counts.index_put_((shape, nearest), torch.ones_like(values[:, 0]), accumulate=True)
            share = counts + _SHRINKAGE * counts.sum(0) / counts.sum() + 1e-3
            self.log_frequency[kind] = (share / share.sum(1, keepdim=True)).log()
        return self

    def start(self, types: Tensor, shapes: Tensor, noise: Tensor) -> Tensor:
        """Map standard normal numbers [n, 14, 3] to local coordinates [n, 14, 3] in nm."""
        return (self.mean[types, shapes] + self.deviation[types, shapes] * noise.flatten(1)).view(-1, N_SLOTS, 3)

    def nearest(self, types: Tensor, local: Tensor) -> Tensor:
        """Return the conformer closest to each residue: [n, 14, 3] to [n], int64."""
        scaled = local.flatten(1) / self.width[types]
        centres = self.centres / self.width[:, None]
        return (scaled[:, None] - centres[types]).square().sum(-1).argmin(-1)


def _collect(structures: Iterable[Structure]) -> tuple[Tensor, Tensor, Tensor]:
    """Return types [n], shapes [n] and local coordinates [n, 42], float64, of all residues."""
    types, shapes, local = [], [], []
    for structure in structures:
        positions = structure.positions[None].double()
        ca = positions[..., SLOT_CA, :]
        axes, shape = local_frames(ca, structure.chains.joined)
        types.append(structure.chains.types)
        shapes.append(shape[0])
        local.append(to_local(positions, ca, axes)[0].flatten(1))
    return torch.cat(types), torch.cat(shapes), torch.cat(local)


def _moments(values: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of one shape [42], drawn towards those of all shapes where it is rare."""
    weight = values.shape[0] / (values.shape[0] + _SHRINKAGE)
    own = values if values.shape[0] else pooled
    mean = weight * own.mean(0) + (1 - weight) * pooled.mean(0)
    spread = weight * (own - mean).square().mean(0) + (1 - weight) * (pooled - mean).square().mean(0)
    return mean, spread


def _cluster(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return k-means centres [count, 42] and the nearest centre of each row."""
    generator = torch.Generator().manual_seed(0)
    chosen = [int(torch.randint(values.shape[0], (1,), generator=generator))]
    distance = (values - values[chosen[0]]).square().sum(-1)
    while len(chosen) < count:
        chosen.append(int(torch.multinomial(distance + 1e-12, 1, generator=generator)))
        distance = torch.minimum(distance, (values - values[chosen[-1]]).square().sum(-1))
    centres = values[chosen].clone()
    nearest = torch.cdist(values, centres).argmin(-1)
    for _ in range(_ROUNDS):
        sums = torch.zeros_like(centres).index_add_(0, nearest, values)
        members = torch.bincount(nearest, minlength=count)[:, None]
        centres = torch.where(members > 0, sums / members.clamp_min(1), centres)
        nearest = torch.cdist(values, centres).argmin(-1)
    return centres, nearest
