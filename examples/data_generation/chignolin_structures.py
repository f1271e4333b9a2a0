"""Write the C-alpha structures of chignolin that the package ships: the experimental hairpin and an extended chain.

python examples/data_generation/chignolin_structures.py 5awl.pdb data/structures
"""

import sys
from pathlib import Path

import mdtraj
import numpy as np

BOND = 0.38  # nm, distance of neighbouring C-alpha atoms in a trans peptide
ANGLE = np.deg2rad(125.0)  # between two virtual bonds, as in a beta strand


def extended_chain(n_beads: int) -> np.ndarray:
    """Planar zigzag, [n_beads, 3], nm."""
    step = np.array([BOND * np.sin(ANGLE / 2.0), BOND * np.cos(ANGLE / 2.0)])
    index = np.arange(n_beads)
    return np.stack([index * step[0], (index % 2) * step[1], np.zeros(n_beads)], axis=1)


def main(source: Path, output: Path) -> None:
    native = mdtraj.load(str(source))[0]
    native = native.atom_slice(native.topology.select("protein and name CA"))
    for number, atom in enumerate(native.topology.atoms, start=1):
        atom.serial = number
    for residue in native.topology.residues:
        residue.segment_id = ""
    native.center_coordinates()
    extended = mdtraj.Trajectory(extended_chain(native.n_atoms)[None], native.topology)
    extended.center_coordinates()
    output.mkdir(parents=True, exist_ok=True)
    native.save_pdb(str(output / "chignolin_native_ca.pdb"))
    extended.save_pdb(str(output / "chignolin_unfolded_ca.pdb"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
