"""The central data type: one or many molecular systems as flat tensors.

All systems of a batch lie one after the other along the atom axis; `batch` names the system of each atom and `ptr`
the first atom of each system. Replicas are systems. Edges follow ``edge_vec = x_sender - x_receiver + shift @ cell``;
the rows of `cell` are lattice vectors.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashmd.errors import message


@dataclass(frozen=True)
class System:
    """A batch of molecular systems.

    Attributes:
        positions: [n_atoms, 3], nm, float32 or float64.
        types: [n_atoms], int64 atom or bead types.
        masses: [n_atoms], Da.
        batch: [n_atoms], int64, index of the system of each atom, ascending.
        ptr: [n_systems + 1], int64, first atom of each system and n_atoms.
        cell: [n_systems, 3, 3], nm, rows are lattice vectors; zeros where a system has no cell.
        pbc: [n_systems, 3], bool, periodic along each lattice vector.
        interactions: lists of bonded and non-bonded terms by name, each int64 [n_terms, order] of atom indices
            into this batch. Priors find their terms here.

    Example:
        >>> import torch
        >>> from flashmd.system import System
        >>> dimer = System.single(torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]), torch.tensor([1, 2]))
        >>> dimer.replicate(4).n_systems
        4
    """

    positions: Tensor
    types: Tensor
    masses: Tensor
    batch: Tensor
    ptr: Tensor
    cell: Tensor
    pbc: Tensor
    interactions: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_atoms, n_systems = self.types.shape[0], self.ptr.shape[0] - 1
        expected = {
            "positions": (n_atoms, 3),
            "masses": (n_atoms,),
            "batch": (n_atoms,),
            "cell": (n_systems, 3, 3),
            "pbc": (n_systems, 3),
        }
        for name, shape in expected.items():
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(
                    message(f"`{name}`", f"shape {shape}", f"{got}", "use `System.single` or `System.concatenate`")
                )
        if not self.positions.is_floating_point():
            raise TypeError(
                message("`positions`", "float32 or float64", f"{self.positions.dtype}", "convert them with `.to`")
            )

    @classmethod
    def single(
        cls,
        positions: Tensor,
        types: Tensor,
        *,
        masses: Tensor | None = None,
        cell: Tensor | None = None,
        pbc: bool | Sequence[bool] = False,
        interactions: Mapping[str, Tensor] | None = None,
    ) -> System:
        """Build a batch of one system; missing masses are 1 Da, a missing cell is open.

        Args:
            positions: [n_atoms, 3], nm.
            types: [n_atoms].
            masses: [n_atoms], Da.
            cell: [3, 3], nm, rows are lattice vectors.
            pbc: one flag for all or one for each lattice vector.
            interactions: named lists [n_terms, order] of atom indices.
        """
        n_atoms, device = types.shape[0], positions.device
        flags = [pbc] * 3 if isinstance(pbc, bool) else list(pbc)
        if any(flags) and cell is None:
            raise ValueError(message("`cell`", "a lattice, since `pbc` is set", "None", "pass `cell` or `pbc=False`"))
        return cls(
            positions=positions,
            types=types.to(torch.int64),
            masses=positions.new_ones(n_atoms) if masses is None else masses.to(positions),
            batch=torch.zeros(n_atoms, dtype=torch.int64, device=device),
            ptr=torch.tensor([0, n_atoms], device=device),
            cell=positions.new_zeros(1, 3, 3) if cell is None else cell.to(positions)[None],
            pbc=torch.tensor([flags], device=device),
            interactions=dict(interactions or {}),
        )

    @classmethod
    def concatenate(cls, systems: Sequence[System]) -> System:
        """Join batches one after the other; lists of interactions are shifted to the new atom indices.

        Raises:
            ValueError: no system, or a list that one system has and another lacks; terms would vanish silently.
        """
        if not systems:
            raise ValueError(message("`systems`", "at least one system", "none", "pass a non-empty sequence"))
        every = set().union(*(each.interactions for each in systems))
        for number, each in enumerate(systems):
            if missing := sorted(every - set(each.interactions)):
                fix = "give it the list, empty ([0, order]) where the system has no such term"
                raise ValueError(message(f"system {number}", f"the list {missing[0]!r} of the others", "none", fix))
        atom_offset, system_offset = 0, 0
        batch, ptr = [], [systems[0].ptr[:1]]
        lists: dict[str, list[Tensor]] = {}
        for each in systems:
            batch.append(each.batch + system_offset)
            ptr.append(each.ptr[1:] + atom_offset)
            for name, index in each.interactions.items():
                lists.setdefault(name, []).append(index + atom_offset)
            atom_offset += each.n_atoms
            system_offset += each.n_systems
        return cls(
            positions=torch.cat([s.positions for s in systems]),
            types=torch.cat([s.types for s in systems]),
            masses=torch.cat([s.masses for s in systems]),
            batch=torch.cat(batch),
            ptr=torch.cat(ptr),
            cell=torch.cat([s.cell for s in systems]),
            pbc=torch.cat([s.pbc for s in systems]),
            interactions={name: torch.cat(index) for name, index in lists.items()},
        )

    @property
    def n_atoms(self) -> int:
        """Number of atoms or beads of all systems together."""
        return self.types.shape[0]

    @property
    def n_systems(self) -> int:
        """Number of systems in the batch."""
        return self.ptr.shape[0] - 1

    def replicate(self, n_copies: int) -> System:
        """Return a batch with `n_copies` copies of every system, copy after copy."""
        return System.concatenate([self] * n_copies)

    def split(self) -> list[System]:
        """Return one batch of one system for each system."""
        bounds = self.ptr.tolist()
        parts = []
        for index, (begin, end) in enumerate(itertools.pairwise(bounds)):
            lists = {}
            for name, terms in self.interactions.items():
                inside = (terms[:, 0] >= begin) & (terms[:, 0] < end)
                lists[name] = terms[inside] - begin
            part = System(
                positions=self.positions[begin:end],
                types=self.types[begin:end],
                masses=self.masses[begin:end],
                batch=torch.zeros_like(self.batch[begin:end]),
                ptr=self.ptr[index : index + 2] - begin,
                cell=self.cell[index : index + 1],
                pbc=self.pbc[index : index + 1],
                interactions=lists,
            )
            parts.append(part)
        return parts

    def with_positions(self, positions: Tensor) -> System:
        """Return the same systems at other positions ([n_atoms, 3], nm)."""
        if positions.shape != self.positions.shape or not positions.is_floating_point():
            return dataclasses.replace(self, positions=positions)
        # Every step of dynamics comes here, and nothing else needs to be checked again.
        moved: System = object.__new__(type(self))
        moved.__dict__.update(self.__dict__, positions=positions)
        return moved

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> System:
        """Move all tensors to `device` and the floating-point ones to `dtype`."""
        moved: dict[str, Tensor] = {}
        for name in ("positions", "types", "masses", "batch", "ptr", "cell", "pbc"):
            tensor: Tensor = getattr(self, name)
            moved[name] = tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
        return System(**moved, interactions={k: v.to(device=device) for k, v in self.interactions.items()})
