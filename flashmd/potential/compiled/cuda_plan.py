"""How the blocks of the CUDA kernels share the work on the pairs of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from flashmd.potential.compiled.cuda_weights import SLICE

WARP = 32
NOTHING, TABLE, TABLE_AND_FEATURES = range(3)


@dataclass(frozen=True)
class Device:
    """What a plan must know of a GPU.

    Attributes:
        shared_bytes: most shared memory of a block.
        n_processors: multiprocessors.
    """

    shared_bytes: int
    n_processors: int

    @classmethod
    def of(cls, device: torch.device) -> Device:
        """Ask torch."""
        properties: Any = torch.cuda.get_device_properties(device)
        return cls(properties.shared_memory_per_block_optin, properties.multi_processor_count)


@dataclass(frozen=True)
class Workload:
    """Sizes that a plan depends on.

    Attributes:
        n_systems: systems of the batch.
        most_atoms: atoms of the largest one.
        n_slices: slices of 32 channels.
        n_knots: knots of a table.
        dtype: of the calculation.
    """

    n_systems: int
    most_atoms: int
    n_slices: int
    n_knots: int
    dtype: torch.dtype


def make_plan(work: Workload, device: Device) -> list[int]:
    """Return keep, n_groups, n_parts, n_threads and most_atoms for `row_convolve_` and `row_differentiate_`.

    A block keeps its slice of the table in shared memory if that fits, and the features and gradients of one system
    too if they fit beside it. It then works on a group of systems one after the other, so that there are about as many
    blocks as multiprocessors and each loads its table once. Where there are fewer systems than that, several blocks
    share the atoms of one. Results do not depend on any of this.
    """
    n_bytes = work.dtype.itemsize
    table = work.n_knots * 2 * SLICE * n_bytes
    features = 2 * work.most_atoms * SLICE * n_bytes
    n_threads = 1024 if work.dtype == torch.float32 else 512
    if table + features <= device.shared_bytes:
        keep = TABLE_AND_FEATURES
    else:
        keep = TABLE if table <= device.shared_bytes else NOTHING
    per_slice = max(device.n_processors // work.n_slices, 1)
    n_groups = max(min(work.n_systems, per_slice), 1)
    most_parts = -(-work.most_atoms // (n_threads // WARP))
    n_parts = max(min(per_slice // n_groups, most_parts), 1)
    return [keep, n_groups, n_parts, n_threads, work.most_atoms]
