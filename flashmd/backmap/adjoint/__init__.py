"""Post-training by adjoint matching: samples of lower energy from a trained flow."""

from flashmd.backmap.adjoint.layout import AllAtoms, all_atoms
from flashmd.backmap.adjoint.riding import Riding
from flashmd.backmap.adjoint.torsions import choose_torsions

__all__ = ["AllAtoms", "Riding", "all_atoms", "choose_torsions"]
