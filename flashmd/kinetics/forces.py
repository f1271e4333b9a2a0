"""Where forces come from: an energy function, a model of this package, or any energy model through the protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.protocols import EnergyModel
from flashmd.system import System

EnergyFunction = Callable[[Tensor], Tensor]


@runtime_checkable
class ForceField(Protocol):
    """Forces on a batch of points of a space of d dimensions."""

    def forces(self, x: Tensor) -> Tensor:
        """Return minus the gradient of the energy at x [n, d], [n, d]."""
        ...


@dataclass(frozen=True)
class FunctionForces:
    """Differentiate an energy function.

    Attributes:
        energy: maps x [n, d] to energies [n] and treats every row alone.
    """

    energy: EnergyFunction

    def forces(self, x: Tensor) -> Tensor:
        """Return minus the gradient of the energy, [n, d].

        Raises:
            ValueError: the function returns another shape.
        """
        with torch.enable_grad():
            place = x.detach().requires_grad_()
            energy = self.energy(place)
            if tuple(energy.shape) != (x.shape[0],):
                got, fix = f"{tuple(energy.shape)}", "return one energy for each row of `x`"
                raise ValueError(message("the potential", f"a result of shape ({x.shape[0]},)", got, fix))
            return -torch.autograd.grad(energy.sum(), place)[0]


@dataclass(frozen=True)
class SystemForces:
    """Let an energy model act on flat coordinates: a point of 3 N dimensions is one system of N atoms.

    Attributes:
        model: a potential, a compiled one, or any other energy model.
        template: one system; its types, cell and interactions belong to every point. Coordinates are its positions in
            nm, atom after atom, and energies are in kJ/mol.

    Example:
        >>> import torch
        >>> from flashmd import System
        >>> from flashmd.kinetics import SystemForces
        >>> from flashmd.potential.priors import HarmonicBonds
        >>> bonds = HarmonicBonds("bonds", (torch.tensor([[1, 1]]), {"k": torch.ones(1), "x0": torch.ones(1)}))
        >>> x = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
        >>> pair = System.single(x, torch.tensor([1, 1]), interactions={"bonds": torch.tensor([[0, 1]])})
        >>> SystemForces(bonds, pair).forces(x.reshape(1, 6))[0, :3].tolist()
        [4.0, 0.0, 0.0]
    """

    model: EnergyModel
    template: System
    _copies: list[System] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.template.n_systems != 1:
            fix = "pass one system, as by `system.split()[0]`"
            raise ValueError(message("`template`", "one system", f"{self.template.n_systems}", fix))

    @property
    def masses(self) -> Tensor:
        """Mass of each coordinate, [3 N], Da."""
        return self.template.masses.to(torch.float64).repeat_interleave(3)

    @property
    def start(self) -> Tensor:
        """Coordinates of the template, [1, 3 N], nm."""
        return self.template.positions.detach().to(torch.float64).reshape(1, -1)

    def forces(self, x: Tensor) -> Tensor:
        """Return forces at x [n, 3 N], [n, 3 N], in kJ/mol/nm."""
        n = x.shape[0]
        if x.shape[1] != 3 * self.template.n_atoms:
            fix = "give each row all coordinates of one system, atom after atom"
            raise ValueError(message("`x`", f"{3 * self.template.n_atoms} columns", f"{x.shape[1]}", fix))
        batch = self._batch(n)
        moved = batch.with_positions(x.reshape(-1, 3).to(batch.positions))
        return self.model.evaluate(moved).forces.to(x).reshape(n, -1)

    def _batch(self, n: int) -> System:
        """Return n copies of the template, the first ones of the largest batch so far."""
        if not self._copies or self._copies[0].n_systems < n:
            self._copies[:] = [self.template.replicate(n)]
        for known in self._copies:
            if known.n_systems == n:
                return known
        whole, atoms = self._copies[0], n * self.template.n_atoms
        lists = {name: whole.interactions[name][: n * len(terms)] for name, terms in self.template.interactions.items()}
        part = System(
            whole.positions[:atoms], whole.types[:atoms], whole.masses[:atoms], whole.batch[:atoms],
            whole.ptr[: n + 1], whole.cell[:n], whole.pbc[:n], lists,
        )  # fmt: skip
        self._copies[1:] = [part]
        return part


def as_force_field(potential: object) -> ForceField:
    """Return an object with forces for a function of energies or for such an object itself.

    Raises:
        TypeError: it is neither; an energy model needs the system that it is for.
    """
    if isinstance(potential, ForceField):
        return potential
    if callable(potential) and not isinstance(potential, EnergyModel):
        return FunctionForces(potential)
    expected = "a function from x [n, d] to energies [n], or `SystemForces`"
    fix = "wrap an energy model with the system it is for: `SystemForces(model, system)`"
    raise TypeError(message("`potential`", expected, type(potential).__name__, fix))
