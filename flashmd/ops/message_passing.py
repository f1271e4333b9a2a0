"""Continuous-filter convolution and the two operators that close it under differentiation.

With features x, filters w and edges e from sender s(e) to receiver t(e)::

    cfconv            (x W)_t  = sum over e with t(e) = t of x_s(e) w_e
    cfconv_transposed (x W')_s = sum over e with s(e) = s of x_t(e) w_e
    edge_product      p_e      = l_t(e) r_s(e)

The derivative of each is a combination of the others, so every order of differentiation runs on the same three kernels.
Schuett et al., SchNet, J. Chem. Phys. 148, 241722 (2018), doi:10.1063/1.5019779, eq. 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.ops import reference
from flashmd.ops._extension import Operator, use_kernels
from flashmd.ops.edges import Edges


def cfconv(features: Tensor, filters: Tensor, edges: Edges, *, backend: str = "kernel") -> Tensor:
    """Sum filtered sender features over the edges of each receiver.

    Args:
        features: [n_atoms, n_channels].
        filters: [n_edges, n_channels].
        edges: pairs of the batch.
        backend: "kernel" or "reference".

    Returns:
        [n_atoms, n_channels], deterministic, differentiable to any order.

    Example:
        >>> import torch
        >>> from flashmd.ops import Edges, cfconv
        >>> edges = Edges.from_pairs(torch.tensor([0, 0]), torch.tensor([1, 2]), 3)
        >>> features = torch.tensor([[1.0], [2.0], [3.0]])
        >>> cfconv(features, torch.tensor([[10.0], [100.0]]), edges, backend="reference")[:, 0].tolist()
        [320.0, 0.0, 0.0]
    """
    _check("features", features, edges.n_atoms, features)
    _check("filters", filters, edges.n_edges, features)
    if use_kernels(backend):
        return _run(_CFCONV, features, filters, edges)
    return reference.cfconv(features, filters, edges)


def cfconv_transposed(features: Tensor, filters: Tensor, edges: Edges, *, backend: str = "kernel") -> Tensor:
    """Sum filtered receiver features over the edges of each sender; arguments as for `cfconv`."""
    _check("features", features, edges.n_atoms, features)
    _check("filters", filters, edges.n_edges, features)
    if use_kernels(backend):
        return _run(_CFCONV_TRANSPOSED, features, filters, edges)
    return reference.cfconv_transposed(features, filters, edges)


def edge_product(left: Tensor, right: Tensor, edges: Edges, *, backend: str = "kernel") -> Tensor:
    """Multiply, for each edge, the receiver's row of `left` by the sender's row of `right`.

    Args:
        left: [n_atoms, n_channels].
        right: [n_atoms, n_channels].
        edges: pairs of the batch.
        backend: "kernel" or "reference".

    Returns:
        [n_edges, n_channels].

    Example:
        >>> import torch
        >>> from flashmd.ops import Edges, edge_product
        >>> edges = Edges.from_pairs(torch.tensor([0, 0]), torch.tensor([1, 2]), 3)
        >>> values = torch.tensor([[2.0], [3.0], [5.0]])
        >>> edge_product(values, values, edges, backend="reference")[:, 0].tolist()
        [6.0, 10.0]
    """
    _check("left", left, edges.n_atoms, left)
    _check("right", right, edges.n_atoms, left)
    if use_kernels(backend):
        return _run(_EDGE_PRODUCT, left, right, edges)
    return reference.edge_product(left, right, edges)


def _check(name: str, tensor: Tensor, n_rows: int, like: Tensor) -> None:
    n_channels = like.shape[-1] if like.dim() == 2 else "n_channels"
    if tensor.dim() != 2 or tensor.shape[0] != n_rows or tensor.shape[1] != n_channels:
        got, fix = f"{tuple(tensor.shape)}", "pass one row for each atom or edge of `edges`"
        raise ValueError(message(f"`{name}`", f"shape ({n_rows}, {n_channels})", got, fix))
    if tensor.dtype != like.dtype:
        raise TypeError(message(f"`{name}`", f"{like.dtype}", f"{tensor.dtype}", "convert one of them with `.to`"))


def _run(operator: Operator, first: Tensor, second: Tensor, edges: Edges) -> Tensor:
    result: Tensor = operator(first, second, *edges.index)
    return result


Gradients = tuple[Tensor | None, ...]
_NO_INDEX_GRADIENT = (None,) * 5


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """Save the two factors, each only where the gradient of the other is wanted, and the index tensors."""
    del output
    first, second, *index = inputs
    need_first, need_second, *_ = ctx.needs_input_grad
    ctx.save_for_backward(first if need_second else None, second if need_first else None, *index)


def _cfconv_backward(ctx: Any, grad: Tensor) -> Gradients:
    features, filters, *index = ctx.saved_tensors
    grad_features = None if filters is None else _CFCONV_TRANSPOSED(grad, filters, *index)
    grad_filters = None if features is None else _EDGE_PRODUCT(grad, features, *index)
    return grad_features, grad_filters, *_NO_INDEX_GRADIENT


def _cfconv_transposed_backward(ctx: Any, grad: Tensor) -> Gradients:
    features, filters, *index = ctx.saved_tensors
    grad_features = None if filters is None else _CFCONV(grad, filters, *index)
    grad_filters = None if features is None else _EDGE_PRODUCT(features, grad, *index)
    return grad_features, grad_filters, *_NO_INDEX_GRADIENT


def _edge_product_backward(ctx: Any, grad: Tensor) -> Gradients:
    left, right, *index = ctx.saved_tensors
    grad_left = None if right is None else _CFCONV(right, grad, *index)
    grad_right = None if left is None else _CFCONV_TRANSPOSED(left, grad, *index)
    return grad_left, grad_right, *_NO_INDEX_GRADIENT


def _like_features(features: Tensor, filters: Tensor, *index: Tensor) -> Tensor:
    del filters, index
    return torch.empty_like(features, memory_format=torch.contiguous_format)


def _one_row_per_edge(left: Tensor, right: Tensor, receiver: Tensor, *index: Tensor) -> Tensor:
    del right, index
    return left.new_empty(receiver.shape[0], left.shape[1])


_CFCONV = Operator("cfconv", _like_features, _cfconv_backward, setup_context=_save, n_differentiable=2)
_CFCONV_TRANSPOSED = Operator(
    "cfconv_transposed", _like_features, _cfconv_transposed_backward, setup_context=_save, n_differentiable=2
)
_EDGE_PRODUCT = Operator(
    "edge_product", _one_row_per_edge, _edge_product_backward, setup_context=_save, n_differentiable=2
)
