"""The path between two conformations of alanine dipeptide, by a nudged elastic band of ASE.

    python examples/ase_neb.py --output runs/neb

The molecule is turned to the conformations C7eq and C7ax, which the hydrogen bond between its ends closes to rings, and
both are relaxed. A band with a climbing image then finds the path over the lowest barrier. The folder holds the images
(path.extxyz) and a table of dihedral angles and energies (path.csv).
"""

import argparse
import copy
import csv
import sys
from pathlib import Path

import ase
import numpy as np
from ase.io import read, write
from ase.mep import NEB
from ase.neighborlist import build_neighbor_list, natural_cutoffs
from ase.optimize import BFGS, FIRE

from flashmd.interfaces.ase import FlashMDCalculator

ENDS = {"C7eq": (-80.0, 70.0), "C7ax": (70.0, -65.0)}
"""Dihedral angles phi and psi near the two minima, degrees."""
KJ_PER_MOL = ase.units.kJ / ase.units.mol


def main() -> int:
    """Relax both ends, then the band."""
    options = _options()
    calculator = FlashMDCalculator(options.model, dtype="float64")
    molecule = read(options.structure)
    ends = [_relaxed(molecule, angles, calculator, options) for angles in ENDS.values()]
    images = [ends[0], *(ends[0].copy() for _ in range(options.images)), ends[1]]
    band = NEB(images, k=0.5, method="improvedtangent", climb=True)
    band.interpolate("idpp")
    for image in images:
        image.calc = copy.deepcopy(calculator)
    search = FIRE(band, logfile=None)
    converged = search.run(fmax=options.fmax, steps=options.steps)
    if not converged:
        print(f"The band moved after {options.steps} steps still; raise --steps", file=sys.stderr)
    _report(images, options.output)
    return 0


def _relaxed(
    molecule: ase.Atoms, angles: tuple[float, float], calculator: FlashMDCalculator, options: argparse.Namespace
) -> ase.Atoms:
    """Return the molecule at the minimum next to two dihedral angles."""
    atoms = molecule.copy()
    for dihedral, angle in zip(_dihedrals(atoms), angles, strict=True):
        atoms.set_dihedral(*dihedral, angle, indices=_beyond(atoms, dihedral[1], dihedral[2]))
    atoms.calc = copy.deepcopy(calculator)
    BFGS(atoms, logfile=None, maxstep=0.05).run(fmax=options.fmax, steps=options.steps)
    return atoms


def _dihedrals(atoms: ase.Atoms) -> tuple[list[int], list[int]]:
    """Return the atoms of phi (C N CA C) and psi (N CA C N), by the names of a PDB file."""
    names = list(zip(atoms.arrays["residuenames"].tolist(), atoms.arrays["atomtypes"].tolist(), strict=True))
    chain = [names.index(key) for key in (("ACE", "C"), ("ALA", "N"), ("ALA", "CA"), ("ALA", "C"), ("NME", "N"))]
    return chain[:4], chain[1:]


def _beyond(atoms: ase.Atoms, first: int, second: int) -> list[int]:
    """Return the atoms on the far side of the bond from one atom to another."""
    bonds = build_neighbor_list(atoms, natural_cutoffs(atoms), self_interaction=False, bothways=True)
    found, waiting = {first}, [second]
    while waiting:
        atom = waiting.pop()
        if atom not in found:
            found.add(atom)
            waiting.extend(bonds.get_neighbors(atom)[0].tolist())
    return sorted(found - {first})


def _report(images: list[ase.Atoms], output: Path) -> None:
    """Write the path and print its barrier."""
    output.mkdir(parents=True, exist_ok=True)
    phi, psi = _dihedrals(images[0])
    energies = np.array([image.get_potential_energy() for image in images]) / KJ_PER_MOL
    with (output / "path.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["phi_degrees", "psi_degrees", "energy_kj_per_mol"])
        for image, energy in zip(images, energies - energies[0], strict=True):
            angles = [(image.get_dihedral(*each) + 180.0) % 360.0 - 180.0 for each in (phi, psi)]
            table.writerow([*(f"{angle:.1f}" for angle in angles), f"{energy:.3f}"])
    write(output / "path.extxyz", images)
    print(f"From {' to '.join(ENDS)}: barrier {energies.max() - energies[0]:.1f} kJ/mol, ", end="")
    print(f"difference {energies[-1] - energies[0]:.1f} kJ/mol")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structure", type=Path, default=Path("data/structures/alanine_dipeptide.pdb"))
    parser.add_argument("--model", default="organic-gfn2", help="model file or name of a shipped model")
    parser.add_argument("--images", type=int, default=11, help="images between the ends")
    parser.add_argument("--fmax", type=float, default=0.03, help="largest force at the end, eV/angstrom")
    parser.add_argument("--steps", type=int, default=1000, help="most steps of every relaxation")
    parser.add_argument("--output", type=Path, default=Path("runs/neb"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
