"""Energy, forces and virial of a frozen SchNet in one compiled operator.

The operator reads a packed model: matrices in the layout of the kernels, once for each direction, constants, and the
tables of the filters. :func:`flashmd.nn.packed.pack` makes it; the reference is
:func:`flashmd.nn.frozen.frozen_energy`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.ops._extension import Operator, use_kernels
from flashmd.ops.edges import Edges
from flashmd.system import System


@dataclass(frozen=True)
class PackedSchNet:
    """A frozen SchNet in the layout of the kernels; all widths are padded with zeros to multiples of 16.

    Attributes:
        sizes: int64: n_types, n_channels, n_filters, n_blocks, n_intervals, number of hidden readout layers, code of
            the activation, code of the storage, widths of the hidden readout layers.
        weights: matrices in the dtype of the calculation, or as int16 words of 16-bit numbers.
        tiles: the same matrices for processors that multiply tiles of numbers, see :func:`pack_tiles`.
        constants: embedding, scales, biases and the last layer of the readout.
        table: [n_blocks, n_filters / 16, n_knots, 2, 16], values and slopes per interval.
        cutoff: nm.
    """

    sizes: Tensor
    weights: Tensor
    tiles: Tensor
    constants: Tensor
    table: Tensor
    cutoff: float


@dataclass(frozen=True)
class HalfPairs:
    """One entry for each pair of a batch, as the kernels read it.

    Attributes:
        receiver: [n_pairs], int32, ascending.
        sender: [n_pairs], int32.
        image: [n_pairs, 3], nm, lattice vector added to the sender; [0, 3] where nothing is periodic.
        pair_ptr: [n_systems + 1], int64, first pair of each system.
    """

    receiver: Tensor
    sender: Tensor
    image: Tensor
    pair_ptr: Tensor

    @classmethod
    def from_edges(cls, system: System, edges: Edges) -> HalfPairs:
        """Convert the edges of :func:`flashmd.nn.half_edges` for a batch; they hold as long as its cell does."""
        image = system.positions.new_zeros(0, 3)
        if edges.periodic:
            cell = system.cell.detach().index_select(0, system.batch.index_select(0, edges.receiver))
            # Term by term, so that it rounds alike on every machine and in csrc/engine.
            a, b, c = (edges.shift.to(cell)[:, k, None] * cell[:, k] for k in range(3))
            image = a + b + c
        return cls(
            edges.receiver.to(torch.int32),
            edges.sender.to(torch.int32),
            image,
            edges.row_ptr.index_select(0, system.ptr),
        )


def schnet_evaluate(
    model: PackedSchNet,
    system: System,
    pairs: HalfPairs,
    *,
    virial: bool = False,
    instruction_set: int = -1,
    workspace: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Evaluate a packed SchNet on the CPU.

    The forces are the exact gradient of the energy: derivatives of the tables' polynomials, of the stored weights. The
    result does not depend on the number of threads, on the other systems of the batch or on pairs beyond the cutoff.

    Args:
        model: packed model, in the dtype of the positions.
        system: batch.
        pairs: its pairs, complete up to the cutoff.
        virial: also return the virial.
        instruction_set: 0 baseline, 1 AVX2, 2 AVX-512, 3 AVX-512 with node layers in tiles (AMX); -1 for the
            widest that the processor has.
        workspace: contiguous numbers in the dtype of the positions that are overwritten, at least
            :func:`workspace_size` of them, or None to take memory for this call.

    Returns:
        energy [n_systems], kJ/mol, float64; forces [n_atoms, 3], kJ/mol/nm; virial [n_systems, 3, 3], kJ/mol, float64.

    Raises:
        ExtensionNotBuiltError: the operators are not compiled.
        RuntimeError: sizes or dtypes do not fit together, or the workspace is too small.
    """
    use_kernels("kernel")
    if workspace is None:
        size = workspace_size(model, system, pairs, instruction_set=instruction_set)
        workspace = system.positions.new_empty(size)
    energy, forces, strain = _EVALUATE(
        system.positions.detach(),
        system.types,
        system.ptr,
        pairs.receiver,
        pairs.sender,
        pairs.image,
        pairs.pair_ptr,
        model.sizes,
        model.weights,
        model.tiles,
        model.constants,
        model.table,
        workspace,
        model.cutoff,
        virial,
        instruction_set,
    )
    return energy, forces, strain if virial else None


def workspace_size(model: PackedSchNet, system: System, pairs: HalfPairs, *, instruction_set: int = -1) -> int:
    """Return how many numbers :func:`schnet_evaluate` needs as workspace with the present number of threads.

    Raises:
        ExtensionNotBuiltError: the operators are not compiled.
        RuntimeError: sizes or dtypes do not fit together.
    """
    use_kernels("kernel")
    parts = (model.sizes, model.weights, model.tiles, model.constants, model.table, model.cutoff)
    return int(_WORKSPACE_SIZE(system.ptr, pairs.pair_ptr, *parts, instruction_set))


def pack_tiles(sizes: Tensor, weights: Tensor) -> Tensor:
    """Return the matrices of a packed float32 model as tiles of bfloat16 parts, int16 words.

    The result is empty on processors that multiply no tiles. A float32 number has three parts, which together are the
    number itself; numbers of 16 bits have one or two.

    Args:
        sizes: see :class:`PackedSchNet`.
        weights: see :class:`PackedSchNet`.

    Raises:
        ExtensionNotBuiltError: the operators are not compiled.
        RuntimeError: the weights are not those of a float32 model of these sizes.
    """
    use_kernels("kernel")
    tiles: Tensor = _TILES(sizes, weights)
    return tiles


def _fake(positions: Tensor, types: Tensor, ptr: Tensor, *rest: object) -> tuple[Tensor, Tensor, Tensor]:
    del types
    n_systems = ptr.shape[0] - 1
    n_virials = n_systems if rest[11] else 0
    energy = positions.new_empty(n_systems, dtype=torch.float64)
    return energy, positions.new_empty(positions.shape[0], 3), energy.new_empty(n_virials, 3, 3)


def _fake_workspace_size(*args: object) -> object:
    del args
    return torch.library.get_ctx().new_dynamic_size()


def _fake_tiles(sizes: Tensor, weights: Tensor) -> Tensor:
    size = torch.library.get_ctx().new_dynamic_size()
    del sizes
    return weights.new_empty(size, dtype=torch.int16)


_EVALUATE = Operator("schnet_evaluate", _fake)
_WORKSPACE_SIZE = Operator("schnet_workspace_size", _fake_workspace_size)
_TILES = Operator("schnet_tiles", _fake_tiles)
