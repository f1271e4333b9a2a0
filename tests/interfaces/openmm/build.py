"""Small molecules for OpenMM, and Contexts of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openmm
import openmm.app
from openmm import unit

from flashmd.nn import SchNetConfig
from flashmd.potential import SchNetPotential

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "data" / "structures" / "chignolin_native_ca.pdb"
ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8}
TRICLINIC = ((1.3, 0.0, 0.0), (0.3, 1.2, 0.0), (-0.2, 0.4, 1.1))
"""In the reduced form that OpenMM asks for, nm."""
ACROSS = 0.4
"""Spacing, nm, with which 27 atoms fill that box, so that they see each other across its faces."""
BACKENDS = ["python", "native"]


def network(*, seed: int = 0, scale: float = 30.0) -> SchNetPotential:
    """A random network of four elements, of forces that a short run can follow."""
    config = SchNetConfig(
        n_types=9, n_channels=16, n_filters=16, n_basis=12, n_blocks=2, readout=(8,), cutoff_upper=0.5
    )
    made = SchNetPotential(config, seed=seed, bead_types=ELEMENTS)
    made.network.readout.layers[-1].weight.data *= scale
    return made


def symbols_of(n_atoms: int) -> list[str]:
    """Elements in turn."""
    return [list(ELEMENTS)[i % len(ELEMENTS)] for i in range(n_atoms)]


def topology_of(
    symbols: Sequence[str], box: Sequence[Sequence[float]] | None = None, *, residue: str = "MOL"
) -> openmm.app.Topology:
    """One residue of atoms, named after their elements."""
    topology = openmm.app.Topology()
    added = topology.addResidue(residue, topology.addChain())
    for index, symbol in enumerate(symbols):
        topology.addAtom(f"{symbol}{index}", openmm.app.Element.getBySymbol(symbol), added)
    if box is not None:
        topology.setPeriodicBoxVectors([openmm.Vec3(*row) for row in box] * unit.nanometer)
    return topology


def positions_of(n_atoms: int, *, seed: int = 0, spacing: float = 0.2, noise: float = 0.02) -> np.ndarray:
    """Atoms on a noisy grid, [n_atoms, 3], nm."""
    n = int(np.ceil(n_atoms ** (1 / 3)))
    grid = spacing * np.stack(np.meshgrid(*3 * [np.arange(n)], indexing="ij"), -1).reshape(-1, 3)[:n_atoms]
    return grid + np.random.default_rng(seed).normal(0.0, noise, grid.shape)


def context_of(
    system: openmm.System,
    positions: np.ndarray | unit.Quantity,
    *,
    platform: str = "Reference",
    integrator: openmm.Integrator | None = None,
) -> openmm.Context:
    """A Context; double precision where a GPU platform offers it, and one thread on the CPU."""
    chosen = openmm.Platform.getPlatformByName(platform)
    properties = {"Threads": "1"} if platform == "CPU" else {}
    made = openmm.Context(system, integrator or openmm.VerletIntegrator(0.001), chosen, properties)
    made.setPositions(positions)
    return made


def evaluated(context: openmm.Context, groups: int = -1) -> tuple[float, np.ndarray]:
    """Energy, kJ/mol, and forces [n_particles, 3], kJ/mol/nm."""
    state = context.getState(energy=True, forces=True, groups=groups)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def particles_with(force: openmm.Force, n_particles: int, mass: float = 12.0) -> openmm.System:
    """A System of equal particles and one force."""
    system = openmm.System()
    for _ in range(n_particles):
        system.addParticle(mass)
    system.addForce(force)
    return system
