"""One battery of tests for every operator of the package, usable for operators of other packages too.

`check_op` compares a kernel with its reference in both precisions, checks first and second derivatives against finite
differences and mixed second derivatives against the reference, layout, determinism and independence of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

FLOAT64_TOLERANCE = 1e-12
"""Kernel against reference in float64: both round each operation alike, so only the order of sums differs."""
FLOAT32_TOLERANCE = 2e-6
"""Kernel in float32 against the float64 reference, relative to the largest number: some tens of roundings of 6e-8."""

Function = Callable[..., Tensor]


def check_op(
    kernel: Function,
    reference: Function,
    inputs: Sequence[Tensor],
    *,
    opcheck: Sequence[Any] = (),
    highest_order: int = 3,
) -> None:
    """Run the whole battery on one set of inputs.

    Args:
        kernel: function of `inputs` that calls the compiled operator.
        reference: the same function in plain PyTorch.
        inputs: float64 tensors, the differentiable arguments.
        opcheck: the ``torch.ops`` overload and its arguments after `inputs`, for `torch.library.opcheck`.
        highest_order: derivatives that the operator has; 2 for one whose third derivatives must raise.

    Raises:
        AssertionError: some check fails.

    Example:
        >>> import torch
        >>> from flashmd.ops.testing import check_op
        >>> check_op(torch.mul, lambda a, b: a * b, [torch.rand(3, 2).double(), torch.rand(3, 2).double()])
    """
    inputs = [each.detach().clone() for each in inputs]
    check_values(kernel, reference, inputs)
    check_layout(kernel, inputs)
    check_determinism(kernel, inputs)
    check_derivatives(kernel, reference, inputs, highest_order=highest_order)
    if opcheck:
        overload, *rest = opcheck
        torch.library.opcheck(overload, (*(each.clone().requires_grad_() for each in inputs), *rest))


def check_values(kernel: Function, reference: Function, inputs: Sequence[Tensor]) -> None:
    """Compare with the reference in float64 and float32."""
    expected = reference(*inputs)
    scale = float(expected.abs().max()) if expected.numel() else 1.0
    torch.testing.assert_close(kernel(*inputs), expected, rtol=0.0, atol=FLOAT64_TOLERANCE * max(scale, 1.0))
    single = kernel(*(each.float() for each in inputs))
    require(single.dtype == torch.float32, f"float32 inputs give {single.dtype}")
    torch.testing.assert_close(single.double(), expected, rtol=0.0, atol=FLOAT32_TOLERANCE * max(scale, 1.0))


def check_layout(kernel: Function, inputs: Sequence[Tensor]) -> None:
    """Require the same bits from strided inputs as from contiguous ones."""
    strided = [torch.stack([each, torch.full_like(each, torch.nan)], -1)[..., 0] for each in inputs]
    require(torch.equal(kernel(*strided), kernel(*inputs)), "strided inputs change the result")


def check_determinism(kernel: Function, inputs: Sequence[Tensor]) -> None:
    """Require the same bits from two runs and from one or several threads, in results and gradients."""
    n_threads = torch.get_num_threads()
    runs = []
    try:
        for count in (1, 1, 2, 3):
            torch.set_num_threads(count)
            leaves = [each.clone().requires_grad_() for each in inputs]
            output = kernel(*leaves)
            runs.append((output.detach(), *torch.autograd.grad(output, leaves, torch.ones_like(output))))
    finally:
        torch.set_num_threads(n_threads)
    for run in runs[1:]:
        same = all(torch.equal(first, other) for first, other in zip(runs[0], run, strict=True))
        require(same, "results depend on the run or on the number of threads")


def check_derivatives(
    kernel: Function, reference: Function, inputs: Sequence[Tensor], *, highest_order: int = 3
) -> None:
    """Check first and second derivatives by finite differences, and mixed ones of all orders by the reference.

    Derivatives of a higher order than `highest_order` must raise.
    """
    leaves = [each.clone().requires_grad_() for each in inputs]
    if kernel(*leaves).numel() and all(each.numel() for each in inputs):
        torch.autograd.gradcheck(kernel, leaves)
        torch.autograd.gradgradcheck(kernel, leaves)
    found, expected = (_derivatives(each, inputs, highest_order) for each in (kernel, reference))
    for first, second in zip(found, expected, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)
    if highest_order < 3:
        _check_refusal(kernel, inputs, highest_order)


def _derivatives(function: Function, inputs: Sequence[Tensor], orders: int) -> list[Tensor]:
    """Differentiate smooth nonlinear functions of the output several times in a row."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    value = torch.sin(function(*leaves)).sum()
    found: list[Tensor] = []
    for order in range(orders):
        gradients = torch.autograd.grad(value, leaves, create_graph=order + 1 < orders)
        found += [each.detach() for each in gradients]
        value = sum((torch.cos((order + 1) * each).sum() for each in gradients), start=value.new_zeros(()))
    return found


def _check_refusal(kernel: Function, inputs: Sequence[Tensor], highest_order: int) -> None:
    """Require that one derivative more raises instead of giving numbers that lack a part."""
    try:
        _derivatives(kernel, inputs, highest_order + 1)
    except NotImplementedError:
        return
    require(False, f"derivatives of order {highest_order + 1} should raise")


def require(condition: bool, text: str) -> None:
    """Raise AssertionError with `text` unless the condition holds."""
    if not condition:
        raise AssertionError(text)
