"""OpenMM: a potential as an `openmm.Force`, and whole systems of it."""

from flashmd.interfaces.openmm.beads import coarse_grain
from flashmd.interfaces.openmm.compute import PotentialCompute, last_exception
from flashmd.interfaces.openmm.context import ContextModel
from flashmd.interfaces.openmm.force import create_force, create_system
from flashmd.interfaces.openmm.native import load_plugin, native_force, write_compiled

__all__ = [
    "ContextModel",
    "PotentialCompute",
    "coarse_grain",
    "create_force",
    "create_system",
    "last_exception",
    "load_plugin",
    "native_force",
    "write_compiled",
]
