"""Force fields of OpenMM: hydrogens, energies, minimisation and short dynamics of all-atom structures."""

from flashmd.backmap.force_fields.columns import assess_energies
from flashmd.backmap.force_fields.dynamics import DynamicsCheck, md_check
from flashmd.backmap.force_fields.energy_workers import EnergyBatch, EnergyWorkers
from flashmd.backmap.force_fields.evaluation import SinglePoints, single_points
from flashmd.backmap.force_fields.hydrogens import Hydrogenated, add_hydrogens
from flashmd.backmap.force_fields.minimization import Minimized, minimize
from flashmd.backmap.force_fields.molecule import ForceFieldName, Molecule

__all__ = [
    "DynamicsCheck",
    "EnergyBatch",
    "EnergyWorkers",
    "ForceFieldName",
    "Hydrogenated",
    "Minimized",
    "Molecule",
    "SinglePoints",
    "add_hydrogens",
    "assess_energies",
    "md_check",
    "minimize",
    "single_points",
]
