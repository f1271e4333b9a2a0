"""Memory and neighbour list of one batch on a GPU, and the evaluation of a network in it.

Nothing here allocates, waits for the device or looks at a number once it is built, so that a graph can record an
evaluation, the test of the neighbour list and its rebuild included.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashmd.errors import NeighborOverflowError
from flashmd.ops import neighbor_list
from flashmd.potential.compiled.cuda_plan import Device, Workload, make_plan
from flashmd.potential.compiled.cuda_weights import CudaWeights
from flashmd.system import System

_MOVED, _FOUND = 0, 2
_N_STATE = 6
ALWAYS_FIT = 8_000_000
"""Lists of fewer pairs than this get room for all there can be."""
MARGIN = 1.5
"""Room of larger lists, relative to the pairs found in the beginning."""


def pair_capacity(system: System, reach: float) -> int:
    """Return how many directed pairs a neighbour list should have room for; looks at the device."""
    counts = system.ptr.diff()
    most = int((counts * (counts - 1)).sum())
    if most <= ALWAYS_FIT and not bool(system.pbc.any()):
        return max(most, 1)
    return int(MARGIN * neighbor_list(system, reach).n_edges) + 1024


class PairList:
    """The pairs of a batch.

    Args:
        system: batch.
        cutoff: nm.
        skin: extra reach, nm.
        capacity: room for directed pairs.
        ops: the operators.
    """

    def __init__(self, system: System, cutoff: float, *, skin: float, capacity: int, ops: Any) -> None:
        self._ops, self.capacity = ops, capacity
        self._cutoff, self._skin = cutoff, skin
        # Copies: the caller may change its tensors, and a graph reads memory, not objects.
        self._batch, self.ptr = system.batch.clone(), system.ptr.clone()
        self._cell, self._pbc = system.cell.detach().to(system.positions.dtype).contiguous().clone(), system.pbc.clone()
        new, n_atoms = system.positions.new_empty, system.n_atoms
        periodic = bool(system.pbc.any())
        self._reference = torch.zeros_like(system.positions, memory_format=torch.contiguous_format)
        self.row_ptr = new(n_atoms + 1, dtype=torch.int32)
        self.row_count = new(n_atoms, dtype=torch.int32)
        self._sender = new(capacity, dtype=torch.int32)
        self._shift = new((capacity if periodic else 0, 3), dtype=torch.int32)
        self.pairs = new((capacity, 16), dtype=torch.uint8)
        self.directions = new(capacity, 4)
        self.state = torch.zeros(_N_STATE, dtype=torch.int64, device=system.positions.device)
        self.reset()

    def reset(self) -> None:
        """Have the list built in the next update."""
        self.state[_MOVED] = 1

    def update_(self, positions: Tensor, n_intervals: int) -> None:
        """Bring the list up to date and compute the distances of its pairs."""
        frame = (positions, self.ptr, self._cell, self._pbc)
        memory = (self._reference, self.row_ptr, self._sender, self._shift, self.state)
        self._ops.row_list_update_(*frame, *memory, self._cutoff + self._skin, self._skin)
        rows = (self._sender, self._shift, self.row_ptr, self.row_count, self.pairs, self.directions)
        self._ops.row_geometry_(positions, self._batch, self._cell, *rows, self._cutoff, n_intervals)

    def check(self) -> None:
        """Wait for the device and look whether the list found more pairs than it has room for.

        Raises:
            NeighborOverflowError: it did; energies and forces are NaN since then.
        """
        found = int(self.state[_FOUND])
        if found > self.capacity:
            raise NeighborOverflowError(found, self.capacity)


class CudaBatch:
    """A network and a batch.

    Args:
        weights: network.
        system: batch; its positions may change, all else is fixed.
        pairs: its neighbour list.
        device: of the plan.
        ops: the operators.

    Attributes:
        energy: [n_systems], kJ/mol, float64, of the last evaluation.
        forces: [n_atoms, 3], kJ/mol/nm.
        virial: [n_systems, 3, 3], kJ/mol, float64.
    """

    def __init__(self, weights: CudaWeights, system: System, pairs: PairList, *, device: Device, ops: Any) -> None:
        self.weights, self.pairs, self._ops = weights, pairs, ops
        n_atoms, n_slices = system.n_atoms, weights.n_slices
        dtype = system.positions.dtype
        most_atoms = int(system.ptr.diff().max()) if system.n_systems else 0
        work = Workload(system.n_systems, most_atoms, n_slices, weights.n_knots, dtype)
        self._plan = make_plan(work, device)

        def rows(width: int) -> Tensor:
            return system.positions.new_empty(n_atoms, width)

        n_channels, n_filters = weights.embedding.shape[1], weights.blocks[0].mix.forward.shape[0]
        self._embedded = weights.embedding[system.types]
        self._features, self._gradient, self._hidden_gradient = (rows(n_channels) for _ in range(3))
        self._messages, self._down, self._back = (rows(n_filters) for _ in range(3))
        self._sent = [rows(n_filters) for _ in weights.blocks]
        self._mixed = [rows(n_channels) for _ in weights.blocks]
        self._inner = [rows(layer.forward.shape[1]) for layer in weights.hidden]
        self._inner_gradient = [rows(layer.forward.shape[1]) for layer in weights.hidden]
        self._atom_energy = system.positions.new_empty(n_atoms)
        self._force_share = system.positions.new_empty(n_slices, n_atoms, 3)
        self._virial_share: Tensor | None = None
        self.energy = self._atom_energy.new_empty(system.n_systems, dtype=torch.float64)
        self.forces = rows(3)
        self.virial = self.energy.new_empty(system.n_systems, 3, 3)
        # The first block sends what depends on the types alone.
        self._dense(self._embedded, weights.blocks[0].project.forward, self._sent[0])

    def evaluate_(self, positions: Tensor, *, virial: bool) -> None:
        """Compute energy, forces and, on request, the virial into the attributes.

        Args:
            positions: [n_atoms, 3], nm, contiguous.
            virial: also compute the virial.
        """
        if virial and self._virial_share is None:
            self._virial_share = self._force_share.new_empty(*self._force_share.shape[:2], 6)
        share = self._virial_share if virial else None
        self.pairs.update_(positions, self.weights.n_knots - 1)
        self._forward()
        self._readout()
        self._backward(share)
        self._ops.frozen_totals_(
            *(self._atom_energy, self._force_share, share, self.pairs.ptr, self.pairs.state, self.pairs.capacity),
            *(self.energy, self.forces, self.virial if virial else None),
        )

    def _dense(
        self,
        values: Tensor,
        weight: Tensor,
        out: Tensor,
        *,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        gate: Tensor | None = None,
        activate: bool = False,
    ) -> None:
        self._ops.node_layer_(values, weight, bias, residual, gate, self.weights.activation, activate, out)

    def _rows(self) -> tuple[Tensor, ...]:
        return self.pairs.ptr, self.pairs.row_ptr, self.pairs.row_count, self.pairs.pairs

    def _forward(self) -> None:
        features = self._embedded
        for index, block in enumerate(self.weights.blocks):
            sent, mixed = self._sent[index], self._mixed[index]
            if index:
                self._dense(features, block.project.forward, sent)
            self._ops.row_convolve_(block.table, sent, *self._rows(), self._messages, self._plan)
            self._dense(self._messages, block.mix.forward, mixed, bias=block.mix.bias)
            update = block.update
            self._dense(mixed, update.forward, self._features, bias=update.bias, residual=features, activate=True)
            features = self._features

    def _readout(self) -> None:
        """Compute the energies of the atoms and their gradient with respect to the features."""
        weights, values = self.weights, self._features
        for index, (layer, inner) in enumerate(zip(weights.hidden, self._inner, strict=True)):
            self._dense(values, layer.forward, inner, bias=layer.bias, activate=index > 0)
            values = inner
        gradients = [self._gradient, *self._inner_gradient]
        self._ops.node_energy_(
            *(values, weights.last, weights.last_bias, weights.activation, bool(weights.hidden)),
            *(self._atom_energy, gradients[-1]),
        )
        for index in reversed(range(len(weights.hidden))):
            gate = self._inner[index - 1] if index else None
            self._dense(gradients[index + 1], weights.hidden[index].back, gradients[index], gate=gate)

    def _backward(self, virial: Tensor | None) -> None:
        last = len(self.weights.blocks) - 1
        for index in reversed(range(last + 1)):
            block = self.weights.blocks[index]
            self._dense(self._gradient, block.update.back, self._hidden_gradient, gate=self._mixed[index])
            self._dense(self._hidden_gradient, block.mix.back, self._down)
            self._ops.row_differentiate_(
                *(block.table, self._sent[index], self._down, *self._rows(), self.pairs.directions),
                *(self._back if index else None, self._force_share, virial),
                *(self.weights.cutoff, index < last, self._plan),
            )
            if index:
                self._dense(self._back, block.project.back, self._gradient, residual=self._gradient)
