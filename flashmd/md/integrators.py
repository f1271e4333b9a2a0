"""Integrators: one force evaluation per step, each a pair `init` and `step` that returns a new `MDState`.

No factor of units appears, because 1 kJ/mol = 1 Da nm^2/ps^2. Nothing in a step waits for the device.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.md.state import MDState, initial_state
from flashmd.ops.langevin import LangevinRule, Motion, langevin_step
from flashmd.protocols import EnergyModel
from flashmd.system import System


def _require(condition: bool, name: str, expected: str, got: float, fix: str) -> None:
    if not condition:
        raise ValueError(message(f"`{name}`", expected, f"{got}", fix))


class _DrawsVelocities:
    """The start of every integrator."""

    seed: int
    backend: str

    def init(
        self, system: System, model: EnergyModel, *, temperature: Tensor | float, identities: Tensor | None = None
    ) -> MDState:
        """Return the state at step 0 with drawn velocities; see `initial_state` for the arguments."""
        return initial_state(
            system, model, temperature=temperature, seed=self.seed, identities=identities, backend=self.backend
        )


@dataclass(frozen=True)
class LangevinBAOAB(_DrawsVelocities):
    r"""Langevin dynamics split as B A O A B.

    .. math::
        B:\quad v &\leftarrow v + \tfrac{1}{2} \Delta t\, m^{-1} f(x) \\
        A:\quad x &\leftarrow x + \tfrac{1}{2} \Delta t\, v \\
        O:\quad v &\leftarrow e^{-\gamma \Delta t} v + \sqrt{1 - e^{-2 \gamma \Delta t}} \sqrt{k_B T / m}\; \xi

    ======================================  ======================================
    symbol                                  variable
    ======================================  ======================================
    :math:`\Delta t`                        `time_step`, ps
    :math:`\gamma`                          `friction`, 1/ps
    :math:`x, v, f`                         `positions`, `velocities`, `forces`
    :math:`m^{-1}`                          `inverse_mass`
    :math:`\sqrt{k_B T / m}`                `thermal_speed`
    :math:`e^{-\gamma \Delta t}`            `keep`
    :math:`\sqrt{1-e^{-2\gamma\Delta t}}`   `noise_amplitude`
    :math:`\xi`                             standard normal, keyed by seed, replica, bead and step
    ======================================  ======================================

    The order B A O A B samples positions of a harmonic oscillator without error in the time step.

    Source: B. Leimkuhler, C. Matthews, Appl. Math. Res. Express 2013, 34, doi:10.1093/amrx/abs010.

    Attributes:
        time_step: ps.
        friction: 1/ps.
        seed: seed of the run.
        backend: "kernel" or "reference", see :mod:`flashmd.ops`.

    Example:
        >>> import torch
        >>> from flashmd.md import LangevinBAOAB
        >>> from flashmd.protocols import Evaluation
        >>> from flashmd.system import System
        >>> class Free:
        ...     def evaluate(self, system, *, virial=False):
        ...         zeros = torch.zeros_like(system.positions)
        ...         return Evaluation(torch.zeros(system.n_systems, dtype=torch.float64), zeros)
        >>> integrator = LangevinBAOAB(0.004, 1.0, seed=1, backend="reference")
        >>> system = System.single(torch.zeros(2, 3), torch.tensor([1, 1])).replicate(3)
        >>> state = integrator.init(system, Free(), temperature=300.0)
        >>> integrator.step(state, Free()).step
        1
    """

    time_step: float
    friction: float
    seed: int
    backend: str = "kernel"
    keep: float = dataclasses.field(init=False)
    noise_amplitude: float = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        _require(self.time_step > 0, "time_step", "a positive time in ps", self.time_step, "pass for example 0.004")
        _require(self.friction >= 0, "friction", "zero or more, in 1/ps", self.friction, "pass for example 1.0")
        object.__setattr__(self, "keep", math.exp(-self.friction * self.time_step))
        object.__setattr__(self, "noise_amplitude", math.sqrt(-math.expm1(-2.0 * self.friction * self.time_step)))

    def step(self, state: MDState, model: EnergyModel) -> MDState:
        """Advance all replicas by one time step."""
        half = 0.5 * self.time_step
        motion = Motion(
            state.positions, state.velocities, state.forces, state.inverse_mass, state.thermal_speed, state.streams
        )
        rule = LangevinRule(half, self.keep, self.noise_amplitude)
        positions, velocities = langevin_step(
            motion, rule, seed=self.seed, counter=state.step + 1, backend=self.backend
        )
        system = state.system.with_positions(positions)
        evaluation = model.evaluate(system)
        velocities = velocities.addcmul_(evaluation.forces, state.inverse_mass, value=half)
        return _advanced(state, system, velocities, forces=evaluation.forces, energy=evaluation.energy)


@dataclass(frozen=True)
class VelocityVerlet(_DrawsVelocities):
    r"""Newton's equations by velocity Verlet: symplectic, reversible, energy error of second order in the time step.

    .. math::
        v &\leftarrow v + \tfrac{1}{2} \Delta t\, m^{-1} f(x) \\
        x &\leftarrow x + \Delta t\, v \\
        v &\leftarrow v + \tfrac{1}{2} \Delta t\, m^{-1} f(x)

    ====================  ==============================================
    symbol                variable
    ====================  ==============================================
    :math:`\Delta t`      `time_step`, ps
    :math:`x, v, f`       `positions`, `velocities`, `forces`
    :math:`m^{-1}`        `inverse_mass`
    ====================  ==============================================

    Source: W. C. Swope et al., J. Chem. Phys. 76, 637 (1982), doi:10.1063/1.442716.

    Attributes:
        time_step: ps.
        seed: seed of the initial velocities.
        backend: implementation of the random numbers, "kernel" or "reference".
    """

    time_step: float
    seed: int = 0
    backend: str = "kernel"

    def __post_init__(self) -> None:
        _require(self.time_step != 0, "time_step", "a time other than zero", self.time_step, "pass for example 0.002")

    def step(self, state: MDState, model: EnergyModel) -> MDState:
        """Advance all replicas by one time step; a negative `time_step` runs backwards."""
        half = 0.5 * self.time_step
        velocities = torch.addcmul(state.velocities, state.forces, state.inverse_mass, value=half)
        positions = torch.add(state.positions, velocities, alpha=self.time_step)
        system = state.system.with_positions(positions)
        evaluation = model.evaluate(system)
        velocities = velocities.addcmul_(evaluation.forces, state.inverse_mass, value=half)
        return _advanced(state, system, velocities, forces=evaluation.forces, energy=evaluation.energy)


def _advanced(state: MDState, system: System, velocities: Tensor, *, forces: Tensor, energy: Tensor) -> MDState:
    return MDState(
        system=system,
        velocities=velocities,
        forces=forces,
        energy=energy,
        temperature=state.temperature,
        thermal_speed=state.thermal_speed,
        inverse_mass=state.inverse_mass,
        streams=state.streams,
        step=state.step + 1,
    )
