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
        self._integrator, self._model, self._ops, self._start = integrator, model, ops, state
        self.system = state.system.with_positions(state.positions.clone().contiguous())
        self._velocities = state.velocities.clone().contiguous()
        self._forces, self._energy = state.forces.clone().contiguous(), state.energy.clone()
        self._speed, self._inverse_mass = state.thermal_speed.contiguous(), state.inverse_mass.contiguous()
        self._step = torch.tensor([state.step], device=state.positions.device)

    @torch.no_grad()
    def evaluate(self) -> None:
        """Evaluate the model at the present positions; makes the memory that it keeps."""
        self._model.evaluate(self.system)

    @torch.no_grad()
    def step_(self) -> None:
        """Advance all replicas by one time step."""
        rule = self._integrator
        memory = (self.system.positions, self._velocities, self._forces, self._inverse_mass, self._speed)
        options = (self._start.streams, self._step, _signed(rule.seed), rule.time_step, rule.friction)
        self._ops.langevin_begin_(*memory, *options)
        evaluation = self._model.evaluate(self.system)
        self._forces.copy_(evaluation.forces)
        self._energy.copy_(evaluation.energy)
        self._ops.langevin_end_(*memory, *options)

    def state(self, n_steps: int) -> MDState:
        """Return the state after `n_steps` steps; its tensors stay as they are."""
        return dataclasses.replace(
            self._start,
            system=self._start.system.with_positions(self.system.positions.clone()),
            velocities=self._velocities.clone(),
            forces=self._forces.clone(),
            energy=self._energy.clone(),
            step=self._start.step + n_steps,
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
        self._loop, self._n_steps = LangevinLoop(integrator, state, model), 0
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

    def run(self, n_steps: int) -> MDState:
        """Advance all replicas by `n_steps` time steps and return their state."""
        for _ in range(n_steps):
            self._graph.replay()
        self._n_steps += n_steps
        return self._loop.state(self._n_steps)


def _signed(seed: int) -> int:
    """Read a seed as a signed 64-bit integer with the same bits, as `philox_normal` does."""
    return seed - (1 << 64) if seed >= 1 << 63 else seed
