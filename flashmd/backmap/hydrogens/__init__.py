"""Hydrogens of proteins: which there are, and where ideal geometry puts them, as functions of the heavy atoms."""

from flashmd.backmap.hydrogens.protonation import AllAtoms, all_atoms
from flashmd.backmap.hydrogens.riding import Riding
from flashmd.backmap.hydrogens.torsions import choose_torsions

__all__ = ["AllAtoms", "Riding", "all_atoms", "choose_torsions"]
