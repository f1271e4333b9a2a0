"""The part of a Langevin step before the new forces, in one pass over the state.

Every number is computed by itself, so the bits depend neither on threads nor on the other replicas of a batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from flashmd.ops._extension import Operator, use_kernels
from flashmd.ops.random import philox_normal, signed_seed


class LangevinRule(NamedTuple):
    """Constants of a step; see :class:`flashmd.md.LangevinBAOAB` for the equations.

    Attributes:
        half_step: half the time step, ps.
        keep: share of the velocity that the heat bath leaves.
        noise_amplitude: noise that it adds, in units of the thermal speed.
    """

    half_step: float
    keep: float
    noise_amplitude: float


class Motion(NamedTuple):
    """What a step reads.

    Attributes:
        positions: [n_atoms, 3], nm.
        velocities: [n_atoms, 3], nm/ps.
        forces: [n_atoms, 3], kJ/mol/nm, at the positions.
        inverse_mass: [n_atoms, 1], 1/Da.
        thermal_speed: [n_atoms, 1], nm/ps.
        streams: [n_atoms], int64, random stream of each atom.
    """

    positions: Tensor
    velocities: Tensor
    forces: Tensor
    inverse_mass: Tensor
    thermal_speed: Tensor
    streams: Tensor


def langevin_step(
    motion: Motion, rule: LangevinRule, *, seed: int, counter: int, backend: str = "kernel"
) -> tuple[Tensor, Tensor]:
    """Return positions and velocities after half a kick, half a drift, the heat bath and half a drift.

    Args:
        motion: the state.
        rule: constants of the step.
        seed: seed of the noise, see :func:`philox_normal`.
        counter: number of the step, which names the noise.
        backend: "kernel" or "reference".
    """
    if use_kernels(backend):
        result: tuple[Tensor, Tensor] = _STEP(*motion, signed_seed(seed), counter, *rule)
        return result
    velocities = torch.addcmul(motion.velocities, motion.forces, motion.inverse_mass, value=rule.half_step)
    positions = torch.add(motion.positions, velocities, alpha=rule.half_step)
    noise = philox_normal(seed, motion.streams, counter, 3, dtype=positions.dtype, backend=backend)
    velocities = torch.addcmul(velocities.mul_(rule.keep), noise, motion.thermal_speed, value=rule.noise_amplitude)
    return positions.add_(velocities, alpha=rule.half_step), velocities


def _fake(positions: Tensor, velocities: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    del rest
    return positions.new_empty(positions.shape), velocities.new_empty(velocities.shape)


_STEP = Operator("langevin_step", _fake)
