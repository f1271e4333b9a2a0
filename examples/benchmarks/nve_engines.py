"""The same dynamics at constant energy in ASE, in OpenMM and in the engine of this package.

    python examples/benchmarks/nve_engines.py --figure nve_engines.png

Beads of chignolin and all atoms of alanine dipeptide start with equal positions and velocities in all engines, in both
precisions of the model. ASE and this package step by velocity Verlet. OpenMM's VerletIntegrator is the leapfrog: it
makes the same positions, if its velocities start half a step earlier, and reports kinetic energies at full steps. What
the figure and the table show is the total energy less its value at the start.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet as VelocityVerletOfASE
from machine import Machine, set_up
from matplotlib.figure import Figure

from flashmd.errors import message
from flashmd.interfaces.ase import FlashMDCalculator, beads_to_atoms
from flashmd.interfaces.model import open_model
from flashmd.interfaces.molecule import system_of
from flashmd.interfaces.openmm import create_system
from flashmd.md import VelocityVerlet, kinetic_energy
from flashmd.md.state import initial_state
from flashmd.report.style import styled
from flashmd.system import System
from flashmd.units import ANGSTROM, BOLTZMANN, ELECTRONVOLT

STRUCTURES = Path(__file__).parents[2] / "data" / "structures"
TEMPERATURE = 300.0
N_BLOCKS = 50
"""Averages drawn for each line."""
SEED = 1
LINES = {"flashmd": ("#0072B2", 3.6), "ASE": ("#D55E00", 2.2), "OpenMM": ("#009E73", 1.0)}
"""Colours and widths, so that lines on top of each other can all be seen."""


@dataclass(frozen=True)
class Case:
    """A molecule, its model and the time step, ps."""

    name: str
    model: str
    structure: Path
    time_step: float


CASES = (
    Case("chignolin, 10 beads", "chignolin-ca", STRUCTURES / "chignolin_native_ca.pdb", 0.004),
    Case("alanine dipeptide, 22 atoms", "organic-gfn2", STRUCTURES / "alanine_dipeptide.pdb", 0.0005),
)


@dataclass(frozen=True)
class Start:
    """Where all engines start: a system in double precision and velocities [n_atoms, 3], nm/ps."""

    system: System
    velocities: np.ndarray


Engine = Callable[[Case, Start, str, int, int], np.ndarray]


def main() -> int:
    """Run all and write figure and table."""
    options = _options()
    machine = set_up(1, "cpu")
    results = {case: run(case, options.steps, options.interval) for case in CASES}
    for case, energies in results.items():
        _print(case, energies, options.interval)
    print(f"\n{machine}")
    if options.figure is not None:
        draw(options.figure, results, options.interval, machine)
    return 0


def run(case: Case, steps: int, interval: int) -> dict[tuple[str, str], np.ndarray]:
    """Return total energies, kJ/mol, by dtype and engine, the first at the start and one after each interval."""
    start = start_of(case)
    engines: dict[str, Engine] = {"flashmd": in_flashmd, "ASE": in_ase, "OpenMM": in_openmm}
    return {
        (dtype, name): engine(case, start, dtype, steps // interval, interval)
        for dtype in ("float64", "float32")
        for name, engine in engines.items()
    }


def start_of(case: Case) -> Start:
    """Return positions of the file and velocities of 300 K."""
    trajectory = mdtraj.load(str(case.structure))
    system = system_of(trajectory.topology, open_model(case.model).potential, dtype=torch.float64)
    speeds = np.sqrt(BOLTZMANN * TEMPERATURE / system.masses.numpy())[:, None]
    velocities = speeds * np.random.default_rng(SEED).normal(size=(system.n_atoms, 3))
    return Start(system.with_positions(torch.tensor(trajectory.xyz[0], dtype=torch.float64)), velocities)


def in_flashmd(case: Case, start: Start, dtype: str, samples: int, interval: int) -> np.ndarray:
    """Run in the engine of this package, whose state has the precision of the model."""
    model = open_model(case.model, dtype=dtype)
    system = start.system.to(dtype=model.options.dtype)
    velocities = torch.tensor(start.velocities, dtype=model.options.dtype)
    state = initial_state(system, model, temperature=TEMPERATURE, seed=SEED, velocities=velocities)
    integrator = VelocityVerlet(case.time_step)
    energies = [float(state.energy + kinetic_energy(state))]
    for _ in range(samples):
        for _ in range(interval):
            state = integrator.step(state, model)
        energies.append(float(state.energy + kinetic_energy(state)))
    return np.array(energies)


def in_ase(case: Case, start: Start, dtype: str, samples: int, interval: int) -> np.ndarray:
    """Run in ASE, which keeps positions and velocities in double precision."""
    calculator = FlashMDCalculator(case.model, dtype=dtype)
    known = calculator.model.potential.bead_types or {}
    names = {number: name for name, number in known.items()}
    atoms = (
        beads_to_atoms(case.structure) if "H" not in known else Atoms([names[t] for t in start.system.types.tolist()])
    )
    atoms.positions = start.system.positions.numpy() / ANGSTROM
    atoms.set_masses(start.system.masses.numpy())
    atoms.set_velocities(start.velocities / ANGSTROM / (1000.0 * units.fs))
    atoms.calc = calculator
    dynamics = VelocityVerletOfASE(atoms, 1000.0 * case.time_step * units.fs)
    energies = [atoms.get_total_energy()]
    for _ in range(samples):
        dynamics.run(interval)
        energies.append(atoms.get_total_energy())
    return np.array(energies) * ELECTRONVOLT


def in_openmm(case: Case, start: Start, dtype: str, samples: int, interval: int) -> np.ndarray:
    """Run on OpenMM's Reference platform, which keeps positions and velocities in double precision."""
    system = create_system(start.system, case.model, dtype=dtype, remove_cm_motion=False)
    integrator = openmm.VerletIntegrator(case.time_step)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(start.system.positions.numpy())
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    context.setVelocities(start.velocities - 0.5 * case.time_step * forces / start.system.masses.numpy()[:, None])
    energies = [_total_energy(context)]
    for _ in range(samples):
        integrator.step(interval)
        energies.append(_total_energy(context))
    return np.array(energies)


