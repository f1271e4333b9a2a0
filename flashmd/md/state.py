"""The state of a batch of replicas between two steps, and the velocities it starts with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.md.random_streams import VELOCITY_COUNTER, bead_streams
from flashmd.ops import philox_normal, segment_sum
from flashmd.protocols import EnergyModel
from flashmd.system import System
from flashmd.units import BOLTZMANN


@dataclass(frozen=True)
class MDState:
    """All that a step reads and writes. A step returns a new state; tensors of an old one stay as they were.

    Attributes:
        system: replicas at their present positions.
        velocities: [n_atoms, 3], nm/ps.
        forces: [n_atoms, 3], kJ/mol/nm, at the present positions.
        energy: [n_systems], kJ/mol, float64, potential energy at the present positions.
        temperature: [n_systems], K, float64, of the heat bath of each replica.
        thermal_speed: [n_atoms, 1], nm/ps, ``sqrt(k_B T / m)``.
        inverse_mass: [n_atoms, 1], 1/Da.
        streams: [n_atoms], int64, random stream of each bead.
        step: number of steps made.
    """

    system: System
    velocities: Tensor
    forces: Tensor
    energy: Tensor
    temperature: Tensor
    thermal_speed: Tensor
    inverse_mass: Tensor
    streams: Tensor
    step: int

    @property
    def positions(self) -> Tensor:
        """[n_atoms, 3], nm."""
        return self.system.positions

    def with_temperature(self, temperature: Tensor) -> MDState:
        """Return the state with other heat baths ([n_systems], K); velocities are left as they are."""
        speed = _thermal_speed(self.system, temperature)
        return dataclasses.replace(self, temperature=temperature, thermal_speed=speed)


def _thermal_speed(system: System, temperature: Tensor) -> Tensor:
    squared = BOLTZMANN * temperature.to(torch.float64)[system.batch] / system.masses.to(torch.float64)
    return squared.sqrt().to(system.positions.dtype)[:, None]


def initial_state(
    system: System,
    model: EnergyModel,
    *,
    temperature: Tensor | float,
    seed: int,
    identities: Tensor | None = None,
    velocities: Tensor | None = None,
    backend: str = "kernel",
) -> MDState:
    """Evaluate the model once and draw Maxwell-Boltzmann velocities.

    Args:
        system: replicas to start from.
        model: energy model.
        temperature: [n_systems] or one number, K.
        seed: seed of the run.
        identities: [n_systems], int64, identity of each replica, which names its random numbers; 0, 1, ... by default.
        velocities: [n_atoms, 3], nm/ps, in place of drawn ones.
        backend: implementation of the random numbers, "kernel" or "reference".

    Raises:
        ValueError: a mass is not positive, or `identities` does not name every replica.
    """
    if not bool((system.masses > 0).all()):
        raise ValueError(message("`masses`", "positive masses", "zero or less", "give every bead its mass in Da"))
    device = system.positions.device
    names = torch.arange(system.n_systems, device=device) if identities is None else identities.to(device)
    if names.shape != (system.n_systems,):
        expected = f"shape ({system.n_systems},)"
        raise ValueError(message("`identities`", expected, f"{tuple(names.shape)}", "name each replica once"))
    baths = torch.as_tensor(temperature, dtype=torch.float64, device=device).expand(system.n_systems).clone()
    speed = _thermal_speed(system, baths)
    streams = bead_streams(names, system.ptr)
    if velocities is None:
        dtype = system.positions.dtype
        velocities = speed * philox_normal(seed, streams, VELOCITY_COUNTER, 3, dtype=dtype, backend=backend)
    evaluation = model.evaluate(system)
    return MDState(
        system=system,
        velocities=velocities,
        forces=evaluation.forces,
        energy=evaluation.energy,
        temperature=baths,
        thermal_speed=speed,
        inverse_mass=system.masses.reciprocal()[:, None],
        streams=streams,
        step=0,
    )


def kinetic_energy(state: MDState, *, backend: str = "kernel") -> Tensor:
    """Return the kinetic energy of every replica, [n_systems] float64, kJ/mol."""
    velocities = state.velocities.to(torch.float64)
    each = 0.5 * state.system.masses.to(torch.float64)[:, None] * velocities.square()
    return segment_sum(each.sum(1, keepdim=True), state.system.ptr, backend=backend)[:, 0]


def kinetic_temperature(state: MDState, *, backend: str = "kernel") -> Tensor:
    """Return ``2 E_kin / (3 n k_B)`` of every replica, [n_systems] float64, K; no degree of freedom is constrained."""
    counts = (state.system.ptr[1:] - state.system.ptr[:-1]).to(torch.float64)
    return 2.0 * kinetic_energy(state, backend=backend) / (3.0 * BOLTZMANN * counts)


def recentre(state: MDState, *, backend: str = "kernel") -> MDState:
    """Move the centre of every replica to the origin. Forces and energies do not change for a free molecule."""
    system = state.system
    positions = system.positions.to(torch.float64)
    counts = (system.ptr[1:] - system.ptr[:-1]).to(torch.float64)[:, None]
    centre = segment_sum(positions, system.ptr, backend=backend) / counts
    moved = (positions - centre[system.batch]).to(system.positions.dtype)
    return dataclasses.replace(state, system=system.with_positions(moved))
