"""Frames on which a compiled network is calibrated and measured: those of a template and perturbed copies of them.

Thermal motion visits distances that a few given frames lack. Noise covers their neighbourhood, a contraction covers
distances shorter than any of theirs. Calibration and measurement draw different noise.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.nn import SchNet, half_edges
from flashmd.nn.closed_form import energy_and_slope
from flashmd.ops import Edges, edge_geometry, neighbor_list
from flashmd.potential.pair_forces import evaluate_pairs
from flashmd.protocols import Evaluation
from flashmd.system import System

MOST_SYSTEMS = 4
"""Systems taken from a template; they are replicas or frames of few molecules as a rule."""
WANTED_ATOMS = 512
"""Small molecules are perturbed several times to come near this number of atoms."""
NOISE = 0.01
"""Standard deviation of every coordinate, nm: bonds and angles at room temperature vary by about as much."""
CONTRACTION = 0.9
"""Factor of all lengths of a contracted copy."""


@dataclass(frozen=True)
class Samples:
    """Frames in double precision with the energies and forces of the network.

    Attributes:
        system: all frames.
        pairs: one edge of each pair.
        distance: [n_pairs], nm.
        exact: energies and forces of the network.
        kinds: [n_atoms], int64: 0 for frames as given, 1 for noise, 2 for contraction.
        dtype: of the template; it holds the positions exactly.
    """

    system: System
    pairs: Edges
    distance: Tensor
    exact: Evaluation
    kinds: Tensor
    dtype: torch.dtype


def draw_samples(network: SchNet, template: System, *, seed: int, backend: str) -> Samples:
    """Perturb the frames of a template and evaluate a network there.

    Args:
        network: in double precision.
        template: one or more systems.
        seed: of the noise.
        backend: "kernel" or "reference".

    Raises:
        ValueError: no two atoms of the template are within the cutoff.
    """
    systems = template.to(dtype=torch.float64).split()
    chosen = [systems[k * len(systems) // MOST_SYSTEMS] for k in range(MOST_SYSTEMS)][-len(systems) :]
    frames = System.concatenate(chosen)
    n_copies = min(max(WANTED_ATOMS // max(frames.n_atoms, 1), 1), 16)
    generator = torch.Generator().manual_seed(seed)
    noisy = _shaken(frames.replicate(n_copies), generator)
    contracted = _scaled(_shaken(frames.replicate(n_copies), generator), CONTRACTION)
    parts = [frames, noisy, contracted]
    system = System.concatenate([dataclasses.replace(part, interactions={}) for part in parts])
    dtype = template.positions.dtype
    system = system.to(dtype=dtype).to(dtype=torch.float64)
    kinds = torch.cat([torch.full_like(part.types, kind) for kind, part in enumerate(parts)])
    pairs = half_edges(neighbor_list(system, network.config.cutoff_upper, backend=backend))
    if not pairs.n_edges:
        expected = f"atoms within the cutoff of {network.config.cutoff_upper} nm"
        fix = "pass a structure such as the dynamics will visit"
        raise ValueError(message("`template`", expected, "no pair of them", fix))
    distance = edge_geometry(system, pairs, backend=backend)[1]

    def function(distance: Tensor) -> tuple[Tensor, Tensor]:
        return energy_and_slope(network, system.types, pairs, distance, backend=backend)

    exact = evaluate_pairs(system, pairs, function, backend=backend)
    return Samples(system, pairs, distance, exact, kinds, dtype)


def _shaken(system: System, generator: torch.Generator) -> System:
    noise = torch.randn(system.n_atoms, 3, generator=generator, dtype=torch.float64) * NOISE
    return system.with_positions(system.positions + noise.to(system.positions.device))


def _scaled(system: System, factor: float) -> System:
    return dataclasses.replace(system, positions=system.positions * factor, cell=system.cell * factor)


def errors_of(samples: Samples, result: Evaluation) -> tuple[float, float]:
    """Return the relative force error of the worst kind of frame and the energy error per atom, kJ/mol."""
    difference = (result.forces.double() - samples.exact.forces).square().sum(1)
    square = samples.exact.forces.square().sum(1)
    n_kinds = 3
    sums = square.new_zeros(2, n_kinds).index_add_(1, samples.kinds, torch.stack([difference, square]))
    ratio = torch.where(sums[0] > 0.0, sums[0] / sums[1], 0.0).sqrt()
    energy = (result.energy - samples.exact.energy) / samples.system.ptr.diff().clamp_min(1)
    # A result that is not a number must not pass for a small error.
    return float(ratio.nan_to_num(torch.inf).max()), float(energy.square().mean().sqrt())
