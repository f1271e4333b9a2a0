"""Committors and rates on the surface of Mueller and Brown: fit a network to single paths, then correct it.

python examples/kinetics_muller_brown.py --kT 20 --labels 5000 --paths 1000
python examples/kinetics_muller_brown.py --kT 20 --harmonic 10  # hidden in twelve dimensions
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from flashmd.kinetics import (
    BoundaryNetwork,
    MuellerBrownTable,
    PathSettings,
    Rates,
    committor,
    fit_surrogate,
    mueller_brown,
    rate,
)
from flashmd.pde import SurrogateTraining

LOW, HIGH = (-1.5, -0.5), (1.2, 2.0)


def boltzmann_points(count: int, kT: float, seed: int) -> Tensor:
    """Draw points of the box from the Boltzmann distribution at a temperature, [count, 2]."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(LOW, dtype=torch.float64), torch.tensor(HIGH, dtype=torch.float64)
    pieces: list[Tensor] = []
    while sum(len(piece) for piece in pieces) < count:
        x = low + (high - low) * torch.rand(100_000, 2, generator=generator, dtype=torch.float64)
        energy = mueller_brown(x)
        accepted = torch.rand(len(x), generator=generator) < (-(energy + 147.0) / kT).exp()
        pieces.append(x[accepted])
    return torch.cat(pieces)[:count]


def samples_of(table: MuellerBrownTable, count: int, kT: float, seed: int) -> Tensor:
    """Draw points whose place on the surface is that of a temperature, [count, d]."""
    generator = torch.Generator().manual_seed(seed)
    return boltzmann_points(count, kT, seed) @ table.plane + table.sample_across(count, generator)


def train(table: MuellerBrownTable, labels: int, iterations: int, time_step: float) -> BoundaryNetwork:
    """Fit a network to where one pair of paths from each point ends."""
    A, B = table.sets
    x = samples_of(table, 2 * labels, 60.0, seed=1)
    x = x[~(A.contains(x) | B.contains(x))][:labels]
    ends = committor(table.dynamics, A, B, x=x, settings=PathSettings(time_step=time_step, paths_per_point=4, seed=2))
    training = SurrogateTraining(iterations=iterations, batch=1024, learning_rate=5e-3)
    return fit_surrogate(BoundaryNetwork(x.shape[1], [48, 48], A=A, B=B), x, ends.value, training)


def main(
    table: MuellerBrownTable, labels: int, iterations: int, paths: int, samples: int, time_step: float
) -> tuple[float, float, Rates]:
    """Return the root mean square errors of network and correction, and the rates."""
    A, B = table.sets
    network = train(table, labels, iterations, 2.0 * time_step)

    settings = PathSettings(time_step=time_step, paths_per_point=paths)
    errors = {}
    for name, surrogate in (("plain", None), ("corrected", network)):
        estimate = committor(table.dynamics, A, B, x=table.points, settings=settings, surrogate=surrogate)
        error = estimate.value - table.committor
        errors[name] = float(error.square().mean().sqrt())
        chi2 = float((error / estimate.standard_error).square().mean())
        bar = float(estimate.standard_error.square().mean().sqrt())
        print(
            f"{name}: error {errors[name]:.4f}, standard error {bar:.4f}, chi^2 per point {chi2:.1f}, "
            f"{estimate.diagnostics['mean_steps']:.0f} steps per path, {estimate.seconds:.0f} s"
        )
    before = float((network(table.points.float()) - table.committor).square().mean().sqrt())
    print(f"network alone: {before:.4f}")

    hot = 2.0 * table.kT
    x = samples_of(table, samples, hot, seed=3)
    weights = (-(mueller_brown(x @ table.plane.T) + 147.0) * (1.0 / table.kT - 1.0 / hot)).exp()
    few = PathSettings(time_step=time_step, paths_per_point=4)
    rates = rate(table.dynamics, A, B, samples=x, weights=weights, surrogate=network, settings=few)
    print(f"A to B: {rates.forward:.5g} +- {rates.forward_standard_error:.2g}, table {table.forward}")
    print(f"B to A: {rates.backward:.5g} +- {rates.backward_standard_error:.2g}, table {table.backward}")
    return before, errors["corrected"], rates


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kT", type=float, default=20.0, help="10, 15 or 20")
    parser.add_argument("--harmonic", type=int, default=0, help="dimensions that hide the surface")
    parser.add_argument("--labels", type=int, default=5000, help="points with a pair of paths for the network")
    parser.add_argument("--iterations", type=int, default=1500, help="training steps")
    parser.add_argument("--paths", type=int, default=1000, help="paths of each point of the correction")
    parser.add_argument("--samples", type=int, default=10_000, help="points for the rates")
    parser.add_argument("--time-step", type=float, default=4e-5)
    given = parser.parse_args()
    table = MuellerBrownTable.at(given.kT, harmonic=given.harmonic)
    main(table, given.labels, given.iterations, given.paths, given.samples, given.time_step)
