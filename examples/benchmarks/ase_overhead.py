"""What a step of ASE's dynamics costs beside the model.

    python examples/benchmarks/ase_overhead.py --beads 269 --csv overhead.csv

Four calculators of the same beads take turns in short rounds, and the fastest round of each counts. "minimal" compares
four arrays and returns springs to fixed points: the least that a calculator can do. "flashmd" has everything of
`FlashMDCalculator` but the model, in whose place constant tensors are returned. "ASE's cache" is "minimal" with the
cache that ASE's calculators inherit. "flashmd, springs" evaluates a model, the springs of a chain.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet
from machine import Machine, set_up
from results import write_csv
from workloads import BOND, MASS, SPRING, TEMPERATURE, globule

from flashmd.cg import CA_TYPES
from flashmd.errors import message
from flashmd.interfaces.ase import FlashMDCalculator
from flashmd.potential import SumPotential
from flashmd.potential.priors import HarmonicBonds
from flashmd.protocols import Evaluation
from flashmd.system import System

TIME_STEP = 2.0 * units.fs
MICROSECOND = 1e-6


@dataclass(frozen=True)
class OverheadRow:
    """One calculator with one integrator; times in microseconds."""

    calculator: str
    integrator: str
    beads: int
    step: float
    ratio: float  # to the step of the minimal calculator


class Minimal(Calculator):
    """Springs to fixed points and a cache of four arrays."""

    implemented_properties = ("energy", "free_energy", "forces")

    def __init__(self, places: np.ndarray) -> None:
        super().__init__()
        self.places = places
        self.seen: list[np.ndarray] = []

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Compare with the copies."""
        del tol
        arrays = (atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
        if self.seen and all(np.array_equal(new, old) for new, old in zip(arrays, self.seen, strict=True)):
            return []
        return all_changes

    def calculate(self, atoms: Atoms, properties: Any, changes: Any) -> None:
        """Copy the arrays and compute the springs."""
        del properties, changes
        self.seen = [atoms.positions.copy(), atoms.numbers.copy(), atoms.cell.array.copy(), atoms.pbc.copy()]
        away = atoms.positions - self.places
        energy = 0.05 * float((away * away).sum())
        self.results = {"energy": energy, "free_energy": energy, "forces": -0.1 * away}


class WithInheritedCache(Minimal):
    """The same springs with ASE's own cache."""

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Compare all atoms."""
        return Calculator.check_state(self, atoms, tol)

    def calculate(self, atoms: Atoms, properties: Any, changes: Any) -> None:
        """Copy the atoms and compute the springs."""
        Calculator.calculate(self, atoms, properties, changes)
        super().calculate(atoms, properties, changes)


class NoModel:
    """What remains of a model that takes no time."""

    def __init__(self, n_beads: int) -> None:
        self._evaluation = Evaluation(torch.zeros(1, dtype=torch.float64), torch.zeros(n_beads, 3))

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return zeros."""
        del system, virial
        return self._evaluation


def main() -> int:
    """Measure all and write the table."""
    arguments = _arguments()
    machine = set_up(1, "cpu")
    rows = measure(arguments.beads, rounds=arguments.rounds, steps=arguments.steps)
    _print(rows, machine)
    if arguments.csv is not None:
        write_csv(arguments.csv, rows, machine)
    return 0


def measure(n_beads: int, *, rounds: int, steps: int) -> list[OverheadRow]:
    """Return one row for each calculator and integrator."""
    runs = {
        (name, integrator): make(_atoms(n_beads, calculator))
        for name, calculator in _calculators(n_beads).items()
        for integrator, make in _integrators().items()
    }
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for key, run in runs.items():
            begin = time.perf_counter()
            run.run(steps)
            best[key] = min(best[key], (time.perf_counter() - begin) / steps / MICROSECOND)
    return [OverheadRow(name, way, n_beads, t, t / best["minimal", way]) for (name, way), t in best.items()]


def _calculators(n_beads: int) -> dict[str, Calculator]:
    places = 10.0 * globule(n_beads)
    known = torch.arange(1, 21)
    pairs = torch.cartesian_prod(known, known)
    table = (pairs, {"k": torch.full((400,), SPRING), "x0": torch.full((400,), BOND)})
    potential = SumPotential({"bonds": HarmonicBonds("bonds", table)})
    potential.bead_types = dict(CA_TYPES)
    springs, empty = FlashMDCalculator(potential), FlashMDCalculator(potential)
    empty.model._evaluator = NoModel(n_beads)
    return {
        "minimal": Minimal(places),
        "flashmd": empty,
        "ASE's cache": WithInheritedCache(places),
        "flashmd, springs": springs,
    }


def _atoms(n_beads: int, calculator: Calculator) -> Atoms:
    atoms = Atoms(["C"] * n_beads, positions=10.0 * globule(n_beads), masses=np.full(n_beads, MASS))
    atoms.set_array("bead_type", np.resize(list(CA_TYPES), n_beads))
    speeds = np.sqrt(units.kB * TEMPERATURE / MASS)
    atoms.set_velocities(speeds * np.random.default_rng(0).normal(size=(n_beads, 3)))
    atoms.calc = calculator
    return atoms


def _integrators() -> dict[str, Callable[[Atoms], MolecularDynamics]]:
    heat = {"temperature_K": TEMPERATURE, "friction": 0.001 / units.fs, "fixcm": False}
    return {
        "VelocityVerlet": lambda atoms: VelocityVerlet(atoms, TIME_STEP),
        "Langevin": lambda atoms: Langevin(atoms, TIME_STEP, rng=np.random.default_rng(1), **heat),
    }


def _print(rows: list[OverheadRow], machine: Machine) -> None:
    print(f"microseconds per step of {rows[0].beads} beads\n")
    print(f"{'calculator':18} {'integrator':16} {'step':>8} {'ratio':>8}")
    for row in rows:
        print(f"{row.calculator:18} {row.integrator:16} {row.step:8.1f} {row.ratio:8.2f}")
    print(f"\n{machine}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beads", type=int, default=269)
    parser.add_argument("--rounds", type=int, default=60, help="turns of every calculator")
    parser.add_argument("--steps", type=int, default=200, help="steps of a turn")
    parser.add_argument("--csv", type=Path, help="write the table here")
    arguments = parser.parse_args()
    if min(arguments.beads, arguments.rounds, arguments.steps) < 1:
        parser.error(message("`--beads`, `--rounds` and `--steps`", "at least 1", "less", "ask for more"))
    return arguments


if __name__ == "__main__":
    sys.exit(main())
