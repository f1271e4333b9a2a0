r"""Convolution with filters that are computed pair by pair and never stored.

A pair (t, s) of a half list has the filter :math:`W_e = C(d_e)\, A\, a(B R(d_e) + b)`, and both of its atoms send:

.. math:: o_i = \sum_{e = (i, j)} x_j W_e + \sum_{e = (j, i)} x_j W_e

==============================  ==================================================
symbol                          variable
==============================  ==================================================
:math:`x`                       `features`
:math:`d`                       `distance`
:math:`R`                       basis of `FilterWeights.centres` and `widths`
:math:`B`, :math:`b`            `FilterWeights.weight_in`, `bias_in`
:math:`A`                       `FilterWeights.weight_out`
:math:`a`, :math:`C`            `FilterForm.activation`, `FilterForm.envelope`
==============================  ==================================================

With :math:`\langle g, o \rangle = \sum_e \langle p_e, W_e \rangle` and :math:`p_e = g_t x_s + g_s x_t`, the gradient is
the convolution of g along the same filters for x, and for everything else what goes back through the network of a pair
from :math:`p_e`. Its derivative along a direction carries the derivative of every layer along. Both are operators that
recompute the layers of some pairs at a time, so that memory never grows with pairs times channels. A third derivative
raises. Source of the model: Schuett et al., doi:10.1063/1.5019779.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.ops import flash_tiles, reference
from flashmd.ops._extension import (
    Operator,
    differentiable,
    no_derivative,
    save_nothing,
    use_kernels,
    wanted_gradients,
)
from flashmd.ops.edges import Edges
from flashmd.ops.filter_form import FilterForm, FilterWeights


def flash_cfconv(
    features: Tensor,
    distance: Tensor,
    weights: FilterWeights,
    form: FilterForm,
    edges: Edges,
    *,
    backend: str = "kernel",
) -> Tensor:
    """Sum filtered features over the pairs of each atom, computing the filters on the way.

    Args:
        features: [n_atoms, n_filters].
        distance: [n_pairs], nm.
        weights: parameters of the filter network.
        form: basis, envelope and activation.
        edges: one edge of each pair (:func:`flashmd.nn.half_edges`); both atoms send.
        backend: "kernel" or "reference". On a GPU the gradients of weights and the second derivatives of the kernel
            are a loop over tiles of pairs, see :mod:`flashmd.ops.flash_tiles`.

    Returns:
        [n_atoms, n_filters], deterministic. The kernel can be differentiated twice with respect to features, distances
        and weights; a third derivative raises.

    Example:
        >>> import torch
        >>> from flashmd.ops import BasisForm, Edges, FilterForm, FilterWeights, flash_cfconv
        >>> form = FilterForm(BasisForm("gaussian", 0.0, 1.0, "identity"), "identity", "tanh")
        >>> one = torch.ones(1)
        >>> weights = FilterWeights(0.5 * one, one, one[None], one, one[None])
        >>> edges = Edges.from_pairs(torch.tensor([0]), torch.tensor([1]), 2)
        >>> out = flash_cfconv(torch.tensor([[1.0], [2.0]]), torch.tensor([0.5]), weights, form, edges)
        >>> torch.allclose(out, torch.tensor([[2.0], [1.0]]) * torch.tanh(torch.tensor(2.0)))
        True
    """
    _check(features, distance, weights, edges)
    if use_kernels(backend):
        result: Tensor = _FLASH(features, distance, *weights, *edges.index, *form.numbers)
        return result
    return reference.flash_cfconv(features, distance, weights, form, edges)


def _check(features: Tensor, distance: Tensor, weights: FilterWeights, edges: Edges) -> None:
    n_filters = features.shape[1] if features.dim() == 2 else "n_filters"
    n_basis = weights.centres.numel()
    shapes = {
        "features": (features, (edges.n_atoms, n_filters)),
        "distance": (distance, (edges.n_edges,)),
        "centres": (weights.centres, (n_basis,)),
        "widths": (weights.widths, (n_basis,)),
        "weight_in": (weights.weight_in, (n_filters, n_basis)),
        "bias_in": (weights.bias_in, (n_filters,)),
        "weight_out": (weights.weight_out, (n_filters, n_filters)),
    }
    for name, (tensor, shape) in shapes.items():
        if tuple(tensor.shape) != shape:
            expected = f"shape ({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
            fix = "match the atoms and pairs of `edges` and the widths of the filter network"
            raise ValueError(message(f"`{name}`", expected, f"{tuple(tensor.shape)}", fix))
        if tensor.dtype != features.dtype:
            got = f"{tensor.dtype}"
            raise TypeError(message(f"`{name}`", f"{features.dtype}", got, "convert one of them with `.to`"))


Gradients = tuple[Tensor | None, ...]
_N_DIFFERENTIABLE = 7
_N_TENSORS = _N_DIFFERENTIABLE + 5


def _groups(wanted: tuple[bool, ...]) -> tuple[bool, bool, bool, bool]:
    """Return whether gradients of features, distances, basis and weights are wanted."""
    return wanted[0], wanted[1], any(wanted[2:4]), any(wanted[4:7])


def _spread(gradients: tuple[Tensor, ...], groups: tuple[bool, ...]) -> Gradients:
    """Replace the empty tensors of gradients that were not wanted by None."""
    features, distance, basis, weights = groups
    kept = (features, distance, basis, basis, weights, weights, weights)
    return tuple(each if keep else None for each, keep in zip(gradients, kept, strict=True))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:_N_TENSORS])
    ctx.numbers = inputs[_N_TENSORS:]


def _backward(ctx: Any, grad: Tensor) -> Gradients:
    groups = _groups(wanted_gradients(ctx))
    found = _gradient_operator(grad, groups)(grad, *ctx.saved_tensors, *groups, *ctx.numbers)
    return *_spread(found, groups), *(None,) * (5 + len(ctx.numbers))


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    del output
    n_tensors = 1 + _N_TENSORS
    ctx.save_for_backward(*inputs[:n_tensors])
    ctx.numbers = inputs[n_tensors + 4 :]


def _double_backward(ctx: Any, *along: Tensor) -> Gradients:
    groups = (True, *_groups(wanted_gradients(ctx)[1:])[1:])
    by_grad, *found = _curvature_operator(ctx.saved_tensors[0])(*along, *ctx.saved_tensors, *groups[1:], *ctx.numbers)
    return by_grad, *_spread(tuple(found), groups), *(None,) * (5 + 4 + len(ctx.numbers))


def _fake_flash(features: Tensor, *rest: Any) -> Tensor:
    del rest
    return torch.empty_like(features, memory_format=torch.contiguous_format)


def _fake_backward(grad: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    tensors, groups = rest[:_N_DIFFERENTIABLE], rest[_N_TENSORS : _N_TENSORS + 4]
    wanted = _spread(tensors, groups)
    return tuple(grad.new_empty(0 if each is None else each.shape) for each in wanted)


def _fake_double_backward(*arguments: Any) -> tuple[Tensor, ...]:
    grad, *tensors = arguments[_N_DIFFERENTIABLE : _N_DIFFERENTIABLE + 1 + _N_TENSORS]
    groups = arguments[_N_DIFFERENTIABLE + 1 + _N_TENSORS :][:3]
    like_grad = torch.empty_like(grad, memory_format=torch.contiguous_format)
    return like_grad, *_fake_backward(grad, *tensors, True, *groups)


_FLASH = Operator("flash_cfconv", _fake_flash, _backward, setup_context=_save, n_differentiable=_N_DIFFERENTIABLE)
_BACKWARD = Operator(
    "flash_cfconv_backward",
    _fake_backward,
    _double_backward,
    setup_context=_save_backward,
    n_differentiable=1 + _N_DIFFERENTIABLE,
)
_DOUBLE_BACKWARD = Operator(
    "flash_cfconv_double_backward",
    _fake_double_backward,
    no_derivative("flash_cfconv"),
    setup_context=save_nothing,
    n_differentiable=2 * _N_DIFFERENTIABLE + 1,
)

_TILED_BACKWARD = differentiable("flash_tiles_backward", flash_tiles.gradient, _double_backward, _save_backward)
_TILED_DOUBLE_BACKWARD = differentiable(
    "flash_tiles_double_backward", flash_tiles.curvature, no_derivative("flash_cfconv"), save_nothing
)


def _gradient_operator(values: Tensor, groups: tuple[bool, ...]) -> Callable[..., Any]:
    """Return the operator of the gradient: the kernels of a GPU have no gradients of weights."""
    return _BACKWARD if values.device.type == "cpu" or not any(groups[2:]) else _TILED_BACKWARD


def _curvature_operator(values: Tensor) -> Callable[..., Any]:
    return _DOUBLE_BACKWARD if values.device.type == "cpu" else _TILED_DOUBLE_BACKWARD
