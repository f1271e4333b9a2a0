"""The tabulated network on a GPU, by the CUDA kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashmd.nn.frozen import FrozenSchNet, frozen_energy
from flashmd.ops import Edges, edge_geometry
from flashmd.potential.compiled.cuda_batch import CudaBatch, PairList, pair_capacity
from flashmd.potential.compiled.cuda_plan import Device
from flashmd.potential.compiled.cuda_weights import CudaWeights
from flashmd.potential.identity import Identity
from flashmd.protocols import Evaluation
from flashmd.system import System


class CudaTable:
    """Evaluates a frozen network on lists of pairs or with a neighbour list of its own.

    Args:
        frozen: network, on the device.
        ops: the operators.
        device: what to plan for; asked of torch where left out.
    """

    def __init__(self, frozen: FrozenSchNet, *, ops: Any = torch.ops.flashmd, device: Device | None = None) -> None:
        self._weights, self._ops = CudaWeights.of(frozen), ops
        self._frozen = frozen
        self._device = Device.of(frozen.embedding.device) if device is None else device

    def batch(self, system: System, *, skin: float, capacity: int) -> CudaBatch:
        """Return the memory for a batch.

        Args:
            system: batch.
            skin: extra reach of its neighbour list, nm.
            capacity: room for directed pairs.
        """
        pairs = PairList(system, self._weights.cutoff, skin=skin, capacity=capacity, ops=self._ops)
        return CudaBatch(self._weights, system, pairs, device=self._device, ops=self._ops)

    def evaluate(self, system: System, pairs: Edges, *, virial: bool = False) -> Evaluation:
        """See :class:`flashmd.potential.compiled.evaluators.Evaluator`; the pairs are searched for anew."""
        batch = self.batch(system, skin=0.0, capacity=2 * pairs.n_edges)
        return _evaluated(batch, system, virial=virial)

    def atom_energies(self, system: System, pairs: Edges) -> Tensor:
        """See :class:`flashmd.potential.compiled.evaluators.Evaluator`; in PyTorch, since dynamics does without."""
        distance = edge_geometry(system, pairs, backend="reference")[1]
        return frozen_energy(self._frozen, system.types, pairs, distance)


class CudaLists:
    """Batches with their neighbour lists from one step to the next.

    Args:
        table: network.
        cutoff: nm.
        skin: extra reach of the lists, nm.
    """

    def __init__(self, table: CudaTable, cutoff: float, *, skin: float) -> None:
        self._table, self._cutoff, self._skin = table, cutoff, skin
        self._batch: CudaBatch | None = None
        self._frame: Identity | None = None

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Evaluate a batch; memory is made anew for another one and kept for the same one at other positions."""
        frame = Identity.of(system.types, system.batch, system.ptr, system.cell, system.pbc)
        if self._batch is None or self._frame is None or not self._frame.holds(frame):
            capacity = pair_capacity(system, self._cutoff + self._skin)
            self._batch, self._frame = self._table.batch(system, skin=self._skin, capacity=capacity), frame
        return _evaluated(self._batch, system, virial=virial)

    def check(self) -> None:
        """Wait for the device and raise where a neighbour list ran out of room; see :meth:`PairList.check`."""
        if self._batch is not None:
            self._batch.pairs.check()

    def reset(self) -> None:
        """Forget the lists."""
        self._batch = self._frame = None


def _evaluated(batch: CudaBatch, system: System, *, virial: bool) -> Evaluation:
    batch.evaluate_(system.positions.detach().contiguous(), virial=virial)
    return Evaluation(batch.energy.clone(), batch.forces.clone(), batch.virial.clone() if virial else None)
