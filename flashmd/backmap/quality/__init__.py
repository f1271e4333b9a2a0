"""Measures of all-atom structures and ensembles, alone or against a reference."""

from flashmd.backmap.quality.deviation_measures import Deviations, deviations
from flashmd.backmap.quality.ensembles import (
    coherence,
    diversity,
    rotamer_counts,
    rotamer_divergence,
    side_chain_diversity,
)
from flashmd.backmap.quality.files import Structures, place_reference, read_structures
from flashmd.backmap.quality.ideal import angle_errors, ideal_bonds
from flashmd.backmap.quality.lengths import BondErrors, bond_errors
from flashmd.backmap.quality.overlap_counts import clash_score, overlaps
from flashmd.backmap.quality.ramachandran import ramachandran_outliers
from flashmd.backmap.quality.stereo import d_residues, handedness, mirrored_side_chains
from flashmd.backmap.quality.table import (
    COLUMNS,
    ENERGY_COLUMNS,
    Column,
    as_text,
    assess,
    medians,
    rows_of,
    write_table,
)
from flashmd.backmap.quality.torsion_angles import (
    Torsions,
    backbone_errors,
    chi_recovery,
    cis_prolines,
    omega_flips,
    torsions,
)

__all__ = [
    "COLUMNS",
    "ENERGY_COLUMNS",
    "BondErrors",
    "Column",
    "Deviations",
    "Structures",
    "Torsions",
    "angle_errors",
    "as_text",
    "assess",
    "backbone_errors",
    "bond_errors",
    "chi_recovery",
    "cis_prolines",
    "clash_score",
    "coherence",
    "d_residues",
    "deviations",
    "diversity",
    "handedness",
    "ideal_bonds",
    "medians",
    "mirrored_side_chains",
    "omega_flips",
    "overlaps",
    "place_reference",
    "ramachandran_outliers",
    "read_structures",
    "rotamer_counts",
    "rotamer_divergence",
    "rows_of",
    "side_chain_diversity",
    "torsions",
    "write_table",
]
