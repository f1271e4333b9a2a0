"""Restart files of foreign simulations: positions and velocities of all systems, one after the other, without types."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashmd.errors import CheckpointError, message
from flashmd.potential.mlcg_import.tree import checked, refuse
from flashmd.system import System
from flashmd.units import ANGSTROM

_KEYS = frozenset({"pos", "velocities", "current_timestep"})


@dataclass(frozen=True)
class RestartState:
    """Where a foreign simulation stopped.

    Attributes:
        positions: [n_atoms, 3], nm, float64.
        velocities: [n_atoms, 3], nm/ps, float64.
        step: steps done.
    """

    positions: Tensor
    velocities: Tensor
    step: int

    def place(self, systems: Sequence[System]) -> list[System]:
        """Return the systems at the positions of the state.

        Args:
            systems: the configurations the simulation was started from, in its order.

        Raises:
            CheckpointError: the numbers of beads differ.
        """
        sizes = [system.n_atoms for system in systems]
        if sum(sizes) != self.positions.shape[0]:
            fix = "pass the model and configuration file that the simulation was started with"
            expected, got = f"configurations of {self.positions.shape[0]} beads in all", f"{sum(sizes)}"
            raise CheckpointError(message("the restart file", expected, got, fix))
        parts = self.positions.split(sizes)
        return [s.with_positions(part.to(s.positions)) for s, part in zip(systems, parts, strict=True)]


def is_restart(value: object) -> bool:
    """Whether an object of a file is the state of a simulation."""
    return isinstance(value, dict) and set(value) >= _KEYS


def translate_restart(value: Mapping[Any, Any], name: str) -> RestartState:
    """Return the state in nm and ps; angstrom and picoseconds in the file.

    Args:
        value: the table in the file.
        name: of the file, for messages.
    """
    positions, velocities, step = value["pos"], value["velocities"], value["current_timestep"]
    if not isinstance(positions, Tensor) or positions.dim() != 2 or positions.shape[1] != 3:
        refuse(f"{name}.pos", "positions of shape (n, 3)", reprlib.repr(getattr(positions, "shape", positions)))
    if not isinstance(velocities, Tensor):
        refuse(f"{name}.velocities", "a tensor", reprlib.repr(velocities))
    if not isinstance(step, int) or step < 0:
        refuse(f"{name}.current_timestep", "a number of steps", reprlib.repr(step))
    shape = tuple(positions.shape)
    x, v = checked(positions, f"{name}.pos", shape), checked(velocities, f"{name}.velocities", shape)
    return RestartState((x * ANGSTROM).to(torch.float64), (v * ANGSTROM).to(torch.float64), step)
