"""What the benchmarks compute: compact chains at protein density, their thermal motion, one network for all of them.

A bead chain grows inside a sphere whose volume gives every bead the room that it has in a protein of five beads a
residue: 269 beads have about 44,000 directed edges within 1.5 nm. All replicas start from one chain and move
independently. The motion is prescribed (every bead oscillates about its start in a thermal bath), so that contestants
that differ in the last digit still see the same positions, and neighbour lists are rebuilt as often as in dynamics.
"""

import math

import numpy as np
import torch

from flashmd.md import LangevinBAOAB
from flashmd.nn import SchNet, SchNetConfig
from flashmd.protocols import Evaluation
from flashmd.system import System

DENSITY = 28.0  # beads/nm^3
BOND = 0.30  # nm, between neighbours in the chain
CONTACT = 0.20  # nm, closest approach of two beads
N_TYPES = 25  # twenty residues and the atoms of the backbone
MASS = 14.0  # Da, mean of the heavy atoms of a backbone
TEMPERATURE = 300.0  # K
FRICTION = 1.0  # 1/ps
SPRING = 700.0  # kJ/mol/nm^2, which lets a coordinate vary by 0.06 nm about its start
TIME_STEP = 0.004  # ps
_ATTEMPTS = 64


def network_config() -> SchNetConfig:
    """The published sizes: 128 channels and filters, 64 functions, 1.5 nm, four blocks."""
    return SchNetConfig(
        n_types=N_TYPES,
        n_channels=128,
        n_filters=128,
        n_basis=64,
        basis="expnormal",
        cutoff_upper=1.5,
        n_blocks=4,
        readout=(128, 64),
        activation="tanh",
    )


def build_network(*, seed: int = 0) -> SchNet:
    """A network of that size with random weights, float32."""
    return SchNet(network_config(), seed=seed)


def globule(n_beads: int, *, seed: int = 0) -> np.ndarray:
    """Grow a chain with excluded volume inside a sphere, [n_beads, 3], nm.

    A chain that has no room to grow loses its last beads and tries again.
    """
    random = np.random.default_rng(seed)
    radius = (3.0 * n_beads / (4.0 * math.pi * DENSITY)) ** (1.0 / 3.0)
    chain = np.zeros((n_beads, 3))
    grown, lost = 1, 1
    while grown < n_beads:
        direction = random.normal(size=(_ATTEMPTS, 3))
        trial = chain[grown - 1] + BOND * direction / np.linalg.norm(direction, axis=1, keepdims=True)
        free = np.linalg.norm(trial, axis=1) < radius
        near = np.linalg.norm(trial[:, None] - chain[None, :grown], axis=2).min(1)
        possible = np.flatnonzero(free & (near > CONTACT))
        if possible.size:
            chain[grown] = trial[possible[0]]
            grown, lost = grown + 1, max(1, lost - 1)
        else:
            grown, lost = max(1, grown - lost), min(2 * lost, n_beads)
    return chain


def build_system(n_beads: int, n_replicas: int, *, seed: int = 0) -> System:
    """Return equal replicas of one chain with random types, float32, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    types = torch.randint(N_TYPES, (n_beads,), generator=generator)
    positions = torch.from_numpy(globule(n_beads, seed=seed)).to(torch.float32)
    masses = torch.full((n_beads,), MASS)
    return System.single(positions, types, masses=masses).replicate(n_replicas)


class Motion:
    """Endless Langevin dynamics of a batch whose beads are held at their start by springs.

    Args:
        start: batch whose positions are the centres of the springs.
        seed: seed of the noise; equal seeds give equal paths.
    """

    def __init__(self, start: System, *, seed: int = 0) -> None:
        self._springs = _Springs(start)
        self._integrator = LangevinBAOAB(TIME_STEP, FRICTION, seed=seed)
        self._state = self._integrator.init(start, self._springs, temperature=TEMPERATURE)

    def step(self) -> System:
        """Advance by 4 fs and return the batch at its new positions."""
        self._state = self._integrator.step(self._state, self._springs)
        return self._state.system


class _Springs:
    """The energy model of the motion: one harmonic spring for every bead."""

    def __init__(self, start: System) -> None:
        self._energy = torch.zeros(start.n_systems, dtype=torch.float64, device=start.positions.device)
        self._centers = start.positions

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        assert not virial
        return Evaluation(self._energy, (self._centers - system.positions).mul_(SPRING))
