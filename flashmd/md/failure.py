"""What happens when a trajectory explodes: find the step, the replica and the bead, and keep the state before it.

Looking at every step would make the host wait for the device at every step. A chunk of steps is therefore looked at
once, at its end. If anything in it is not finite, the chunk is run again from its start, which repeats it exactly, with
a model that looks at every step.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flashmd.errors import NonFiniteForceError, OutputError
from flashmd.md.reporters import write_pdb
from flashmd.md.run_folder import RunFolder, write_atomically
from flashmd.md.state import MDState
from flashmd.protocols import EnergyModel, Evaluation
from flashmd.system import System

EXPLODED_NM = 1.0e5
"""No molecule is that large, and beyond 2e6 nm the XTC format cannot hold a coordinate."""
_PDB_LIMIT_NM = 900.0


def is_sound(state: MDState) -> Tensor:
    """Return whether a state is finite and of a possible size, as one flag on the device."""
    # Comparisons with NaN are false.
    sizes = state.positions.abs().amax() < EXPLODED_NM
    return sizes & state.velocities.isfinite().all() & state.forces.isfinite().all() & state.energy.isfinite().all()


@dataclass
class WatchedModel:
    """An energy model that stops at the first bead whose position or force is not sound.

    Attributes:
        model: the model.
        step: step that the next evaluation belongs to.
    """

    model: EnergyModel
    step: int

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Evaluate and look.

        Raises:
            NonFiniteForceError: a position, force or energy is not sound.
        """
        # Looking before the call: a neighbour list refuses such positions in its own words.
        self._look((system.positions.abs() < EXPLODED_NM).all(1), system)
        evaluation = self.model.evaluate(system, virial=virial)
        self._look(evaluation.forces.isfinite().all(1), system)
        self._look(evaluation.energy.isfinite()[system.batch], system)
        self.step += 1
        return evaluation

    def _look(self, sound: Tensor, system: System) -> None:
        if not bool(sound.all()):
            atom = int(torch.nonzero(~sound)[0])
            replica = int(system.batch[atom])
            raise NonFiniteForceError(self.step, replica, atom - int(system.ptr[replica]))


def find_failure(
    start: MDState, model: EnergyModel, advance: Callable[[MDState, EnergyModel], MDState], *, last_step: int
) -> tuple[MDState, NonFiniteForceError] | None:
    """Run a chunk again step by step.

    Args:
        start: state at the start of the chunk.
        model: energy model, its memory already back at the start of the chunk.
        advance: makes one step with everything that belongs to it.
        last_step: end of the chunk.

    Returns:
        The last sound state and the error, or None where nothing is wrong with the numbers.
    """
    watched, state = WatchedModel(model, start.step + 1), start
    while state.step < last_step:
        try:
            state = advance(state, watched)
        except NonFiniteForceError as error:
            return state, error
    return None


def dump_failure(folder: RunFolder, topology: Any, state: MDState, error: NonFiniteForceError) -> NonFiniteForceError:
    """Write the last sound state of the replica that failed and return the error that names the files."""
    begin, end = (int(each) for each in state.system.ptr[error.system : error.system + 2])
    content = io.BytesIO()
    positions = state.positions[begin:end].cpu().numpy()
    np.savez(
        content,
        step=state.step,
        replica=error.system,
        bead=error.atom,
        temperature=float(state.temperature[error.system]),
        positions=positions,
        velocities=state.velocities[begin:end].cpu().numpy(),
        forces=state.forces[begin:end].cpu().numpy(),
    )
    files = ["failure.npz"]
    detail = f"The replica is at {float(state.temperature[error.system]):.1f} K;"
    try:
        write_atomically(folder.path / "failure.npz", content.getvalue())
        if abs(positions).max() < _PDB_LIMIT_NM:
            write_pdb(folder.path / "failure.pdb", topology, positions)
            files.append("failure.pdb")
        detail += f" its last finite state (step {state.step}) is in {' and '.join(files)} of {folder.path}."
    except OutputError as trouble:
        detail += f" its state was not kept: {trouble}"
    return NonFiniteForceError(error.step, error.system, error.atom, detail)
