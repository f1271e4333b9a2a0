"""The path between two conformations of alanine dipeptide, by a nudged elastic band of ASE.

    python examples/ase_neb.py --output runs/neb

The molecule is turned to the conformations C7eq and C7ax, which the hydrogen bond between its ends closes to rings, and
both are relaxed. A first path turns the two dihedral angles from one end to the other, by way of angles without
clashes; a band with a climbing image then relaxes it and finds the barrier. The folder holds the images (path.extxyz)
and a table of dihedral angles and energies (path.csv).
"""

import argparse
import copy
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np
from ase.build.rotate import minimize_rotation_and_translation
from ase.io import read, write
from ase.mep import NEB
from ase.neighborlist import build_neighbor_list, natural_cutoffs
from ase.optimize import BFGS, FIRE

from flashmd.interfaces.ase import FlashMDCalculator

ENDS = {"C7eq": (-80.0, 70.0), "C7ax": (70.0, -65.0)}
"""Dihedral angles phi and psi near the two minima, degrees."""
BETWEEN = (0.0, -80.0)
"""Angles on the way; on a straight line between the ends, atoms would meet."""
KJ_PER_MOL = ase.units.kJ / ase.units.mol


def main() -> int:
    """Relax both ends, then the band."""
    options = _options()
    calculator = FlashMDCalculator(options.model, dtype="float64")
    molecule = read(options.structure)
    ends = [_relaxed(molecule, angles, calculator, options) for angles in ENDS.values()]
    images = _first_path(*ends, options.images)
    band = NEB(images, k=0.5, method="improvedtangent", climb=True, remove_rotation_and_translation=True)
    for image in images:
        image.calc = copy.deepcopy(calculator)
    search = FIRE(band, logfile=None)
    converged = search.run(fmax=options.fmax, steps=options.steps)
    if not converged:
        print(f"The band moved after {options.steps} steps still; raise --steps", file=sys.stderr)
    _report(images, options.output)
    return 0


def _relaxed(
    molecule: ase.Atoms, angles: Sequence[float], calculator: FlashMDCalculator, options: argparse.Namespace
) -> ase.Atoms:
    """Return the molecule at the minimum next to two dihedral angles."""
    atoms = _turned(molecule, angles)
    atoms.calc = copy.deepcopy(calculator)
    BFGS(atoms, logfile=None, maxstep=0.05).run(fmax=options.fmax, steps=options.steps)
    return atoms


def _first_path(first: ase.Atoms, last: ase.Atoms, n_between: int) -> list[ase.Atoms]:
    """Return images that turn the first structure towards the last and take over its bonds little by little."""
    way = np.array([_angles(first), BETWEEN, _angles(last)])
    lengths = np.concatenate([[0.0], np.linalg.norm(np.diff(way, axis=0), axis=1).cumsum()])
    places = np.linspace(0.0, 1.0, n_between + 2)
    angles = np.stack([np.interp(places * lengths[-1], lengths, way[:, k]) for k in (0, 1)], axis=1)
    turned, end = _turned(first, angles[-1]), last.copy()
    minimize_rotation_and_translation(turned, end)
    images = [_turned(first, each) for each in angles]
    for place, image in zip(places, images, strict=True):
        image.positions += place * (end.positions - turned.positions)
    return images


def _turned(atoms: ase.Atoms, angles: Sequence[float]) -> ase.Atoms:
    """Return atoms with other angles phi and psi; bonds are those before, since atoms may meet on the way."""
    turned = atoms.copy()
    for dihedral, angle in zip(_dihedrals(atoms), angles, strict=True):
        turned.set_dihedral(*dihedral, angle, indices=_beyond(atoms, dihedral[1], dihedral[2]))
    return turned


def _angles(atoms: ase.Atoms) -> list[float]:
    """Return phi and psi between -180 and 180 degrees."""
    return [(atoms.get_dihedral(*each) + 180.0) % 360.0 - 180.0 for each in _dihedrals(atoms)]


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
    energies = np.array([image.get_potential_energy() for image in images]) / KJ_PER_MOL
    with (output / "path.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["phi_degrees", "psi_degrees", "energy_kj_per_mol"])
        for image, energy in zip(images, energies - energies[0], strict=True):
            table.writerow([*(f"{angle:.1f}" for angle in _angles(image)), f"{energy:.3f}"])
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
