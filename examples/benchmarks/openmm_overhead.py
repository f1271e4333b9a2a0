"""What a step costs in OpenMM beside the model: steps of a system with a force, less those of an empty one.

    python examples/benchmarks/openmm_overhead.py --beads 269 --csv overhead.csv

Two models that take little time themselves are carried by the plugin and by Python: energies of atoms, which are
constant, and the springs of a chain. The evaluator of a model is also timed alone, in Python; the overhead of the
Python way is what remains. The plugin has no evaluator in Python, so its overhead contains the model. All take turns in
short rounds, and the fastest round of each counts, so that other work on the machine disturbs little.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import openmm
import torch
from machine import Machine, set_up
from options import check_numbers
from results import write_csv
from workloads import BOND, FRICTION, MASS, SPRING, TEMPERATURE, TIME_STEP, globule

from flashmd.interfaces.model import LoadedModel, open_model
from flashmd.interfaces.openmm import create_force
from flashmd.potential import AtomicEnergies, Potential
from flashmd.potential.priors import HarmonicBonds
from flashmd.system import System

WAYS = ("native", "python")
MICROSECOND = 1e-6


@dataclass(frozen=True)
class OverheadRow:
    """One kind of system; times in microseconds."""

    platform: str
    way: str  # native, python, or empty for a system without forces
    model: str
    beads: int
    step: float
    added: float | None = None  # to a step of the empty system
    evaluator: float | None = None  # one evaluation in Python, outside OpenMM
    overhead: float | None = None  # what was added, less the evaluator


@dataclass
class Runner:
    """Something that is done again and again, and how long once takes, s, in the fastest round so far."""

    work: Callable[[int], None]
    repeats: int
    best: float = field(default=float("inf"))

    def take_turn(self) -> None:
        """Do it in a row and keep the time if it is the shortest."""
        begin = time.perf_counter()
        self.work(self.repeats)
        self.best = min(self.best, (time.perf_counter() - begin) / self.repeats)


def main() -> int:
    """Measure all and write the table."""
    arguments = _arguments()
    machine = set_up(1, "cpu")
    rows = measure(arguments.beads, arguments.platforms, rounds=arguments.rounds, steps=arguments.steps)
    _print(rows, machine, arguments.beads)
    if arguments.csv is not None:
        write_csv(arguments.csv, rows, machine)
    return 0


def measure(n_beads: int, platforms: Sequence[str], *, rounds: int, steps: int) -> list[OverheadRow]:
    """Return one row for each platform, way and model, the empty systems first."""
    positions = globule(n_beads)
    models = {name: open_model(potential) for name, potential in _potentials().items()}
    system = _chain(n_beads)
    alone = {name: Runner(_evaluation(model, system, positions), steps) for name, model in models.items()}
    runners: dict[tuple[str, str, str], Runner] = {}
    for platform in platforms:
        runners[platform, "empty", ""] = Runner(_steps(None, positions, platform), steps)
        for way in WAYS:
            for name, model in models.items():
                force = create_force(model, system, backend=way)
                runners[platform, way, name] = Runner(_steps(force, positions, platform), steps)
    for _ in range(rounds):
        for runner in (*alone.values(), *runners.values()):
            runner.take_turn()
    rows = []
    for (platform, way, name), runner in runners.items():
        step = runner.best / MICROSECOND
        if way == "empty":
            rows.append(OverheadRow(platform, way, name, n_beads, step))
            continue
        added = step - runners[platform, "empty", ""].best / MICROSECOND
        evaluator = alone[name].best / MICROSECOND if way == "python" else None
        rows.append(OverheadRow(platform, way, name, n_beads, step, added, evaluator, added - (evaluator or 0.0)))
    return rows


def _potentials() -> dict[str, Potential]:
    table = (torch.tensor([[1, 1]]), {"k": torch.full((1,), SPRING), "x0": torch.full((1,), BOND)})
    return {"constant": AtomicEnergies({1: -1.0}), "springs": HarmonicBonds("bonds", table)}


def _chain(n_beads: int) -> System:
    index = torch.arange(n_beads)
    bonds = torch.stack([index[:-1], index[1:]], 1)
    masses = torch.full((n_beads,), MASS)
    types = torch.ones(n_beads, dtype=torch.int64)
    return System.single(torch.zeros(n_beads, 3), types, masses=masses, interactions={"bonds": bonds})


def _evaluation(model: LoadedModel, system: System, positions: np.ndarray) -> Callable[[int], None]:
    evaluator = model.new_evaluator()
    here = system.with_positions(torch.from_numpy(positions).to(torch.float32))

    def work(repeats: int) -> None:
        with torch.no_grad():
            for _ in range(repeats):
                evaluator.evaluate(here)

    return work


def _steps(force: openmm.Force | None, positions: np.ndarray, platform: str) -> Callable[[int], None]:
    system = openmm.System()
    for _ in positions:
        system.addParticle(MASS)
    if force is not None:
        system.addForce(force)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, TIME_STEP)
    properties = {"Threads": "1"} if platform == "CPU" else {}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform(platform), properties)
    context.setPositions(positions)

    def work(repeats: int) -> None:
        context.getIntegrator().step(repeats)

    return work


def _print(rows: Sequence[OverheadRow], machine: Machine, n_beads: int) -> None:
    print(f"{machine}, OpenMM {openmm.version.short_version}; {n_beads} beads, Langevin; microseconds")
    print("| platform | way | model | step | added | evaluator alone | overhead |\n|---|---|---|---|---|---|---|")
    for row in rows:
        numbers = ["" if x is None else f"{x:.1f}" for x in (row.step, row.added, row.evaluator, row.overhead)]
        print(f"| {' | '.join([row.platform, row.way, row.model, *numbers])} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [openmm.Platform.getPlatform(index).getName() for index in range(openmm.Platform.getNumPlatforms())]
    parser.add_argument("--beads", type=int, default=269)
    parser.add_argument("--platforms", nargs="+", default=["Reference", "CPU"], choices=known)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--steps", type=int, default=100, help="in a round")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    check_numbers(parser, argparse.Namespace(beads=arguments.beads, replicas=1, rounds=arguments.rounds))
    return arguments


if __name__ == "__main__":
    sys.exit(main())
