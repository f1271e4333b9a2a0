"""A double well of one particle as a function of torch, for the tests of other engines, and what is asked of it."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.kinetics import (
    Langevin,
    Overdamped,
    PathSettings,
    SystemForces,
    committor,
    half_space,
    mfpt,
    rate,
    survival,
)
from flashmd.protocols import EnergyModel
from flashmd.system import System

HEIGHT, ACROSS, WIDTH, MASS = 5.0, 40.0, 0.1, 40.0  # kJ/mol, kJ/mol/nm^2, nm, Da
KT = 2.5
LEFT, RIGHT = half_space([-1.0, 0.0, 0.0], WIDTH), half_space([1.0, 0.0, 0.0], WIDTH)
STARTS = torch.tensor([[-0.03, 0.01, 0.0], [0.04, 0.0, -0.02]], dtype=torch.float64)


def energy(x: Tensor) -> Tensor:
    """Energy of points [n, 3] in nm, kJ/mol."""
    well = HEIGHT * ((x[:, 0] / WIDTH) ** 2 - 1.0) ** 2
    return well + ACROSS * (x[:, 1] ** 2 + x[:, 2] ** 2)


def step(point: Tensor) -> Tensor:
    """A surrogate that knows the sets only, of coordinates, and of velocities if there are any."""
    return 0.5 + 0.5 * torch.tanh(25.0 * (point[:, 0] + (0.02 * point[:, 3] if point.shape[1] > 3 else 0.0)))


def answers(forces: object, kind: type[Overdamped] | type[Langevin]) -> Tensor:
    """Committors, passage times, survival and rates of few paths, in one row."""
    dynamics = kind(forces, kT=KT, friction=5.0, masses=MASS)  # type: ignore[arg-type]
    paths = PathSettings(time_step=0.01, paths_per_point=4)
    x = torch.linspace(-0.12, 0.12, 7, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.0, 0.0])
    rates = rate(dynamics, LEFT, RIGHT, samples=x, surrogate=step, settings=paths)
    return torch.cat([
        committor(dynamics, LEFT, RIGHT, x=STARTS, settings=paths, surrogate=step).value,
        mfpt(dynamics, RIGHT, x=STARTS[1:], settings=paths).value,
        survival(dynamics, (LEFT, RIGHT), t=0.2, x=STARTS, settings=paths).value,
        torch.tensor([rates.forward, rates.backward]),
    ])  # fmt: skip


def agrees(model: EnergyModel, template: System) -> bool:
    """Whether paths of an energy model are those of the function, for both kinds of dynamics."""
    wrapped = SystemForces(model, template)
    pairs = [(answers(wrapped, kind), answers(energy, kind)) for kind in (Overdamped, Langevin)]
    return all(torch.allclose(other, own, rtol=1e-6) for other, own in pairs)
