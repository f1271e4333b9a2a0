"""Sums over consecutive rows, such as the energies of the atoms of each system."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.ops import reference
from flashmd.ops._extension import use_kernels


def segment_sum(values: Tensor, ptr: Tensor, *, backend: str = "kernel") -> Tensor:
    """Sum the rows of each segment, in order, in the dtype of `values`.

    Args:
        values: [n_rows, ...].
        ptr: [n_segments + 1], int64, ascending from 0 to n_rows.
        backend: "kernel" or "reference".

    Returns:
        [n_segments, ...], deterministic, differentiable to any order.

    Example:
        >>> import torch
        >>> from flashmd.ops import segment_sum
        >>> segment_sum(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 2, 3]), backend="reference").tolist()
        [3.0, 0.0, 3.0]
    """
    if use_kernels(backend):
        result: Tensor = torch.ops.flashmd.segment_sum(values, ptr)
        return result
    return reference.segment_sum(values, ptr)


def segment_expand(values: Tensor, ptr: Tensor, n_rows: int, *, backend: str = "kernel") -> Tensor:
    """Repeat the row of each segment over the segment: the transpose of `segment_sum`.

    Args:
        values: [n_segments, ...].
        ptr: [n_segments + 1], int64, ascending from 0 to n_rows.
        n_rows: rows of the result, ``ptr[-1]``.
        backend: "kernel" or "reference".
    """
    if use_kernels(backend):
        result: Tensor = torch.ops.flashmd.segment_expand(values, ptr, n_rows)
        return result
    return reference.segment_expand(values, ptr, n_rows)
