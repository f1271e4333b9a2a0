r"""Continuous-filter convolution with filters read from a table, and the operators that close it to second order.

A table gives values :math:`v` and slopes :math:`s` of the filter of every channel at knots of the spacing :math:`h`. At
the fraction :math:`u` of interval :math:`i`, with :math:`\Delta = v_{i+1} - v_i`, the filter is the cubic between them,

.. math:: W = v_i + u \bigl(h s_i + u \bigl((3 \Delta - 2 h s_i - h s_{i+1})
          + u (h s_i + h s_{i+1} - 2 \Delta)\bigr)\bigr) = \sum_k c_k(v, s)\, u^k

Each unordered pair (t, s) sends both ways:

.. math:: a_t = \sum_s x_s W_{ts}, \qquad a_s = \sum_t x_t W_{ts}

With a gradient :math:`g` of the result and :math:`p = g_t x_s + g_s x_t`, the first derivatives are

.. math:: \bar x = \mathrm{conv}(g; W), \qquad \bar u = \langle p, W' \rangle, \qquad \bar c_k = \sum p\, u^k

and :math:`\bar v, \bar s` follow from :math:`\bar c`, of which they are linear functions. With cotangents
:math:`\dot x, \dot u, \dot v, \dot s` of these, :math:`\dot W = W' \dot u + W_{\dot v, \dot s}` and
:math:`q = g_t \dot x_s + g_s \dot x_t`, the second ones are

.. math:: \bar g = \mathrm{conv}(\dot x; W) + \mathrm{conv}(x; \dot W), \qquad \bar x = \mathrm{conv}(g; \dot W)

.. math:: \bar u = \langle q, W' \rangle + \langle p, W'' \dot u + W_{\dot v, \dot s}' \rangle, \qquad
          \bar c_k = \sum q\, u^k + p\, \dot u\, k u^{k-1}

Nothing of the size pairs x channels is stored: all is computed again. Training on forces needs no third derivative;
asking for one raises an error.

============================  =============================================
symbol                        variable
============================  =============================================
:math:`x`, :math:`g`          `features`, `grad`
:math:`u`, :math:`h`          `SortedPairs.fraction`, `SortedPairs.spacing`
:math:`v`, :math:`s`          `values`, `slopes`
============================  =============================================

Source of the cubic: de Boor, A Practical Guide to Splines, doi:10.1007/978-1-4612-6333-3, chapter IV.
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
        index: [4, n_pairs], int32, receiver, sender, interval and place in the list of edges; CUDA kernels read more
            rows.
        groups: [2, n_atoms + 2], int32, for the kernels: atoms and pairs that may be worked on together.
        n_intervals: intervals of the table.
        spacing: width of an interval, nm.
    """

    fraction: Tensor
    index: Tensor
    groups: Tensor
    n_intervals: int
    spacing: float

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
    kernel = _sort_by_atom if distance.is_cuda else _SORT
    sort = kernel if use_kernels(backend) else _sort
    index, groups = sort(distance.detach(), edges.receiver, edges.sender, edges.n_atoms, n_intervals, cutoff)
    fraction = distance.index_select(0, index[3]) * (n_intervals / cutoff) - index[2]
    return SortedPairs(fraction, index, groups, n_intervals, cutoff / n_intervals)


def spline_conv(
    features: Tensor, values: Tensor, slopes: Tensor, *, pairs: SortedPairs, backend: str = "kernel"
) -> Tensor:
    """Sum the features of both atoms of each pair, times the filter of its distance.

    Args:
        features: [n_atoms, n_channels].
        values: [n_knots, n_channels], filters at equally spaced distances from zero to the cutoff.
        slopes: [n_knots, n_channels], their derivatives, nm^-1.
        pairs: pairs of the batch, sorted for this table.
        backend: "kernel" or "reference".

    Returns:
        [n_atoms, n_channels], deterministic, differentiable twice in features, table and distances.

    Raises:
        ValueError: the shapes do not match.
        TypeError: the dtypes do not match.
        NotImplementedError: a third derivative is asked for.

    Example:
        >>> import torch
        >>> from flashmd.ops import Edges, sort_pairs, spline_conv
        >>> edges = Edges.from_pairs(torch.tensor([0]), torch.tensor([1]), 2)
        >>> pairs = sort_pairs(torch.tensor([0.5]), edges, n_intervals=1, cutoff=1.0, backend="reference")
        >>> features, values, slopes = torch.tensor([[3.0], [5.0]]), torch.tensor([[2.0], [4.0]]), torch.zeros(2, 1)
        >>> spline_conv(features, values, slopes, pairs=pairs, backend="reference").tolist()
        [[15.0], [9.0]]
    """
    if features.dim() != 2 or features.shape[0] != pairs.n_atoms:
        fix = "pass one row for each atom"
        raise ValueError(message("`features`", f"shape ({pairs.n_atoms}, n_channels)", f"{tuple(features.shape)}", fix))
    shape = (pairs.n_intervals + 1, features.shape[1])
    for name, tensor in (("values", values), ("slopes", slopes)):
        if tuple(tensor.shape) != shape:
            fix = "sort the pairs for this table"
            raise ValueError(message(f"`{name}`", f"shape {shape}", f"{tuple(tensor.shape)}", fix))
    for name, tensor in (("values", values), ("slopes", slopes), ("distance", pairs.fraction)):
        if tensor.dtype != features.dtype:
            fix = f"convert it with `.to({features.dtype})`"
            raise TypeError(message(f"`{name}`", f"{features.dtype}", f"{tensor.dtype}", fix))
    if use_kernels(backend):
        result: Tensor = _CONV(features, pairs.fraction, values, slopes, pairs.index, pairs.groups, pairs.spacing)
        return result
    return _reference(features, values, slopes, pairs)


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


