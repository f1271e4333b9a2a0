"""What every potential can do: energies of a batch, named terms, exact forces and virial, and a check of its input."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flashmd.errors import message
from flashmd.protocols import Evaluation
from flashmd.system import System

if TYPE_CHECKING:
    from flashmd.potential.compiled import CompiledPotential


class Potential(nn.Module, ABC):
    """Base class of energy functions of a `System`.

    A subclass implements `energy`, differentiable in positions, cell and parameters; all else follows from it.

    Attributes:
        name: key of the energy in `terms`.
        bead_types: integer of each bead type by name, or None where the potential does not know names.
        metadata: what a checkpoint says of its origin.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.bead_types: dict[str, int] | None = None
        self.metadata: dict[str, Any] = {}

    @property
    def cutoff(self) -> float:
        """Range of the neighbour list that the potential needs, nm; zero where it needs none."""
        return 0.0

    @abstractmethod
    def energy(self, system: System) -> Tensor:
        """Return the energies [n_systems], kJ/mol, float64, differentiable."""

    def terms(self, system: System) -> dict[str, Tensor]:
        """Return the energies [n_systems], kJ/mol, of all terms by name."""
        return {self.name: self.energy(system)}

    def atom_energies(self, system: System) -> Tensor:
        """Return the shares [n_atoms] of the atoms in the energy, kJ/mol.

        Raises:
            TypeError: the potential does not say how its energy is shared.
        """
        del system
        fix = "implement `atom_energies`, or do without energies of single atoms"
        what = f"`{type(self).__name__}`"
        raise TypeError(message(what, "a potential that shares its energy among atoms", "one that does not", fix))

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy, exact forces and, on request, the virial.

        Args:
            system: batch; only its positions (and cell) are differentiated.
            virial: also return ``dE/dstrain = -sum r f``.

        Example:
            >>> import torch
            >>> from flashmd.potential.priors import HarmonicBonds
            >>> from flashmd.system import System
            >>> bonds = HarmonicBonds("bonds", (torch.tensor([[1, 1]]), {"k": torch.ones(1), "x0": torch.ones(1)}))
            >>> x = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
            >>> pair = System.single(x, torch.tensor([1, 1]), interactions={"bonds": torch.tensor([[0, 1]])})
            >>> bonds.evaluate(pair).forces[0].tolist()
            [4.0, 0.0, 0.0]
        """
        # A caller's inference mode would forbid the derivative; a clone of its tensors may be differentiated.
        with torch.inference_mode(mode=False), torch.enable_grad():
            positions = system.positions.detach().clone().requires_grad_()
            strained, strain = apply_strain(system, positions) if virial else (system.with_positions(positions), None)
            energy = self.energy(strained)
            inputs = [positions] if strain is None else [positions, strain]
            if not energy.requires_grad:
                return _without_forces(system, energy, virial=virial)
            gradients = torch.autograd.grad(energy.sum(), inputs, materialize_grads=True)
        return Evaluation(energy.detach(), gradients[0].neg_(), gradients[1].to(energy.dtype) if virial else None)

    def compile(  # type: ignore[override]
        self,
        template: System | None = None,
        *,
        filters: str = "table",
        precision: str = "float32",
        tolerance: float | None = None,
        backend: str = "kernel",
        repulsion_cutoff: float | None = None,
    ) -> CompiledPotential:
        """Return an evaluator of this potential with its present parameters, made for speed.

        The filters of networks, functions of one distance, are tabulated; what that costs in accuracy is measured on
        the template's frames and perturbed copies of them, against the network in double precision, and held to a
        tolerance. The forces are the exact gradient of the energy that the tables and stored layers define.

        Args:
            template: systems such as will be evaluated, in the dtype and on the device of the evaluations. Other
                batches of other molecules may be evaluated as well. Without one, a cluster that follows from the model
                alone serves, and dtype and device are those of its parameters.
            filters: "table", or "network" to evaluate the filter network in every call.
            precision: storage of the dense layers of networks: "float32" leaves them in the dtype of the template,
                "float16", "bfloat16" and "int16" store them in 16 bits with a scale for each output channel.
            tolerance: largest relative error of a network's forces; by default 1e-5, with layers in 16 bits 2e-3.
            backend: "kernel", or "reference" for plain PyTorch.
            repulsion_cutoff: distance at which the repulsion of priors ends, nm; see
                :func:`flashmd.potential.cut_repulsion`, which measures what that costs.

        Raises:
            ToleranceNotMetError: the forces of a network would be less accurate.
            ValueError: an option is unknown, the template has no pairs or atoms that the potential does not know, or
                there is no repulsion to cut off or no template to measure that on.
        """
        # The compiled forms know the classes that derive from this one.
        from flashmd.potential.compiled import CompiledPotential, CompileOptions

        return CompiledPotential(
            self, template, CompileOptions(filters, precision, tolerance, backend, repulsion_cutoff)
        )

    def forward(self, system: System) -> Tensor:
        """Return `energy(system)`."""
        return self.energy(system)

    def check(self, system: System) -> None:
        """Refuse a batch that this potential cannot evaluate.

        Raises:
            ValueError: a position is not finite, or types or lists of interactions are not covered.
        """
        finite = torch.isfinite(system.positions).all(-1)
        if not bool(finite.all()):
            atom = int(torch.nonzero(~finite)[0])
            fix = "repair the coordinates before the run"
            raise ValueError(message(f"`positions` of atom {atom}", "finite numbers", "a non-finite value", fix))

    def list_state(self) -> dict[str, Tensor]:
        """Return the positions from which neighbour lists were built, by term; a restart needs them."""
        return {}

    def restore_lists(self, system: System, state: Mapping[str, Tensor]) -> None:
        """Rebuild neighbour lists as `list_state` saved them, so that a resumed run repeats every bit."""

    def to_spec(self) -> dict[str, Any]:
        """Return the JSON values from which `from_spec` rebuilds the potential, tensors excepted."""
        fix = "implement `to_spec` and `from_spec` and register the class"
        raise TypeError(message(f"`{type(self).__name__}`", "a class that can be saved", "one that cannot", fix))

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Potential:
        """Rebuild a potential whose tensors are loaded afterwards."""
        fix = "implement `to_spec` and `from_spec` and register the class"
        raise TypeError(message(f"`{cls.__name__}`", "a class that can be loaded", f"{sorted(spec)}", fix))


def sum_evaluations(parts: Sequence[Evaluation]) -> Evaluation:
    """Add energies, forces and virials in the given order."""
    total = parts[0]
    for part in parts[1:]:
        virial = total.virial + part.virial if total.virial is not None and part.virial is not None else None
        total = Evaluation(total.energy + part.energy, total.forces + part.forces, virial)
    return total


def sum_shares(parts: Sequence[Tensor]) -> Tensor:
    """Add energies of atoms [n_atoms] in the given order, in double precision."""
    return torch.stack([part.to(torch.float64) for part in parts]).sum(0)


def apply_strain(system: System, positions: Tensor) -> tuple[System, Tensor]:
    """Deform a batch by a strain of zero that can be differentiated.

    Args:
        system: batch.
        positions: [n_atoms, 3], nm.

    Returns:
        The batch with positions x (1 + strain) and cell c (1 + strain), and the strain [n_systems, 3, 3].
    """
    strain = positions.new_zeros(system.n_systems, 3, 3).requires_grad_()
    moved = torch.baddbmm(positions[:, None], positions[:, None], strain.index_select(0, system.batch))[:, 0]
    cell = torch.baddbmm(system.cell, system.cell, strain)
    return dataclasses.replace(system, positions=moved, cell=cell), strain


def _without_forces(system: System, energy: Tensor, *, virial: bool) -> Evaluation:
    """Return the evaluation of an energy that does not depend on positions."""
    zeros = energy.new_zeros(system.n_systems, 3, 3) if virial else None
    return Evaluation(energy.detach(), torch.zeros_like(system.positions), zeros)
