"""Langevin dynamics with ASE, of the beads of a protein or of all atoms of a molecule.

    python examples/ase_md.py data/structures/chignolin_native_ca.pdb
    python examples/ase_md.py data/structures/alanine_dipeptide.pdb --model organic-gfn2 --time-step 0.5

The folder then holds the trajectory as extended XYZ (trajectory.extxyz, with energies and forces) and a table of
energies (log.txt). Temperatures are in K, time steps in fs.
"""

import argparse
import sys
from pathlib import Path

import ase
import numpy as np
from ase import units
from ase.io import read
from ase.md import MDLogger
from ase.md.langevin import Langevin
from ase.optimize import FIRE

from flashmd.interfaces.ase import FlashMDCalculator, beads_to_atoms


def main() -> int:
    """Relax, then run."""
    options = _options()
    calculator = FlashMDCalculator(options.model, dtype=options.dtype)
    atoms = _atoms(options.structure, calculator)
    atoms.calc = calculator
    FIRE(atoms, logfile=None).run(fmax=0.1, steps=options.relax)

    rng = np.random.default_rng(options.seed)
    speeds = np.sqrt(units.kB * options.temperature / atoms.get_masses())
    atoms.set_velocities(speeds[:, None] * rng.normal(size=(len(atoms), 3)))
    friction = 1.0 / (1000.0 * units.fs)
    dynamics = Langevin(
        atoms, options.time_step * units.fs, temperature_K=options.temperature, friction=friction, fixcm=False, rng=rng
    )
    options.output.mkdir(parents=True, exist_ok=True)
    trajectory, log = options.output / "trajectory.extxyz", options.output / "log.txt"
    interval = max(1, options.steps // options.frames)
    dynamics.attach(MDLogger(dynamics, atoms, str(log), mode="w"), interval)
    dynamics.attach(lambda: atoms.write(trajectory, append=dynamics.nsteps > 0), interval)
    dynamics.run(options.steps)
    energy = atoms.get_potential_energy()
    print(f"{options.steps} steps of {len(atoms)} particles, potential energy at the end {energy} eV")
    return 0


def _atoms(path: Path, calculator: FlashMDCalculator) -> ase.Atoms:
    """Return the beads of a structure for a model of beads, and all its atoms for a model of elements."""
    known = calculator.model.potential.bead_types or {}
    return read(path) if "H" in known else beads_to_atoms(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structure", type=Path, help="structure file of atoms or of beads")
    parser.add_argument("--model", default="chignolin-ca", help="model file or name of a shipped model")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--temperature", type=float, default=340.0)
    parser.add_argument("--time-step", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=250_000)
    parser.add_argument("--relax", type=int, default=200, help="most steps of the relaxation")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs/ase"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
