r"""Equations of motion with the noise of each step laid open, which control variates need.

Overdamped, by the stochastic Heun scheme, of weak order 2 for such noise (Kloeden and Platen,
doi:10.1007/978-3-662-12616-5, section 15.1), with the mobility 1 / (gamma m):

.. math::
    Y_{k+1} = X_k + \frac{h}{\gamma m} F(Y_k) + \sqrt{\frac{2 kT h}{\gamma m}}\,\xi_k, \qquad
    X_{k+1} = Y_{k+1} + \frac{h}{2 \gamma m} \big(F(Y_{k+1}) - F(Y_k)\big)

The force of the predicted point Y serves the next step too, so a step takes one evaluation; the order stays.

Langevin, by BAOAB (Leimkuhler and Matthews, doi:10.1093/amrx/abs010): half a kick, half a drift, the exact
Ornstein-Uhlenbeck step of velocities :math:`v \to e^{-\gamma h} v + \sqrt{(1 - e^{-2 \gamma h})\,kT/m}\,\xi`, half a
drift, half a kick. Symbols: h ``time_step``, gamma ``friction``, m ``masses``, kT ``kT``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.kinetics.forces import EnergyFunction, ForceField, as_force_field

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Step:
    """One step of n paths.

    Attributes:
        state: the new state; its first tensor holds the coordinates [n, d].
        before: [n, d] or [n, 2 d], the point just before the noise acts, as surrogates see it.
        kick: of the same shape, by how much the noise moves that point; its mean is zero given `before`.
    """

    state: State
    before: Tensor
    kick: Tensor


class Dynamics(Protocol):
    """Markov chains that approximate a diffusion."""

    @property
    def kT(self) -> float:
        """Thermal energy."""
        ...

    @property
    def noise(self) -> Tensor:
        """Amplitude of the noise of the coordinates, [d] or []; zero where it acts on velocities only."""
        ...

    @property
    def has_velocities(self) -> bool:
        """Whether points are coordinates and velocities, [n, 2 d], for surrogates."""
        ...

    @property
    def thermal_speed(self) -> Tensor:
        """Standard deviation of the velocities, [d] or []; zero where there are none."""
        ...

    def drift(self, x: Tensor) -> Tensor:
        """Return the mean displacement per time at x [n, d], [n, d], of coordinates on which noise acts."""
        ...

    def start(self, x: Tensor, velocity: Tensor) -> State:
        """Return the state at x [n, d] with velocities [n, d]."""
        ...

    def point(self, state: State) -> Tensor:
        """Return what surrogates are functions of, [n, d] or [n, 2 d]."""
        ...

    def step(self, state: State, time_step: float, noise: Tensor) -> Step:
        """Advance by one step with normal numbers [n, d]."""
        ...


@dataclass(frozen=True)
class Overdamped:
    """Hold Brownian dynamics in a potential.

    Any consistent units do; with energies in kJ/mol, coordinates in nm and masses in Da time is in ps.

    Attributes:
        potential: a function from x [n, d] to energies [n], or an object with forces such as `SystemForces`.
        kT: thermal energy.
        friction: gamma, 1/time.
        masses: a number or [d]; None takes those of the potential if it has any, otherwise 1.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import Overdamped
        >>> harmonic = Overdamped(lambda x: 0.5 * (x**2).sum(1), kT=1.0, friction=1.0)
        >>> x = torch.ones(1, 2, dtype=torch.float64)
        >>> still = torch.zeros_like(x)
        >>> harmonic.step(harmonic.start(x, still), 0.1, still).state[0].tolist()
        [[0.905, 0.905]]
    """

    potential: EnergyFunction | ForceField
    kT: float
    friction: float = 1.0
    masses: float | Tensor | None = None
    force_field: ForceField = field(init=False, repr=False, compare=False)
    inertia: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _prepare(self)

    @property
    def noise(self) -> Tensor:
        """Square root of twice the diffusion coefficient, [d] or []."""
        return (2.0 * self.kT / (self.friction * self.inertia)).sqrt()

    @property
    def has_velocities(self) -> bool:
        """False: points are coordinates."""
        return False

    @property
    def thermal_speed(self) -> Tensor:
        """Zero: there are no velocities."""
        return torch.zeros((), dtype=torch.float64)

    def drift(self, x: Tensor) -> Tensor:
        """Return the mean displacement per time at x [n, d], [n, d]."""
        return self.force_field.forces(x) / (self.friction * self.inertia.to(x))

    def start(self, x: Tensor, velocity: Tensor) -> State:
        """Return coordinates and drift at x [n, d]; velocities do not matter."""
        del velocity
        return x, self.drift(x)

    def point(self, state: State) -> Tensor:
        """Return the coordinates, [n, d]."""
        return state[0]

    def step(self, state: State, time_step: float, noise: Tensor) -> Step:
        """Advance by one step with normal numbers [n, d]."""
        x, drift = state
        kick = (math.sqrt(time_step) * self.noise.to(x)) * noise
        predicted = torch.add(x + kick, drift, alpha=time_step)
        later = self.drift(predicted)
        return Step((torch.add(predicted, later - drift, alpha=0.5 * time_step), later), x, kick)


@dataclass(frozen=True)
class Langevin:
    """Hold dynamics with inertia; see `Overdamped` for the arguments.

    Velocities are drawn from Maxwell's distribution at the start, so results are averages over it. A surrogate is a
    function of coordinates and velocities, [n, 2 d]: `lift` makes one from a function of coordinates.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import Langevin
        >>> harmonic = Langevin(lambda x: 0.5 * (x**2).sum(1), kT=1.0, friction=2.0)
        >>> state = harmonic.start(torch.ones(1, 3), harmonic.thermal_speed * torch.ones(1, 3))
        >>> [tuple(each.shape) for each in harmonic.step(state, 0.01, torch.zeros(1, 3)).state]
        [(1, 3), (1, 3), (1, 3)]
    """

    potential: EnergyFunction | ForceField
    kT: float
    friction: float = 1.0
    masses: float | Tensor | None = None
    force_field: ForceField = field(init=False, repr=False, compare=False)
    inertia: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _prepare(self)

    @property
    def noise(self) -> Tensor:
        """Zero: noise acts on velocities."""
        return torch.zeros((), dtype=torch.float64)

    @property
    def has_velocities(self) -> bool:
        """True: points are coordinates and velocities."""
        return True

    @property
    def thermal_speed(self) -> Tensor:
        """Standard deviation of Maxwell's distribution, [d] or []."""
        return (self.kT / self.inertia).sqrt()

    def drift(self, x: Tensor) -> Tensor:
        """Return zeros: noise does not act on coordinates."""
        return torch.zeros_like(x)

    def start(self, x: Tensor, velocity: Tensor) -> State:
        """Return coordinates, velocities and forces at x [n, d]."""
        return x, velocity, self.force_field.forces(x)

    def point(self, state: State) -> Tensor:
        """Return coordinates and velocities, [n, 2 d]."""
        return torch.cat(state[:2], 1)

    def step(self, state: State, time_step: float, noise: Tensor) -> Step:
        """Advance by one step with normal numbers [n, d]."""
        x, velocity, force = state
        masses, half = self.inertia.to(x), 0.5 * time_step
        velocity = velocity + half * force / masses
        decay = math.exp(-self.friction * time_step)
        middle, slowed = x + half * velocity, decay * velocity
        spread = (-math.expm1(-2.0 * self.friction * time_step) * self.kT / masses).sqrt() * noise
        before, kick = torch.cat([middle + half * slowed, slowed], 1), torch.cat([half * spread, spread], 1)
        velocity = slowed + spread
        x = middle + half * velocity
        force = self.force_field.forces(x)
        return Step((x, velocity + half * force / masses, force), before, kick)

    def lift(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Make a function of coordinates and velocities from one of coordinates.

        A free particle stops at ``x + v / gamma`` on average: this is where the function is evaluated.

        Args:
            function: maps [n, d] to [n].
        """

        def lifted(point: Tensor) -> Tensor:
            x, velocity = point.chunk(2, 1)
            return function(x + velocity / self.friction)

        return lifted


def _prepare(dynamics: Overdamped | Langevin) -> None:
    """Check the arguments; set `force_field` and `inertia`, the masses as a tensor."""
    for name in ("kT", "friction"):
        value = getattr(dynamics, name)
        if not 0.0 < value < math.inf:
            raise ValueError(message(f"`{name}`", "a positive number", str(value), "correct it"))
    masses = getattr(dynamics.potential, "masses", 1.0) if dynamics.masses is None else dynamics.masses
    inertia = torch.as_tensor(masses, dtype=torch.float64)
    if inertia.dim() > 1 or not bool((inertia > 0.0).all()):
        got = f"shape {tuple(inertia.shape)}, smallest {float(inertia.min())}"
        raise ValueError(message("`masses`", "a positive number, or [d] of them", got, "give each coordinate its mass"))
    object.__setattr__(dynamics, "force_field", as_force_field(dynamics.potential))
    object.__setattr__(dynamics, "inertia", inertia)
