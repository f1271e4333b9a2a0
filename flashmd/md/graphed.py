"""Langevin steps as one CUDA graph: integrator, neighbour list, forces and noise without a word from the host.

A small batch needs less time for its kernels than the host needs to launch them. A graph launches them all at once. It
repeats the same calls on the same memory, so whatever changes from step to step lies on the device: the positions, the
number of the step, from which the noise follows, and whether the neighbour list must be rebuilt.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from flashmd.errors import message
from flashmd.md.integrators import LangevinBAOAB
from flashmd.md.state import MDState
from flashmd.protocols import EnergyModel


class LangevinLoop:
    """Steps of :class:`LangevinBAOAB` in memory that stays where it is.

    Args:
        integrator: rule of the step.
        state: where to start.
        model: energy model.
        ops: the operators.
    """

    def __init__(
        self, integrator: LangevinBAOAB, state: MDState, model: EnergyModel, *, ops: Any = torch.ops.flashmd
    ) -> None:
        self._integrator, self._model, self._ops, self._state = integrator, model, ops, state
        self.system = state.system.with_positions(state.positions.clone(memory_format=torch.contiguous_format))
        self._velocities, self._forces = torch.empty_like(self.system.positions), torch.empty_like(state.positions)
        self._energy, self._speed = torch.empty_like(state.energy), torch.empty_like(state.thermal_speed)
        self._inverse_mass, self._streams = state.inverse_mass.contiguous(), state.streams.contiguous()
        self._step = torch.empty(1, dtype=torch.int64, device=state.positions.device)
        self.load_(state)

    def load_(self, state: MDState) -> None:
        """Go on from another state of the same batch, such as one with exchanged temperatures."""
        self._state = state
        self.system.positions.copy_(state.positions)
        for own, given in (
            (self._velocities, state.velocities),
            (self._forces, state.forces),
            (self._energy, state.energy),
            (self._speed, state.thermal_speed),
        ):
            own.copy_(given)
        self._step.fill_(state.step)

    @torch.no_grad()
    def evaluate(self) -> None:
        """Evaluate the model at the present positions; makes the memory that it keeps."""
        self._model.evaluate(self.system)

    @torch.no_grad()
    def step_(self) -> None:
        """Advance all replicas by one time step."""
        rule = self._integrator
        memory = (self.system.positions, self._velocities, self._forces, self._inverse_mass, self._speed)
        options = (self._streams, self._step, _signed(rule.seed), rule.time_step, rule.friction)
        self._ops.langevin_begin_(*memory, *options)
        evaluation = self._model.evaluate(self.system)
        self._forces.copy_(evaluation.forces)
        self._energy.copy_(evaluation.energy)
        self._ops.langevin_end_(*memory, *options)

    def state(self, n_steps: int) -> MDState:
        """Return the state `n_steps` steps after the one that was loaded; its tensors stay as they are."""
        return dataclasses.replace(
            self._state,
            system=self._state.system.with_positions(self.system.positions.clone()),
            velocities=self._velocities.clone(),
            forces=self._forces.clone(),
            energy=self._energy.clone(),
            step=self._state.step + n_steps,
        )


class GraphedStep:
    """Langevin dynamics of one batch by one CUDA graph for each step.

    Noise and result are those of :class:`LangevinBAOAB` up to rounding.

    Args:
        integrator: rule of the step.
        state: where to start, on a GPU.
        model: energy model whose evaluation does not wait for the device, such as a compiled potential.

    Raises:
        ValueError: the state is not on a GPU.
        RuntimeError: the model waits for the device.
    """

    def __init__(self, integrator: LangevinBAOAB, state: MDState, model: EnergyModel) -> None:
        device = state.positions.device
        if device.type != "cuda":
            fix = "move the system to a GPU, or call `LangevinBAOAB.step`"
            raise ValueError(message("`state`", "tensors on a CUDA device", str(device), fix))
        self._loop, self._last = LangevinLoop(integrator, state, model), state
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            self._loop.evaluate()
        torch.cuda.current_stream(device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self._graph):
                self._loop.step_()
        except RuntimeError as error:
            expected, fix = "an evaluation that never waits for the device", "compile the potential"
            raise RuntimeError(message("`model`", expected, f"{error}", fix)) from error

    def run(self, n_steps: int, state: MDState | None = None) -> MDState:
        """Advance all replicas by `n_steps` time steps and return their state.

        Args:
            n_steps: steps.
            state: where to go on, of the same batch; where the last run ended if left out.
        """
        self._loop.load_(self._last if state is None else state)
        for _ in range(n_steps):
            self._graph.replay()
        self._last = self._loop.state(n_steps)
        return self._last


def _signed(seed: int) -> int:
    """Read a seed as a signed 64-bit integer with the same bits, as `philox_normal` does."""
    return seed - (1 << 64) if seed >= 1 << 63 else seed
