"""The sum of several potentials, such as a network and its priors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flashmd.errors import message
from flashmd.potential.base import Potential, sum_evaluations, sum_shares
from flashmd.potential.priors.base import Prior
from flashmd.potential.priors.fused import FusedPriors
from flashmd.potential.registry import register, registered
from flashmd.protocols import Evaluation
from flashmd.system import System


@register
class SumPotential(Potential):
    """Sum of named potentials.

    Priors are evaluated together in closed form, every other term by itself.

    Args:
        potentials: terms by name.
        name: key of the sum in the `terms` of an enclosing potential.

    Raises:
        ValueError: there are no terms, or two of them number the bead types differently.

    Example:
        >>> import torch
        >>> from flashmd.potential import SumPotential
        >>> from flashmd.potential.priors import HarmonicBonds
        >>> table = (torch.tensor([[1, 1]]), {"k": torch.ones(1), "x0": torch.ones(1)})
        >>> SumPotential({"bonds": HarmonicBonds("bonds", table)}).potentials["bonds"].name
        'bonds'
    """

    def __init__(self, potentials: Mapping[str, Potential], *, name: str = "sum") -> None:
        super().__init__(name)
        if not potentials:
            raise ValueError(message("`potentials`", "at least one term", "none", "pass a dictionary of potentials"))
        self.potentials = nn.ModuleDict(potentials)
        self.bead_types = _common_types(potentials)
        self._fused: FusedPriors | None = None

    @property
    def cutoff(self) -> float:
        """Largest cutoff of the terms, nm."""
        return max(potential.cutoff for potential in self._named().values())

    def energy(self, system: System) -> Tensor:
        """Return the energies [n_systems], kJ/mol, float64, differentiable."""
        return torch.stack(list(self.terms(system).values())).sum(0)

    def terms(self, system: System) -> dict[str, Tensor]:
        """Return the energies [n_systems], kJ/mol, of all terms by the names given here."""
        return {name: potential.energy(system) for name, potential in self._named().items()}

    def atom_energies(self, system: System) -> Tensor:
        """Return the shares [n_atoms] of the atoms in the sum, kJ/mol, float64."""
        return sum_shares([potential.atom_energies(system) for potential in self._named().values()])

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy, forces and virial of the sum; see :meth:`Potential.evaluate`."""
        terms = self._named().values()
        parts = [term.evaluate(system, virial=virial) for term in terms if not isinstance(term, Prior)]
        priors = tuple(term for term in terms if isinstance(term, Prior))
        if priors:
            parts.append(self._fuse(priors).evaluate(system, virial=virial))
        return sum_evaluations(parts)

    def check(self, system: System) -> None:
        """Refuse what any of the terms refuses."""
        super().check(system)
        for potential in self._named().values():
            potential.check(system)

    def list_state(self) -> dict[str, Tensor]:
        """Return the positions of the last builds by term."""
        return {
            f"{name}/{key}": tensor
            for name, potential in self._named().items()
            for key, tensor in potential.list_state().items()
        }

    def restore_lists(self, system: System, state: Mapping[str, Tensor]) -> None:
        """Rebuild the neighbour lists of all terms."""
        for name, potential in self._named().items():
            begin = f"{name}/"
            own = {key.removeprefix(begin): tensor for key, tensor in state.items() if key.startswith(begin)}
            potential.restore_lists(system, own)

    def to_spec(self) -> dict[str, Any]:
        """Return the terms' classes and specifications by name."""
        terms = {name: {"class": type(p).__name__, **p.to_spec()} for name, p in self._named().items()}
        return {"name": self.name, "terms": terms}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> SumPotential:
        """Rebuild the sum from `to_spec`."""
        terms = {name: registered(each["class"]).from_spec(each) for name, each in spec["terms"].items()}
        return cls(terms, name=spec["name"])

    def _fuse(self, priors: tuple[Prior, ...]) -> FusedPriors:
        """Return the evaluator of the present priors; terms can be replaced after construction."""
        if self._fused is None or self._fused.priors != priors:
            self._fused = FusedPriors(priors, backend=priors[0].backend)
        return self._fused

    def _named(self) -> dict[str, Potential]:
        return {name: module for name, module in self.potentials.items() if isinstance(module, Potential)}


def _common_types(potentials: Mapping[str, Potential]) -> dict[str, int] | None:
    known: dict[str, int] | None = None
    for name, potential in potentials.items():
        if potential.bead_types is None:
            continue
        if known is not None and known != potential.bead_types:
            fix = "combine potentials that were made for the same bead types"
            raise ValueError(message(f"bead types of {name!r}", "those of the other terms", "others", fix))
        known = potential.bead_types
    return known
