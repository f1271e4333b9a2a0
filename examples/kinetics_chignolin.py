"""The committor of chignolin between unfolded and folded, corrected from a network and checked by plain shooting.

python examples/kinetics_chignolin.py --labels 400 --points 20 --paths 64 --shots 256
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from flashmd.cg import build_system, map_structure
from flashmd.kinetics import (
    AbsorbingSet,
    BoundaryNetwork,
    Langevin,
    PathSettings,
    SystemForces,
    committor,
    fit_surrogate,
)
from flashmd.pde import Estimate, SurrogateTraining
from flashmd.potential import load
from flashmd.train import load_dataset
from flashmd.units import BOLTZMANN

DATA = Path(__file__).parents[1] / "data"
TEMPERATURE, FRICTION, TIME_STEP = 390.0, 2.0, 0.01  # K, 1/ps, ps
FOLDED, UNFOLDED = 0.12, 0.30  # nm
FIRST, SECOND = torch.triu_indices(10, 10, 2)


def distances(x: Tensor) -> Tensor:
    """Distances of all beads that are not neighbours in the chain, [n, 36], nm."""
    beads = x.reshape(len(x), 10, 3)
    return (beads[:, FIRST] - beads[:, SECOND]).norm(dim=2)


def main(labels: int, points: int, paths: int, shots: int, iterations: int) -> tuple[Estimate, Estimate]:
    """Return the corrected committor at some points, and that of plain shooting."""
    structure = map_structure(DATA / "structures" / "chignolin_native_ca.pdb", "ca")
    native = build_system(structure, dtype=torch.float32)
    forces = SystemForces(load("chignolin-ca").compile(native), native)
    reference = distances(forces.start)

    def deviation(x: Tensor) -> Tensor:
        return (distances(x) - reference.to(x)).square().mean(1).sqrt()

    unfolded = AbsorbingSet(lambda x: UNFOLDED - deviation(x))
    folded = AbsorbingSet(lambda x: deviation(x) - FOLDED)
    dynamics = Langevin(forces, kT=BOLTZMANN * TEMPERATURE, friction=FRICTION)

    frames = torch.as_tensor(load_dataset(DATA / "datasets" / "chignolin_ca.npz").positions).reshape(-1, 30)
    frames = frames[torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))][:40_000].double()
    between = (deviation(frames) > FOLDED + 0.02) & (deviation(frames) < UNFOLDED - 0.02)
    chosen = frames[between]
    x, test = chosen[:labels], chosen[labels : labels + points]

    few = PathSettings(time_step=TIME_STEP, paths_per_point=4, seed=1)
    ends = committor(dynamics, unfolded, folded, x=x, settings=few)
    print(f"labels: {ends.diagnostics['mean_steps']:.0f} steps per path, {ends.seconds:.0f} s", flush=True)
    training = SurrogateTraining(iterations=iterations, batch=128, learning_rate=3e-3)
    network = BoundaryNetwork(1, [8], A=unfolded, B=folded, features=lambda place: deviation(place)[:, None])
    network = fit_surrogate(network, x, ends.value, training)

    settings = PathSettings(time_step=TIME_STEP, paths_per_point=paths, seed=2)
    surrogate = dynamics.lift(lambda place: network(place.float()))
    corrected = committor(dynamics, unfolded, folded, x=test, settings=settings, surrogate=surrogate)
    plain = committor(
        dynamics, unfolded, folded, x=test, settings=PathSettings(time_step=TIME_STEP, paths_per_point=shots, seed=3)
    )
    low, high = corrected.confidence_interval(0.95)
    print("deviation/nm  network  corrected  95% interval    shooting")
    rows = zip(
        deviation(test), corrected.surrogate, corrected.value, low, high, plain.value, plain.standard_error, strict=True
    )
    for row in rows:
        d, before, value, lower, upper, shot, error = (float(each) for each in row)
        print(f"{d:12.3f} {before:8.2f} {value:10.3f}  {lower:6.3f} to {upper:.3f}  {shot:6.3f} +- {error:.3f}")
    difference = corrected.value - plain.value
    variance = corrected.standard_error.square() + plain.standard_error.square()
    bernoulli = 0.5 * shots * plain.standard_error.square() / (0.5 * paths * corrected.standard_error.square())
    print(
        f"chi^2 per point {float((difference.square() / variance).mean()):.2f}; variance of plain over corrected "
        f"{float(bernoulli.median()):.1f} (median); {corrected.diagnostics['mean_steps']:.0f} steps per path; "
        f"{corrected.seconds + plain.seconds:.0f} s"
    )
    return corrected, plain


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=400, help="points with four paths for the network")
    parser.add_argument("--points", type=int, default=20, help="points of the committor")
    parser.add_argument("--paths", type=int, default=64, help="paths of each point")
    parser.add_argument("--shots", type=int, default=256, help="paths of each point without network")
    parser.add_argument("--iterations", type=int, default=400, help="training steps")
    given = parser.parse_args()
    main(given.labels, given.points, given.paths, given.shots, given.iterations)
