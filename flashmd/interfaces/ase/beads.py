"""From a mapped structure to ASE's atoms: one atom for each bead, with the arrays that a calculator reads."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import ase
import numpy as np

from flashmd.cg import FIVE_BEAD_TYPES, CGStructure, Resolution, map_structure
from flashmd.cg.beads import bead_type
from flashmd.units import ANGSTROM

if TYPE_CHECKING:
    from mdtraj import Trajectory


def beads_to_atoms(
    source: str | PathLike[str] | Trajectory | CGStructure, resolution: Resolution = "ca", *, frame: int = 0
) -> ase.Atoms:
    """Map a structure to beads and return them as atoms.

    Every bead has the element of the atom that carries it, its own mass, and the arrays ``bead_type``,
    ``residuenames``, ``atomtypes``, ``residuenumbers`` and ``chainids``, which extended XYZ files keep.

    Args:
        source: file, trajectory or mapped structure; see :func:`flashmd.cg.map_structure`.
        resolution: "ca" or "five_bead"; a mapped structure has its own.
        frame: index of the frame.

    Raises:
        ValueError: the structure cannot be mapped.

    Example:
        >>> from flashmd.interfaces.ase import beads_to_atoms
        >>> beads = beads_to_atoms("data/structures/chignolin_native_ca.pdb")
        >>> beads.arrays["bead_type"][:3].tolist()
        ['TYR', 'TYR', 'ASP']
    """
    structure = source if isinstance(source, CGStructure) else map_structure(source, resolution)
    residue = structure.residue_index.numpy()
    names = structure.bead_names
    residues = np.array(structure.sequence)[residue]
    known = {number: name for name, number in FIVE_BEAD_TYPES.items()}
    types = [known[bead_type(r, name, structure.resolution)] for r, name in zip(residues, names, strict=True)]
    # Names of backbone atoms begin with the element, and all others are carbons.
    atoms = ase.Atoms(
        symbols=[name[0] for name in names],
        positions=structure.positions[frame].double().numpy() / ANGSTROM,
        masses=structure.masses.numpy(),
    )
    atoms.set_array("bead_type", np.array(types))
    atoms.set_array("residuenames", residues)
    atoms.set_array("atomtypes", np.array(names))
    atoms.set_array("residuenumbers", np.array(structure.residue_ids)[residue])
    atoms.set_array("chainids", np.array(structure.chain)[residue])
    return atoms
