"""A neighbour list that lives for several steps.

The list is built with the cutoff plus a skin. Two atoms that were farther apart than cutoff + skin can only be within
the cutoff now if together they moved by more than the skin, so the list stays complete until some atom has moved by
more than half the skin since the list was built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.nn import half_edges
from flashmd.ops import Edges, half_neighbor_list, neighbor_list
from flashmd.ops.neighbors import any_moved
from flashmd.potential.identity import Identity
from flashmd.system import System


class VerletList:
    """Neighbour list with a skin.

    The list depends on the positions of the last build only: saving `reference_positions` and calling `restore`
    reproduces it exactly.

    Args:
        cutoff: distance within which the list is complete, nm.
        skin: extra reach, nm; zero rebuilds at every call.
        backend: see :func:`flashmd.ops.neighbor_list`.

    Raises:
        ValueError: the skin is negative.

    >>> import torch
    >>> from flashmd.system import System
    >>> dimer = System.single(torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]), torch.tensor([1, 2]))
    >>> verlet = VerletList(0.5, skin=0.1, backend="reference")
    >>> verlet.update(dimer).n_edges
    2
    """

    def __init__(self, cutoff: float, *, skin: float = 0.2, backend: str = "kernel") -> None:
        if skin < 0.0:
            raise ValueError(
                message("`skin`", "a length of at least 0 nm", f"{skin}", "pass zero or a positive length")
            )
        self.cutoff = cutoff
        self.skin = skin
        self.backend = backend
        self.n_builds = 0
        self.reference_positions: Tensor | None = None
        self._frame: Identity | None = None
        self._values: tuple[Tensor, ...] = ()
        self._edges: Edges | None = None
        self._half: Edges | None = None

    def update(self, system: System) -> Edges:
        """Return edges that contain all pairs within the cutoff, rebuilt where needed.

        Raises:
            ValueError: a position is not finite.
        """
        self._renew(system)
        return self._full(system)

    def update_half(self, system: System) -> Edges:
        """Return one edge of every pair within the cutoff; see `update` and :func:`flashmd.nn.half_edges`."""
        self._renew(system)
        if self._half is None:
            if self._uses_cpu_kernels(system.positions):
                self._half = self._built(half_neighbor_list, system)
            else:
                self._half = half_edges(self._full(system))
        return self._half

    def restore(self, system: System, reference_positions: Tensor) -> None:
        """Let the list be that of `reference_positions` ([n_atoms, 3], nm), as it was then."""
        self._start(reference_positions.to(system.positions), system)

    def reset(self) -> None:
        """Forget the list; the next call of `update` builds a new one."""
        self._edges = self._half = self._frame = self.reference_positions = None

    def _full(self, system: System) -> Edges:
        if self._edges is None:
            self._edges = self._built(neighbor_list, system, backend=self.backend)
        return self._edges

    def _renew(self, system: System) -> None:
        """Begin a list at the positions of a system that the old list does not cover."""
        positions = system.positions.detach()
        if not self._covers(positions, system):
            self._start(positions, system)

    def _start(self, positions: Tensor, system: System) -> None:
        self.reset()
        self.reference_positions = positions.clone()
        self._remember(system)
        self.n_builds += 1

    def _built(self, search: Callable[..., Edges], system: System, **options: str) -> Edges:
        """Search the system at the positions of the list."""
        reference = system.with_positions(cast("Tensor", self.reference_positions))
        try:
            return search(reference, self.cutoff + self.skin, **options)
        except ValueError:
            # A search that refuses its input must not leave anything behind that belongs to these positions.
            self.reset()
            self.n_builds -= 1
            raise

    def _remember(self, system: System) -> None:
        self._frame = _frame_of(system)
        self._values = (system.batch.clone(), system.cell.detach().clone(), system.pbc.clone())

    def _covers(self, positions: Tensor, system: System) -> bool:
        reference = self.reference_positions
        if reference is None or self.skin == 0.0 or not self._same_frame(system):
            return False
        backend = "kernel" if self._uses_cpu_kernels(positions) else "reference"
        return not any_moved(positions, reference, 0.5 * self.skin, backend=backend)

    def _uses_cpu_kernels(self, positions: Tensor) -> bool:
        """Whether the compiled operators of the CPU serve these positions."""
        return self.backend == "kernel" and positions.device.type == "cpu"

    def _same_frame(self, system: System) -> bool:
        """Compare batch, cell, flags and dtype; the same unchanged objects need no look at their values."""
        frame = _frame_of(system)
        if self._frame is None or self._frame.dtype != frame.dtype:
            return False
        if self._frame.holds(frame):
            return True
        for new, old in zip(frame.tensors, self._values, strict=True):
            if new.shape != old.shape or new.device != old.device or not torch.equal(new.detach(), old):
                return False
        self._frame = frame
        return True


def _frame_of(system: System) -> Identity:
    return Identity.of(system.batch, system.cell, system.pbc, dtype=system.positions.dtype)
