"""The committor of butane between gauche and trans, of all atoms, corrected from a network and checked by shooting.

The network sees the torsion of the carbons and how fast the two halves turn about the bond in the middle, hydrogens
included; all forty-two coordinates move.

python examples/kinetics_butane.py --labels 100 --points 20 --paths 64 --shots 128
"""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

import torch
from ase.build import molecule
from torch import Tensor

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
from flashmd.system import System
from flashmd.units import ANGSTROM, BOLTZMANN

TEMPERATURE, FRICTION, TIME_STEP = 300.0, 10.0, 0.001  # K, 1/ps, ps
GAUCHE, TRANS = math.radians(95.0), math.radians(145.0)
STIFFNESS = 500.0  # kJ/mol, of the restraint that places the starts
ATOMS = molecule("trans-butane")  # carbons come first, along the chain
MASSES = torch.tensor(ATOMS.get_masses())
LEFT = (ATOMS.get_all_distances()[:, :2].min(1) < ATOMS.get_all_distances()[:, 2:4].min(1)).tolist()
HALVES = [[i for i in range(len(ATOMS)) if LEFT[i] == left and i not in (1, 2)] for left in (True, False)]


def butane() -> SystemForces:
    """All-trans butane with the potential of this package."""
    model = load("organic-gfn2")
    known = model.bead_types or {}
    system = System.single(
        torch.tensor(ATOMS.positions * ANGSTROM, dtype=torch.float32),
        torch.tensor([known[symbol] for symbol in ATOMS.symbols]),
        masses=MASSES.to(torch.float32),
    )
    return SystemForces(model.compile(system), system)


def torsion(x: Tensor) -> Tensor:
    """Size of the torsion of the carbons, [n], from 0 (cis) to pi (trans)."""
    carbons = x.reshape(len(x), -1, 3)[:, :4]
    first, middle, last = (carbons[:, 1:] - carbons[:, :-1]).unbind(1)
    left, right = torch.linalg.cross(first, middle), torch.linalg.cross(middle, last)
    return torch.atan2(torch.linalg.cross(left, right).norm(dim=1), (left * right).sum(1))


def turning(point: Tensor) -> Tensor:
    """Torsion and difference of the angular velocities of both halves, 1/ps, of points [n, 2 d]: [n, 2]."""
    x, velocity = (part.reshape(len(point), -1, 3) for part in point.chunk(2, 1))
    bonds = x[:, 1:4] - x[:, 0:3]
    axis = bonds[:, 1] / bonds[:, 1].norm(dim=1, keepdim=True)
    sides = torch.linalg.cross(bonds[:, :2], bonds[:, 1:])
    hand = (torch.linalg.cross(sides[:, 0], sides[:, 1]) * axis).sum(1).sign()
    speeds = []
    for carbon, half in zip((1, 2), HALVES, strict=True):
        arm, moved = (part[:, half] - part[:, carbon : carbon + 1] for part in (x, velocity))
        arm = arm - (arm * axis[:, None]).sum(2, keepdim=True) * axis[:, None]
        momentum = MASSES[half].to(x)[:, None] * torch.linalg.cross(arm, moved)
        inertia = (MASSES[half].to(x) * arm.square().sum(2)).sum(1)
        speeds.append((momentum.sum(1) * axis).sum(1) / inertia)
    return torch.stack([torsion(point.chunk(2, 1)[0]), hand * (speeds[1] - speeds[0])], 1)


class Restrained(NamedTuple):
    """Forces with a restraint of the torsion of each row to a place of its own."""

    inner: SystemForces
    places: Tensor

    @property
    def masses(self) -> Tensor:
        """Mass of each coordinate, Da."""
        return self.inner.masses

    def forces(self, x: Tensor) -> Tensor:
        """Forces at x [n, d], kJ/mol/nm."""
        angle, pull = torch.func.vjp(torsion, x)
        return self.inner.forces(x) - pull(STIFFNESS * (angle - self.places))[0]


