r"""Radial basis functions of distances in one pass, with derivatives of first and second order.

.. math:: R_k(d) = C(d)\, e^{-b_k (t(d) - m_k)^2}, \qquad t(d) = d \quad\text{or}\quad t(d) = e^{-\alpha (d - l)}

===============  ==========================================
symbol           variable
===============  ==========================================
:math:`d`        `distance`
:math:`m_k`      `centres`
:math:`b_k`      `widths`
:math:`\alpha`   `BasisForm.alpha`
:math:`l`        `BasisForm.lower`
:math:`C`        `BasisForm.envelope`
===============  ==========================================

The family is closed at second order: the gradient of :math:`\sum g R` and the gradient of the derivative of that along
a direction are operators of their own, which recompute the functions instead of storing anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.ops import reference
from flashmd.ops._extension import Operator, no_derivative, save_nothing, use_kernels

KINDS = {"gaussian": 0, "expnormal": 1}
ENVELOPES = {"identity": 0, "cosine": 1}


@dataclass(frozen=True)
class BasisForm:
    """Choices of a radial basis.

    Attributes:
        kind: "gaussian" for functions of the distance, "expnormal" for functions of ``exp(-alpha (d - lower))``.
        lower: start of the interaction, nm; a cosine envelope is a bump where it is positive.
        upper: cutoff, nm.
        envelope: "cosine" or "identity", see :mod:`flashmd.nn.cutoff`.
        alpha: decay of the exponential, nm^-1.
    """

    kind: str
    lower: float
    upper: float
    envelope: str
    alpha: float = 0.0

    def __post_init__(self) -> None:
        for name, value, known in (("kind", self.kind, KINDS), ("envelope", self.envelope, ENVELOPES)):
            if value not in known:
                choices = ", ".join(repr(each) for each in known)
                raise ValueError(message(f"`{name}`", f"one of {choices}", repr(value), "choose one of these"))

    @property
    def numbers(self) -> tuple[int, float, int, float, float]:
        """The arguments of the compiled operators."""
        return KINDS[self.kind], self.alpha, ENVELOPES[self.envelope], self.lower, self.upper


def radial_basis(
    distance: Tensor, centres: Tensor, widths: Tensor, form: BasisForm, *, backend: str = "kernel"
) -> Tensor:
    """Expand distances in radial basis functions.

    Args:
        distance: [n], nm.
        centres: [n_basis], in the unit of the coordinate: nm for "gaussian", none for "expnormal".
        widths: [n_basis], one over that unit squared.
        form: coordinate and envelope.
        backend: "kernel" or "reference".

    Returns:
        [n, n_basis], deterministic. The kernel can be differentiated twice with respect to all three tensors; a third
        derivative raises.

    Example:
        >>> import torch
        >>> from flashmd.ops import BasisForm, radial_basis
        >>> form = BasisForm("gaussian", 0.0, 1.0, "identity")
        >>> centres, widths = torch.tensor([0.0, 0.5]), torch.tensor([1.0, 1.0])
        >>> radial_basis(torch.tensor([0.5]), centres, widths, form, backend="reference")[0, 1].item()
        1.0
    """
    _check(distance, centres, widths)
    if use_kernels(backend):
        result: Tensor = _BASIS(distance, centres, widths, *form.numbers)
        return result
    return reference.radial_basis(distance, centres, widths, form)


def _check(distance: Tensor, centres: Tensor, widths: Tensor) -> None:
    if distance.dim() != 1:
        raise ValueError(message("`distance`", "shape (n,)", f"{tuple(distance.shape)}", "flatten it"))
    shape = (centres.shape[0] if centres.dim() == 1 else "n_basis",)
    for name, tensor in (("centres", centres), ("widths", widths)):
        if tensor.dim() != 1 or tuple(tensor.shape) != shape:
            got, fix = f"{tuple(tensor.shape)}", "pass one number for each function"
            raise ValueError(message(f"`{name}`", f"shape ({shape[0]},)", got, fix))
        if tensor.dtype != distance.dtype:
            got = f"{tensor.dtype}"
            raise TypeError(message(f"`{name}`", f"{distance.dtype}", got, "convert one of them with `.to`"))


Gradients = tuple[Tensor | None, ...]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:3])
    ctx.settings = inputs[3:]


def _backward(ctx: Any, grad: Tensor) -> Gradients:
    parameters = any(ctx.needs_input_grad[1:3])
    by_distance, *others = _BACKWARD(grad, *ctx.saved_tensors, parameters, *ctx.settings)
    return by_distance, *(others if parameters else (None, None)), *(None,) * len(ctx.settings)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    del output
    ctx.save_for_backward(*inputs[:4])
    ctx.settings = inputs[4:]


def _double_backward(ctx: Any, *along: Tensor) -> Gradients:
    parameters = ctx.settings[0]
    by_grad, by_distance, *others = _DOUBLE_BACKWARD(*along, *ctx.saved_tensors, *ctx.settings)
    return by_grad, by_distance, *(others if parameters else (None, None)), *(None,) * len(ctx.settings)


def _fake_basis(distance: Tensor, centres: Tensor, widths: Tensor, *settings: Any) -> Tensor:
    del widths, settings
    return distance.new_empty(distance.shape[0], centres.shape[0])


def _fake_backward(
    grad: Tensor, distance: Tensor, centres: Tensor, widths: Tensor, parameters: bool, *settings: Any
) -> tuple[Tensor, ...]:
    del grad, widths, settings
    sums = (centres.new_empty(centres.shape[0] if parameters else 0) for _ in range(2))
    return distance.new_empty(distance.shape[0]), *sums


def _fake_double_backward(
    along_distance: Tensor, along_centres: Tensor, along_widths: Tensor, grad: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    del along_distance, along_centres, along_widths
    return torch.empty_like(grad, memory_format=torch.contiguous_format), *_fake_backward(grad, *rest)


_BASIS = Operator("radial_basis", _fake_basis, _backward, setup_context=_save, n_differentiable=3)
_BACKWARD = Operator(
    "radial_basis_backward", _fake_backward, _double_backward, setup_context=_save_backward, n_differentiable=4
)
_DOUBLE_BACKWARD = Operator(
    "radial_basis_double_backward",
    _fake_double_backward,
    no_derivative("radial_basis"),
    setup_context=save_nothing,
    n_differentiable=7,
)
