"""Sums over consecutive rows, such as the energies of the atoms of each system."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flashmd.ops import reference
from flashmd.ops._extension import Operator, use_kernels


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
        result: Tensor = _SUM(values, ptr)
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
        result: Tensor = _EXPAND(values, ptr, n_rows)
        return result
    return reference.segment_expand(values, ptr, n_rows)


def _save_sum(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    del output
    values, ptr = inputs
    ctx.n_rows = values.shape[0]
    ctx.save_for_backward(ptr)


def _sum_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    return _EXPAND(grad, *ctx.saved_tensors, ctx.n_rows), None


def _save_expand(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    del output
    ctx.save_for_backward(inputs[1])


def _expand_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return _SUM(grad, *ctx.saved_tensors), None, None


def _fake_sum(values: Tensor, ptr: Tensor) -> Tensor:
    return values.new_empty((ptr.shape[0] - 1, *values.shape[1:]))


def _fake_expand(values: Tensor, ptr: Tensor, n_rows: int) -> Tensor:
    del ptr
    return values.new_empty((n_rows, *values.shape[1:]))


_SUM = Operator("segment_sum", _fake_sum, _sum_backward, setup_context=_save_sum, n_differentiable=1)
_EXPAND = Operator("segment_expand", _fake_expand, _expand_backward, setup_context=_save_expand, n_differentiable=1)
