r"""Continuous-filter convolution with filters read from a table, and the operators that close it to second order.

A table gives in interval :math:`i` of the distance, at the fraction :math:`u` of it, the filter
:math:`W = \sum_k c_{ik} u^k` of every channel. Each unordered pair (t, s) sends both ways:

.. math:: a_t = \sum_s x_s W_{ts}, \qquad a_s = \sum_t x_t W_{ts}

With a gradient :math:`g` of the result and :math:`p = g_t x_s + g_s x_t`, the first derivatives are

.. math:: \bar x = \mathrm{conv}(g; W), \qquad \bar u = \langle p, W' \rangle, \qquad \bar c_{ik} = \sum p\, u^k

and with cotangents :math:`\dot x, \dot u, \dot c` of these, :math:`\dot W = W' \dot u + \sum_k \dot c_{ik} u^k` and
:math:`q = g_t \dot x_s + g_s \dot x_t`, the second ones are

.. math:: \bar g = \mathrm{conv}(\dot x; W) + \mathrm{conv}(x; \dot W), \qquad \bar x = \mathrm{conv}(g; \dot W)

.. math:: \bar u = \langle q, W' \rangle + \langle p, W'' \dot u + \dot W_c' \rangle, \qquad
          \bar c_{ik} = \sum q\, u^k + p\, \dot u\, k u^{k-1}

where :math:`\dot W_c` is the part of :math:`\dot c`. Nothing of the size pairs x channels is stored: all is computed
again. Forces of a trained potential need no third derivative; asking for one raises an error.

============================  =======================================
symbol                        variable
============================  =======================================
:math:`x`, :math:`g`          `features`, `grad`
:math:`u`, :math:`i`          `SortedPairs.fraction`, `.interval`
:math:`c`                     `coefficients`
============================  =======================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.ops._extension import Operator, no_derivative, save_nothing, use_kernels, wanted_gradients
from flashmd.ops.edges import Edges


@dataclass(frozen=True)
class SortedPairs:
    """Pairs sorted by the interval of a table that their distance lies in; made by `sort_pairs`.

    Pairs beyond the cutoff have the interval `n_intervals`. They stay in the list and contribute nothing.

    Attributes:
        fraction: [n_pairs], place within the interval, 0 to 1, differentiable in the distance.
        index: [4, n_pairs], int32, receiver, sender, interval and place in the list of edges.
        groups: [2, n_atoms + 2], int32, for the kernels: atoms and pairs that may be worked on together.
        n_intervals: intervals of the table.
    """

    fraction: Tensor
    index: Tensor
    groups: Tensor
    n_intervals: int

    @property
    def n_atoms(self) -> int:
        """Number of atoms of the batch."""
        return self.groups.shape[1] - 2


def sort_pairs(
    distance: Tensor, edges: Edges, *, n_intervals: int, cutoff: float, backend: str = "kernel"
) -> SortedPairs:
    """Sort the pairs of a list by the interval of their distance.

    Args:
        distance: [n_pairs], nm.
        edges: one edge of each pair, see :func:`flashmd.nn.half_edges`.
        n_intervals: equal intervals between zero and the cutoff.
        cutoff: pairs at this distance or beyond contribute nothing, nm.
        backend: "kernel" or "reference".

    Returns:
        What `spline_conv` needs, for any number of tables of this spacing.

    Example:
        >>> import torch
        >>> from flashmd.ops import Edges, sort_pairs
        >>> edges = Edges.from_pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), 3)
        >>> pairs = sort_pairs(torch.tensor([0.9, 0.3, 1.2]), edges, n_intervals=2, cutoff=1.0, backend="reference")
        >>> pairs.index[2].tolist(), pairs.index[3].tolist()
        ([0, 1, 2], [1, 0, 2])
    """
    if n_intervals < 1 or not cutoff > 0.0:
        got = f"n_intervals = {n_intervals}, cutoff = {cutoff}"
        raise ValueError(message("table", "at least one interval and a positive cutoff", got, "use `tabulate`"))
    if tuple(distance.shape) != (edges.n_edges,):
        fix = "pass the lengths of these edges"
        raise ValueError(message("`distance`", f"shape {(edges.n_edges,)}", f"{tuple(distance.shape)}", fix))
    sort = _SORT if use_kernels(backend) else _sort
    index, groups = sort(distance.detach(), edges.receiver, edges.sender, edges.n_atoms, n_intervals, cutoff)
    fraction = distance.index_select(0, index[3]) * (n_intervals / cutoff) - index[2]
    return SortedPairs(fraction, index, groups, n_intervals)


def spline_conv(features: Tensor, coefficients: Tensor, pairs: SortedPairs, *, backend: str = "kernel") -> Tensor:
    """Sum the features of both atoms of each pair, times the filter of its distance.

    Args:
        features: [n_atoms, n_channels].
        coefficients: [n_intervals, 4, n_channels], powers of the fraction of an interval, see
            :func:`flashmd.nn.hermite_coefficients`.
        pairs: pairs of the batch.
        backend: "kernel" or "reference".

    Returns:
        [n_atoms, n_channels], deterministic, differentiable twice in features, coefficients and distances.

    Raises:
        ValueError: the shapes do not match.
        TypeError: the dtypes do not match.
        NotImplementedError: a third derivative is asked for.

    Example:
        >>> import torch
        >>> from flashmd.ops import Edges, sort_pairs, spline_conv
        >>> edges = Edges.from_pairs(torch.tensor([0]), torch.tensor([1]), 2)
        >>> pairs = sort_pairs(torch.tensor([0.5]), edges, n_intervals=1, cutoff=1.0, backend="reference")
        >>> table = torch.tensor([[[1.0], [0.0], [4.0], [0.0]]])  # W = 1 + 4 u^2
        >>> spline_conv(torch.tensor([[3.0], [5.0]]), table, pairs, backend="reference").tolist()
        [[10.0], [6.0]]
    """
    shape = (pairs.n_intervals, 4, features.shape[-1])
    if features.dim() != 2 or features.shape[0] != pairs.n_atoms:
        fix = "pass one row for each atom"
        raise ValueError(message("`features`", f"shape ({pairs.n_atoms}, n_channels)", f"{tuple(features.shape)}", fix))
    if tuple(coefficients.shape) != shape:
        fix = "sort the pairs for this table"
        raise ValueError(message("`coefficients`", f"shape {shape}", f"{tuple(coefficients.shape)}", fix))
    for name, tensor in (("coefficients", coefficients), ("distance", pairs.fraction)):
        if tensor.dtype != features.dtype:
            fix = f"convert it with `.to({features.dtype})`"
            raise TypeError(message(f"`{name}`", f"{features.dtype}", f"{tensor.dtype}", fix))
    if use_kernels(backend):
        result: Tensor = _CONV(features, pairs.fraction, coefficients, pairs.index, pairs.groups)
        return result
    return _reference(features, pairs.fraction, coefficients, pairs.index)


def _sort(
    distance: Tensor, receiver: Tensor, sender: Tensor, n_atoms: int, n_intervals: int, cutoff: float
) -> tuple[Tensor, Tensor]:
    """Sort in plain PyTorch, all atoms in one group; see `sort_pairs`."""
    scaled = torch.where(distance < cutoff, distance, 0.0) * (n_intervals / cutoff)
    interval = scaled.floor().to(torch.int64).clamp(max=n_intervals - 1)
    interval = torch.where(distance < cutoff, interval, n_intervals)
    order = torch.argsort(interval, stable=True)
    index = torch.stack([receiver[order], sender[order], interval[order], order]).to(torch.int32)
    groups = index.new_empty(2, n_atoms + 2)
    groups[:, 0], groups[0, 1:], groups[1, 1:] = 0, n_atoms, distance.shape[0]
    return index, groups


def _reference(features: Tensor, fraction: Tensor, coefficients: Tensor, index: Tensor) -> Tensor:
    """Convolve in plain PyTorch: the truth the kernels are measured against."""
    inside = torch.nonzero(index[2] < coefficients.shape[0])[:, 0]
    receiver, sender, interval = index[:3].to(torch.int64)[:, inside]
    c0, c1, c2, c3 = coefficients[interval].unbind(1)
    u = fraction[inside][:, None]
    filters = ((c3 * u + c2) * u + c1) * u + c0
    out = torch.zeros_like(features).index_add(0, receiver, features[sender] * filters)
    return out.index_add(0, sender, features[receiver] * filters)


Gradients = tuple[Tensor | None, ...]


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    del output
    ctx.set_materialize_grads(False)
    ctx.others = [each for each in inputs if not isinstance(each, Tensor)]
    ctx.n_inputs = len(inputs)
    ctx.save_for_backward(*(each for each in inputs if isinstance(each, Tensor)))


def _conv_backward(ctx: Any, grad: Tensor | None) -> Gradients:
    nothing: Gradients = (None,) * ctx.n_inputs
    if grad is None:
        return nothing
    wanted = wanted_gradients(ctx)[:3]
    found = _BACKWARD(grad, *ctx.saved_tensors, *wanted)
    return *(each if want else None for each, want in zip(found, wanted, strict=True)), *nothing[3:]


def _backward_backward(ctx: Any, *dots: Tensor | None) -> Gradients:
    nothing: Gradients = (None,) * ctx.n_inputs
    # Results that were not wanted are empty, and so are their cotangents where autograd makes all of them.
    dots = tuple(dot if made else None for dot, made in zip(dots, ctx.others, strict=False))
    if all(dot is None for dot in dots):
        return nothing
    *values, index, groups = ctx.saved_tensors
    wanted = wanted_gradients(ctx)[:4]
    found = _DOUBLE_BACKWARD(*values, *dots, index, groups, wanted[2])
    return *(each if want else None for each, want in zip(found, wanted, strict=True)), *nothing[4:]


def _fake_sort(
    distance: Tensor, receiver: Tensor, sender: Tensor, n_atoms: int, n_intervals: int, cutoff: float
) -> tuple[Tensor, Tensor]:
    del sender, n_intervals, cutoff
    index = distance.new_empty((4, receiver.shape[0]), dtype=torch.int32)
    return index, index.new_empty((2, n_atoms + 2))


def _fake_conv(features: Tensor, *others: Any) -> Tensor:
    del others
    return torch.empty_like(features, memory_format=torch.contiguous_format)


def _fake_backward(
    grad: Tensor,
    features: Tensor,
    fraction: Tensor,
    coefficients: Tensor,
    index: Tensor,
    groups: Tensor,
    want_features: bool,
    want_fraction: bool,
    want_coefficients: bool,
    instruction_set: int = -1,
) -> tuple[Tensor, ...]:
    del grad, index, groups, instruction_set
    wanted = (want_features, want_fraction, want_coefficients)
    values = (features, fraction, coefficients)
    return tuple(each.new_empty(each.shape if want else (0,)) for each, want in zip(values, wanted, strict=True))


def _fake_double_backward(
    grad: Tensor,
    features: Tensor,
    fraction: Tensor,
    coefficients: Tensor,
    dot_features: Tensor | None,
    dot_fraction: Tensor | None,
    dot_coefficients: Tensor | None,
    index: Tensor,
    groups: Tensor,
    want_fraction: bool,
    instruction_set: int = -1,
) -> tuple[Tensor, ...]:
    del dot_features, dot_fraction, dot_coefficients, index, groups, instruction_set
    to_fraction = fraction.new_empty(fraction.shape if want_fraction else (0,))
    values = (each.new_empty(each.shape) for each in (grad, features, coefficients))
    to_grad, to_features, to_coefficients = values
    return to_grad, to_features, to_fraction, to_coefficients


_SORT = Operator("spline_sort", _fake_sort)
_CONV = Operator("spline_conv", _fake_conv, _conv_backward, setup_context=_save_inputs, n_differentiable=3)
_BACKWARD = Operator(
    "spline_conv_backward", _fake_backward, _backward_backward, setup_context=_save_inputs, n_differentiable=4
)
_DOUBLE_BACKWARD = Operator(
    "spline_conv_double_backward",
    _fake_double_backward,
    no_derivative("spline_conv"),
    setup_context=save_nothing,
    n_differentiable=7,
)
