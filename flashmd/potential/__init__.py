"""Potentials: networks and priors, their sum, neighbour lists with a skin, and checkpoints."""

from flashmd.potential.atomic_energies import AtomicEnergies as AtomicEnergies
from flashmd.potential.base import Potential as Potential
from flashmd.potential.checkpoint import load as load
from flashmd.potential.checkpoint import model_hash as model_hash
from flashmd.potential.checkpoint import save as save
from flashmd.potential.registry import register as register
from flashmd.potential.repulsion_cutoff import RepulsionCutoffReport as RepulsionCutoffReport
from flashmd.potential.repulsion_cutoff import cut_repulsion as cut_repulsion
from flashmd.potential.schnet_potential import SchNetPotential as SchNetPotential
from flashmd.potential.sum_potential import SumPotential as SumPotential
from flashmd.potential.verlet_list import VerletList as VerletList
