"""Coarse-graining: bead types, mapping of structures, lists of terms, and maps of forces."""

from flashmd.cg.beads import CA_TYPES, FIVE_BEAD_TYPES, Resolution
from flashmd.cg.forces import aggregation_force_map, constrained_pairs_from, map_forces, optimal_force_map
from flashmd.cg.mapping import CGStructure, map_structure
from flashmd.cg.topology import build_system, interaction_lists

__all__ = [
    "CA_TYPES",
    "FIVE_BEAD_TYPES",
    "CGStructure",
    "Resolution",
    "aggregation_force_map",
    "build_system",
    "constrained_pairs_from",
    "interaction_lists",
    "map_forces",
    "map_structure",
    "optimal_force_map",
]