def _sort_by_atom(
    distance: Tensor, receiver: Tensor, sender: Tensor, n_atoms: int, n_intervals: int, cutoff: float
) -> tuple[Tensor, Tensor]:
    """Sort for the CUDA kernels: index has two more rows, places of pairs atom after atom, bounded by groups[0]."""
    index, groups = _sort(distance, receiver, sender, n_atoms, n_intervals, cutoff)
    ends, order = index[:2].flatten().sort(stable=True)
    places = (order % max(receiver.shape[0], 1)).view(2, -1).to(torch.int32)
    atoms = torch.arange(n_atoms + 1, dtype=torch.int32, device=ends.device)
    groups[0, : n_atoms + 1] = torch.searchsorted(ends, atoms)
    return torch.cat([index, places]), groups


def _reference(features: Tensor, values: Tensor, slopes: Tensor, pairs: SortedPairs) -> Tensor:
    """Convolve in plain PyTorch: the truth the kernels are measured against."""
    inside = torch.nonzero(pairs.index[2] < pairs.n_intervals)[:, 0]
    receiver, sender, left = pairs.index[:3].to(torch.int64)[:, inside]
    u = pairs.fraction[inside][:, None]
    slope, next_slope = slopes[left] * pairs.spacing, slopes[left + 1] * pairs.spacing
    rise = values[left + 1] - values[left]
    bend = slope + next_slope - 2.0 * rise
    filters = ((bend * u + (rise - slope - bend)) * u + slope) * u + values[left]
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
    spacing = ctx.others[0]
    wanted = wanted_gradients(ctx)[:4]
    found = _BACKWARD(grad, *ctx.saved_tensors, spacing, wanted[0], wanted[1], wanted[2] or wanted[3])
    return *(each if want else None for each, want in zip(found, wanted, strict=True)), *nothing[4:]


def _backward_backward(ctx: Any, *dots: Tensor | None) -> Gradients:
    nothing: Gradients = (None,) * ctx.n_inputs
    spacing, want_features, want_fraction, want_table, *_ = ctx.others
    # Results that were not wanted are empty, and so are their cotangents where autograd makes all of them.
    made = (want_features, want_fraction, want_table, want_table)
    dots = tuple(dot if each else None for dot, each in zip(dots, made, strict=True))
    if all(dot is None for dot in dots):
        return nothing
    *values, index, groups = ctx.saved_tensors
    if (dots[2] is None) != (dots[3] is None):
        dots = *dots[:2], *(torch.zeros_like(values[3]) if dot is None else dot for dot in dots[2:])
    wanted = wanted_gradients(ctx)[:5]
    found = _DOUBLE_BACKWARD(*values, *dots, index, groups, spacing, wanted[2])
    return *(each if want else None for each, want in zip(found, wanted, strict=True)), *nothing[5:]


def _fake_sort(
    distance: Tensor, receiver: Tensor, sender: Tensor, n_atoms: int, n_intervals: int, cutoff: float
) -> tuple[Tensor, Tensor]:
    del sender, n_intervals, cutoff
    index = distance.new_empty((4, receiver.shape[0]), dtype=torch.int32)
    return index, index.new_empty((2, n_atoms + 2))


def _fake_conv(features: Tensor, *others: Any) -> Tensor:
    del others
    return torch.empty_like(features, memory_format=torch.contiguous_format)


def _fake_backward(grad: Tensor, features: Tensor, fraction: Tensor, *others: Any) -> tuple[Tensor, ...]:
    del grad
    values, slopes, _, _, _, want_features, want_fraction, want_table = others[:8]
    wanted = (want_features, want_fraction, want_table, want_table)
    likes = (features, fraction, values, slopes)
    return tuple(each.new_empty(each.shape if want else (0,)) for each, want in zip(likes, wanted, strict=True))


def _fake_double_backward(grad: Tensor, features: Tensor, fraction: Tensor, *others: Any) -> tuple[Tensor, ...]:
    values, slopes, *_ = others
    want_fraction = others[9]
    likes = (grad, features, fraction, values, slopes)
    return tuple(each.new_empty((0,) if each is fraction and not want_fraction else each.shape) for each in likes)


_SORT = Operator("spline_sort", _fake_sort)
_CONV = Operator("spline_conv", _fake_conv, _conv_backward, setup_context=_save_inputs, n_differentiable=4)
_BACKWARD = Operator(
    "spline_conv_backward", _fake_backward, _backward_backward, setup_context=_save_inputs, n_differentiable=5
)
_DOUBLE_BACKWARD = Operator(
    "spline_conv_double_backward",
    _fake_double_backward,
    no_derivative("spline_conv"),
    setup_context=save_nothing,
    n_differentiable=9,
)