def _total_energy(context: openmm.Context) -> float:
    state = context.getState(energy=True)
    return state.getPotentialEnergy()._value + state.getKineticEnergy()._value


def _print(case: Case, energies: dict[tuple[str, str], np.ndarray], interval: int) -> None:
    print(f"\n{case.name}, {case.model}, {1000.0 * case.time_step:g} fs: total energy, kJ/mol")
    print(f"{'dtype':8} {'engine':8} {'deviation':>10} {'drift / ps':>11} {'from flashmd, first fifth':>26}")
    for (dtype, name), values in energies.items():
        drift = np.polyfit(_times(case, values, interval), values - values[0], 1)[0]
        apart = np.abs(values - energies[dtype, "flashmd"])[: len(values) // 5 + 1].max()
        print(f"{dtype:8} {name:8} {values.std():10.4f} {drift:11.5f} {apart:26.1e}")


def _times(case: Case, values: np.ndarray, interval: int) -> np.ndarray:
    """Return the times of the energies, ps."""
    return case.time_step * interval * np.arange(len(values))


def draw(path: Path, results: dict[Case, dict[tuple[str, str], np.ndarray]], interval: int, machine: Machine) -> None:
    """Draw a row of panels for each molecule, a column for each precision: energies, and averages over fiftieths."""
    with styled():
        figure = Figure(figsize=(8.0, 5.2), layout="constrained")
        axes = figure.subplots(len(results), 2, sharey="row", sharex="row", squeeze=False)
        for row, (case, energies) in zip(axes, results.items(), strict=True):
            for axis, dtype in zip(row, ("float64", "float32"), strict=True):
                for name, (color, width) in LINES.items():
                    values = energies[dtype, name]
                    times, away = _times(case, values, interval), values - values[0]
                    axis.plot(times, away, color=color, alpha=0.2, linewidth=0.4)
                    averages = [[part.mean() for part in np.array_split(each, N_BLOCKS)] for each in (times, away)]
                    axis.plot(*averages, color=color, label=name, linewidth=width)
                axis.set_title(f"{case.name}, {dtype}")
                axis.set_xlabel("time / ps")
            row[0].set_ylabel("$E - E_0$ / kJ/mol")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=3, loc="outside upper center")
        figure.supxlabel(str(machine), fontsize=6, color="0.5")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--interval", type=int, default=10, help="steps between two energies")
    parser.add_argument("--figure", type=Path, help="picture to write, PNG")
    options = parser.parse_args()
    if not 1 <= options.interval <= options.steps // N_BLOCKS:
        fix = "ask for more steps or a shorter interval"
        limits = f"1 to {options.steps // N_BLOCKS}, a fiftieth of the steps"
        parser.error(message("`--interval`", limits, f"{options.interval}", fix))
    return options


if __name__ == "__main__":
    sys.exit(main())
