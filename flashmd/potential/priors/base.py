"""Base class of the analytic terms: a function of one internal coordinate with parameters by type tuple."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.ops import segment_sum
from flashmd.potential.base import Potential
from flashmd.potential.identity import Identity
from flashmd.potential.priors.features import Feature
from flashmd.potential.priors.images import displacements
from flashmd.potential.priors.type_table import checked_table, find_rows
from flashmd.protocols import Evaluation
from flashmd.system import System


class Prior(Potential):
    """A sum over listed terms of a function of one internal coordinate.

    Terms are the rows of ``system.interactions[name]``; the types of their atoms select the parameters. The selection
    is kept until the list, the types or the table change, so a step of dynamics looks nothing up.

    Args:
        name: key of the list of terms, and of the energy in `terms`.
        table: type tuples [n_entries, order] and parameter columns [n_entries] by name, see
            :class:`~flashmd.potential.priors.TypeTable`.
        backend: "kernel" or "reference", see :mod:`flashmd.ops`.

    Raises:
        ValueError: the table has the wrong shape or columns, repeats a tuple or holds values that are not finite.
    """

    feature: ClassVar[Feature]
    columns: ClassVar[tuple[str, ...]]
    types: Tensor
    values: Tensor

    def __init__(
        self, name: str, table: tuple[Tensor, Mapping[str, Tensor]], *, backend: str = "kernel", **_: object
    ) -> None:
        super().__init__(name)
        self.backend = backend
        columns = self.column_names()
        checked = checked_table(table, columns, what=f"{type(self).__name__} {name!r}", order=self.feature.order)
        self.register_buffer("types", checked.types)
        self.register_buffer("values", torch.stack([checked.columns[key].detach() for key in columns], 1))
        self._cached: tuple[Identity, Tensor] | None = None
        self._fused: Any = None

    def column_names(self) -> tuple[str, ...]:
        """Return the names of the columns of `values`."""
        return self.columns

    @staticmethod
    @abstractmethod
    def term_energy(value: Tensor, parameters: Tensor) -> Tensor:
        """Return the energies [n_terms], kJ/mol, from the coordinate [n_terms] and parameters [n_columns, n_terms]."""

    @staticmethod
    @abstractmethod
    def term_slope(value: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the energies and their derivatives with respect to the coordinate, both [n_terms]."""

    @classmethod
    def joined(cls, parameters: Sequence[Tensor]) -> Tensor:
        """Join the parameters of several terms of this class along the terms."""
        return torch.cat(list(parameters), 1)

    def expand_columns(self, columns: Tensor) -> Tensor:
        """Return the rows that `term_energy` reads from the table's columns [n_columns, n_terms]."""
        return columns

    def list_of(self, system: System) -> Tensor:
        """Return the terms [n_terms, order] of a batch.

        Raises:
            ValueError: the batch has no such list or one of another order.
        """
        index = system.interactions.get(self.name)
        if index is None:
            got = f"{sorted(system.interactions)}"
            fix = "build the list, an empty one where there are no such terms"
            raise ValueError(message(f"`interactions[{self.name!r}]`", f"[n_terms, {self.feature.order}]", got, fix))
        if index.dim() != 2 or index.shape[1] != self.feature.order:
            got = f"{tuple(index.shape)}"
            raise ValueError(
                message(
                    f"`interactions[{self.name!r}]`",
                    f"shape (n_terms, {self.feature.order})",
                    got,
                    "pass one term a row",
                )
            )
        return index

    def parameters_for(self, system: System) -> Tensor:
        """Return the parameters [n_columns, n_terms] of the terms of a batch, dtype of the positions.

        Raises:
            ValueError: the table lacks the types of a term, or the list of terms is missing.
        """
        index = self.list_of(system)
        identity = Identity.of(index, system.types, self.values, dtype=system.positions.dtype)
        if self._cached is None or not self._cached[0].holds(identity):
            self._cached = (identity, self._look_up(system, index))
        return self._cached[1]

    def _look_up(self, system: System, index: Tensor) -> Tensor:
        wanted = system.types[index]
        row, found = find_rows(wanted, self.types)
        if not bool(found.all()):
            term = int(torch.nonzero(~found)[0])
            got = f"types {tuple(wanted[term].tolist())} of atoms {tuple(index[term].tolist())}"
            what = f"{type(self).__name__} {self.name!r}"
            fix = "use a model of this molecule, with atoms and chains in the order that it was made for"
            raise ValueError(message(what, "parameters of every listed term", got, fix))
        columns = self.values[row].to(system.positions.dtype).t().contiguous()
        return self.expand_columns(columns).contiguous()

    def energy(self, system: System) -> Tensor:
        """Return the energies [n_systems], kJ/mol, float64, differentiable in positions and cell."""
        energies, index = self._term_energies(system)
        return self._sum_by(system.batch[index[:, 0]], energies, system.n_systems)

    def atom_energies(self, system: System) -> Tensor:
        """Return the shares of the atoms, [n_atoms], kJ/mol, float64: a term is divided equally among its atoms."""
        energies, index = self._term_energies(system)
        order = self.feature.order
        return self._sum_by(index.t().flatten(), energies.repeat(order) / order, system.n_atoms)

    def _term_energies(self, system: System) -> tuple[Tensor, Tensor]:
        """Return the energies [n_terms], kJ/mol, float64, and the list of terms."""
        index, parameters = self.list_of(system), self.parameters_for(system)
        if not index.shape[0]:
            return system.positions.new_zeros(0, dtype=torch.float64), index
        start = torch.cat([index[:, a] for a, _ in self.feature.ends])
        end = torch.cat([index[:, b] for _, b in self.feature.ends])
        vectors = displacements(system, start, end).chunk(len(self.feature.ends))
        return self.term_energy(self.feature.value(vectors), parameters).to(torch.float64), index

    def _sum_by(self, owner: Tensor, energies: Tensor, n_owners: int) -> Tensor:
        """Sum energies over terms with the same owner, in the order of the terms."""
        order = torch.argsort(owner, stable=True)
        return segment_sum(energies[order], offsets(owner, n_owners), backend=self.backend)

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy, forces and virial from the closed form; see :meth:`Potential.evaluate`."""
        from flashmd.potential.priors.fused import FusedPriors

        if self._fused is None:
            self._fused = FusedPriors([self], backend=self.backend)
        evaluation: Evaluation = self._fused.evaluate(system, virial=virial)
        return evaluation

    def check(self, system: System) -> None:
        """Refuse non-finite positions, a missing list and terms without parameters."""
        super().check(system)
        self.parameters_for(system)

    def constants(self) -> dict[str, float]:
        """Return the arguments of the constructor that are no table."""
        return {}

    def to_spec(self) -> dict[str, Any]:
        """Return name, columns, table size and constants."""
        size, columns = self.values.shape[0], list(self.column_names())
        return {"name": self.name, "columns": columns, "n_entries": size, "constants": self.constants()}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Prior:
        """Rebuild the term with a table of the right size; its values are loaded afterwards."""
        size, order = int(spec["n_entries"]), cls.feature.order
        types = torch.arange(size)[:, None].expand(size, order)
        columns = {key: torch.zeros(size) for key in spec["columns"]}
        return cls(spec["name"], (types, columns), **spec["constants"])


def offsets(segment: Tensor, n_segments: int) -> Tensor:
    """Return the bounds [n_segments + 1] of each segment among its sorted members."""
    counts = torch.bincount(segment, minlength=n_segments)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