def starts(forces: SystemForces, count: int, seed: int) -> Tensor:
    """Thermal structures between gauche and trans, [count, d]."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.linspace(GAUCHE + 0.15, TRANS - 0.15, count, dtype=torch.float64)
    dynamics = Langevin(Restrained(forces, places), kT=BOLTZMANN * TEMPERATURE, friction=FRICTION)
    x = forces.start.repeat(count, 1)

    def noise() -> Tensor:
        return torch.randn(x.shape, generator=generator, dtype=torch.float64)

    with torch.no_grad():
        state = dynamics.start(x, dynamics.thermal_speed * noise())
        for _ in range(500):
            state = dynamics.step(state, TIME_STEP, noise()).state
    inside = (torsion(state[0]) - places).abs() < 0.14
    return state[0][inside]


def record(dynamics: Langevin, sets: tuple[AbsorbingSet, AbsorbingSet], x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Run one path from each row of x; return points on the way, [m, 2 d], and 1 where they led to the second set."""
    generator = torch.Generator().manual_seed(seed)
    alive, outcome = torch.arange(len(x)), torch.zeros(len(x))
    seen: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        speed = dynamics.thermal_speed
        state = dynamics.start(x, speed * torch.randn(x.shape, generator=generator, dtype=torch.float64))
        for step in range(100_000):
            if step % 10 == 0:
                seen.append((alive, dynamics.point(state)))
            noise = torch.randn(len(alive), x.shape[1], generator=generator, dtype=torch.float64)
            state = dynamics.step(state, TIME_STEP, noise).state
            ends = [each.contains(state[0]) for each in sets]
            outcome[alive[ends[1]]] = 1.0
            left = ~(ends[0] | ends[1])
            alive, state = alive[left], tuple(each[left] for each in state)
            if not len(alive):
                break
    return torch.cat([point for _, point in seen]), torch.cat([outcome[index] for index, _ in seen])


def fit(dynamics: Langevin, x: Tensor, repeats: int, iterations: int) -> BoundaryNetwork:
    """Fit a network to where paths from x end that pass through a point."""
    sets = AbsorbingSet(lambda x: torsion(x) - GAUCHE), AbsorbingSet(lambda x: TRANS - torsion(x))
    points, labels = record(dynamics, sets, x.repeat(repeats, 1), seed=1)
    print(f"labels: {len(points)} points on {repeats * len(x)} paths, {float(labels.mean()):.0%} of them end in trans")
    half = x.shape[1]
    low = AbsorbingSet(lambda point: torsion(point[:, :half]) - GAUCHE)
    high = AbsorbingSet(lambda point: TRANS - torsion(point[:, :half]))
    network = BoundaryNetwork(2, [16], A=low, B=high, features=turning)
    return fit_surrogate(
        network, points, labels, SurrogateTraining(iterations=iterations, batch=512, learning_rate=1e-2)
    )


def main(labels: int, points: int, paths: int, shots: int, iterations: int) -> tuple[Estimate, Estimate]:
    """Return the corrected committor at some points, and that of plain shooting."""
    forces = butane()
    dynamics = Langevin(forces, kT=BOLTZMANN * TEMPERATURE, friction=FRICTION)
    network = fit(dynamics, starts(forces, labels, seed=0), 8, iterations)
    test = starts(forces, points, seed=2)
    gauche, trans = AbsorbingSet(lambda x: torsion(x) - GAUCHE), AbsorbingSet(lambda x: TRANS - torsion(x))
    corrected = committor(
        dynamics, gauche, trans, x=test, surrogate=lambda point: network(point.float()),
        settings=PathSettings(time_step=TIME_STEP, paths_per_point=paths, seed=2),
    )  # fmt: skip
    plain = committor(
        dynamics, gauche, trans, x=test, settings=PathSettings(time_step=TIME_STEP, paths_per_point=shots, seed=3)
    )
    low, high = corrected.confidence_interval(0.95)
    print("torsion/degrees  network  corrected  95% interval    shooting")
    rows = zip(
        torsion(test).rad2deg(), corrected.surrogate, corrected.value, low, high, plain.value, plain.standard_error,
        strict=True,
    )  # fmt: skip
    for row in rows:
        angle, before, value, lower, upper, shot, error = (float(each) for each in row)
        print(f"{angle:15.0f} {before:8.2f} {value:10.3f}  {lower:6.3f} to {upper:.3f}  {shot:6.3f} +- {error:.3f}")
    variance = corrected.standard_error.square() + plain.standard_error.square()
    gain = shots * plain.standard_error.square() / (paths * corrected.standard_error.square())
    chi2 = float(((corrected.value - plain.value).square() / variance).mean())
    print(
        f"chi^2 per point {chi2:.2f}; variance of plain over corrected {float(gain.median()):.1f} (median); "
        f"{corrected.diagnostics['mean_steps']:.0f} steps per path; {corrected.seconds + plain.seconds:.0f} s"
    )
    return corrected, plain


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=100, help="starts of eight paths each for the network")
    parser.add_argument("--points", type=int, default=20, help="points of the committor")
    parser.add_argument("--paths", type=int, default=64, help="paths of each point")
    parser.add_argument("--shots", type=int, default=128, help="paths of each point without network")
    parser.add_argument("--iterations", type=int, default=400, help="training steps")
    given = parser.parse_args()
    main(given.labels, given.points, given.paths, given.shots, given.iterations)
