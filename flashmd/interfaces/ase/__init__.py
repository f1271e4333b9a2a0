"""Models as calculators of ASE, for atoms and for beads; units are those of ASE: eV, angstrom, Da."""

from flashmd.errors import require

try:
    import ase  # noqa: F401
except ImportError:
    raise require("ase", "ase") from None

from flashmd.interfaces.ase.beads import beads_to_atoms
from flashmd.interfaces.ase.calculator import FlashMDCalculator
from flashmd.interfaces.ase.energy_model import CalculatorModel

__all__ = ["CalculatorModel", "FlashMDCalculator", "beads_to_atoms"]
