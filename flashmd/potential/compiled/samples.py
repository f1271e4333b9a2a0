"""Frames on which a compiled network is calibrated and measured: those of a template and perturbed copies of them.

Thermal motion visits distances that a few given frames lack. Noise covers their neighbourhood, a contraction covers
distances shorter than any of theirs. Calibration and measurement draw different noise.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.nn import SchNet, half_edges
from flashmd.ops import Edges, edge_geometry, neighbor_list
from flashmd.potential.compiled.evaluators import Evaluator
from flashmd.potential.pair_forces import evaluate_pairs
from flashmd.protocols import Evaluation
from flashmd.system import System

MOST_SYSTEMS = 4
"""Systems taken from a template; they are replicas or frames of few molecules as a rule."""
ATOMS_AT_ONCE = 128
"""Systems up to this size are evaluated together; the exact network needs much memory for each pair."""
NOISE = 0.01
"""Standard deviation of every coordinate, nm: bonds and angles at room temperature vary by about as much."""
CONTRACTION = 0.9
"""Factor of all lengths of a contracted copy."""


@dataclass(frozen=True)
class Samples:
    """Frames of one kind in double precision with the energies and forces of the network.

    Attributes:
        kind: "given", "noisy" or "contracted".
        system: the frames.
        pairs: one edge of each pair.
        distance: [n_pairs], nm.
        exact: energies and forces of the network.
        dtype: of the template; it holds the positions exactly.
    """

    kind: str
    system: System
    pairs: Edges
    distance: Tensor
    exact: Evaluation
    dtype: torch.dtype


def draw_samples(network: SchNet, template: System, *, n_atoms: int, seed: int, backend: str) -> list[Samples]:
    """Perturb the frames of a template and evaluate a network there.

    Args:
        network: in double precision.
        template: one or more systems.
        n_atoms: atoms of each kind to aim at: small molecules are perturbed several times, large ones once.
        seed: of the noise.
        backend: "kernel" or "reference".

    Raises:
        ValueError: no two atoms of the template are within the cutoff.
    """
    systems = [dataclasses.replace(each, interactions={}) for each in template.to(dtype=torch.float64).split()]
    n_systems = min(max(n_atoms * len(systems) // max(template.n_atoms, 1), 1), MOST_SYSTEMS, len(systems))
    frames = [systems[k * len(systems) // n_systems] for k in range(n_systems)]
    n_copies = max(n_atoms // max(sum(each.n_atoms for each in frames), 1), 1)
    generator = torch.Generator().manual_seed(seed)
    kinds = {
        "given": frames,
        "noisy": [_shaken(each, generator) for each in frames * n_copies],
        "contracted": [_scaled(_shaken(each, generator), CONTRACTION) for each in frames * n_copies],
    }
    dtype = template.positions.dtype
    samples = [
        _evaluated(network, kind, System.concatenate(group).to(dtype=dtype), backend)
        for kind, members in kinds.items()
        for group in _groups(members)
    ]
    if not any(each.pairs.n_edges for each in samples):
        expected = f"atoms within the cutoff of {network.config.cutoff_upper} nm"
        fix = "pass a structure such as the dynamics will visit"
        raise ValueError(message("`template`", expected, "no pair of them", fix))
    return samples


def _evaluated(network: SchNet, kind: str, rounded: System, backend: str) -> Samples:
    system = rounded.to(dtype=torch.float64)
    pairs = half_edges(neighbor_list(system, network.config.cutoff_upper, backend=backend))
    distance = edge_geometry(system, pairs, backend=backend)[1]

    def function(distance: Tensor) -> tuple[Tensor, Tensor]:
        return network.energy_and_slope(system.types, pairs, distance, backend=backend)

    exact = evaluate_pairs(system, pairs, function, backend=backend)
    return Samples(kind, system, pairs, distance, exact, rounded.positions.dtype)


def _groups(systems: list[System]) -> list[list[System]]:
    """Put small systems together."""
    groups: list[list[System]] = []
    n_atoms = 0
    for system in systems:
        n_atoms += system.n_atoms
        if not groups or n_atoms > ATOMS_AT_ONCE:
            groups.append([])
            n_atoms = system.n_atoms
        groups[-1].append(system)
    return groups


def _shaken(system: System, generator: torch.Generator) -> System:
    noise = torch.randn(system.n_atoms, 3, generator=generator, dtype=torch.float64) * NOISE
    return system.with_positions(system.positions + noise.to(system.positions.device))


def _scaled(system: System, factor: float) -> System:
    return dataclasses.replace(system, positions=system.positions * factor, cell=system.cell * factor)


def errors_of(evaluator: Evaluator, samples: list[Samples]) -> tuple[float, float]:
    """Return the relative force error of the worst kind of frame and the energy error of an atom, kJ/mol."""
    sums: dict[str, tuple[float, float]] = {}
    energies = []
    for part in samples:
        result = evaluator.evaluate(part.system.to(dtype=part.dtype), part.pairs)
        difference = float((result.forces.double() - part.exact.forces).square().sum())
        square = float(part.exact.forces.square().sum())
        before = sums.get(part.kind, (0.0, 0.0))
        sums[part.kind] = before[0] + difference, before[1] + square
        energies.append((result.energy - part.exact.energy) / part.system.ptr.diff().clamp_min(1))
    ratios = [_root_ratio(difference, square) for difference, square in sums.values()]
    return max(ratios), float(torch.cat(energies).square().mean().sqrt())


def _root_ratio(difference: float, square: float) -> float:
    """Return the relative error; a result that is not a number must not pass for a small one."""
    if difference == 0.0:
        return 0.0
    return math.sqrt(difference / square) if square > 0.0 and math.isfinite(difference) else math.inf
