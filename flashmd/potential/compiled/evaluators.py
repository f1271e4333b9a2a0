"""Ways to evaluate a frozen network on a list of pairs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from flashmd.nn import SchNet
from flashmd.nn.frozen import FrozenSchNet, frozen_energy
from flashmd.nn.packed import pack, unpack_table
from flashmd.ops import Edges, edge_geometry
from flashmd.ops.schnet_evaluate import HalfPairs, schnet_evaluate, workspace_size
from flashmd.potential.identity import Identity
from flashmd.potential.pair_forces import evaluate_pairs
from flashmd.protocols import Evaluation
from flashmd.system import System


class Evaluator(Protocol):
    """Energy, forces and virial of a network whose parameters do not change."""

    def evaluate(self, system: System, pairs: Edges, *, virial: bool = False) -> Evaluation:
        """Evaluate a batch on one edge of each pair; pairs beyond the cutoff do not count."""
        ...

    def atom_energies(self, system: System, pairs: Edges) -> Tensor:
        """Return the energy of every atom, [n_atoms], kJ/mol."""
        ...


@dataclass(frozen=True)
class TableReference:
    """The tabulated network in plain PyTorch, differentiated by autograd."""

    frozen: FrozenSchNet
    backend: str

    def evaluate(self, system: System, pairs: Edges, *, virial: bool = False) -> Evaluation:
        """See :class:`Evaluator`."""

        def function(distance: Tensor) -> tuple[Tensor, Tensor]:
            leaf = distance.requires_grad_()
            atoms = frozen_energy(self.frozen, system.types, pairs, leaf, backend=self.backend)
            (slope,) = torch.autograd.grad(atoms.sum(), leaf, materialize_grads=True)
            return atoms.detach(), slope

        return evaluate_pairs(system, pairs, function, virial=virial, backend=self.backend)

    def atom_energies(self, system: System, pairs: Edges) -> Tensor:
        """See :class:`Evaluator`."""
        distance = edge_geometry(system, pairs, backend=self.backend)[1]
        return frozen_energy(self.frozen, system.types, pairs, distance, backend=self.backend)


class TableKernel:
    """The tabulated network in one compiled operator; energies of atoms, which dynamics does not need, in PyTorch.

    Args:
        frozen: network.

    Attributes:
        model: packed network.
    """

    def __init__(self, frozen: FrozenSchNet) -> None:
        self.model = pack(frozen)
        # The table, which is most of a network, is kept in its packed form only.
        parts = {field.name: getattr(frozen, field.name) for field in fields(frozen) if field.name != "table"}
        self._unpacked = partial(FrozenSchNet, **parts)
        self._n_filters = frozen.table.values.shape[-1]
        self._edges: Edges | None = None
        self._identity: Identity | None = None
        self._pairs: HalfPairs
        self._n_threads = 0
        self._space_needed = 0
        self._spaces: list[Tensor] = []

    def evaluate(self, system: System, pairs: Edges, *, virial: bool = False) -> Evaluation:
        """See :class:`Evaluator`."""
        converted = self._converted(system, pairs)
        space = self._take_space(system)
        result = schnet_evaluate(self.model, system, converted, virial=virial, workspace=space)
        self._spaces.append(space)
        return Evaluation(*result)

    def atom_energies(self, system: System, pairs: Edges) -> Tensor:
        """See :class:`Evaluator`."""
        network = self._unpacked(table=unpack_table(self.model, self._n_filters))
        return TableReference(network, "kernel").atom_energies(system, pairs)

    def _converted(self, system: System, pairs: Edges) -> HalfPairs:
        """Return the pairs as the operator reads them; the same list in the same cell is converted once."""
        identity = Identity.of(system.ptr, *([system.batch, system.cell] if pairs.periodic else []))
        known = self._edges is pairs and self._identity is not None and self._identity.holds(identity)
        if not known:
            self._pairs = HalfPairs.from_edges(system, pairs)
            self._edges, self._identity = pairs, identity
        if not known or self._n_threads != torch.get_num_threads():
            self._n_threads = torch.get_num_threads()
            self._space_needed = workspace_size(self.model, system, self._pairs)
        return self._pairs

    def _take_space(self, system: System) -> Tensor:
        """Return memory that no other call uses meanwhile; it grows where that of the last call is too small.

        Memory that is freed and taken anew in each step would come from another place each time.
        """
        try:
            space = self._spaces.pop()
        except IndexError:  # the first call, or one beside another
            space = system.positions.new_empty(0)
        if space.numel() < self._space_needed:
            del space
            space = system.positions.new_empty(self._space_needed + self._space_needed // 16)
        return space


@dataclass(frozen=True)
class ExactNetwork:
    """The network itself, filters included."""

    network: SchNet
    backend: str

    def evaluate(self, system: System, pairs: Edges, *, virial: bool = False) -> Evaluation:
        """See :class:`Evaluator`."""

        def function(distance: Tensor) -> tuple[Tensor, Tensor]:
            return self.network.energy_and_slope(system.types, pairs, distance, backend=self.backend)

        return evaluate_pairs(system, pairs, function, virial=virial, backend=self.backend)

    def atom_energies(self, system: System, pairs: Edges) -> Tensor:
        """See :class:`Evaluator`."""
        distance = edge_geometry(system, pairs, backend=self.backend)[1]
        energy: Tensor = self.network(system.types, pairs, distance, half=True, backend=self.backend)
        return energy
