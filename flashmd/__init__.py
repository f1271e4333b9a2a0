"""flashmd: molecular simulation with learned coarse-grained potentials."""

from flashmd.system import System as System

__version__ = "0.1.0"
