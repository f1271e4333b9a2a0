"""The battery must fail for the mistakes it is there to find."""

from __future__ import annotations

import pytest
import torch

from flashmd.ops.testing import check_determinism, check_layout, check_op, check_values


class ForgetsSecondOrder(torch.autograd.Function):
    """The usual recipe: a right first derivative whose own derivative is silently zero."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values**3

    @staticmethod
    def backward(ctx, grad):
        (values,) = ctx.saved_tensors
        return grad * 3 * values.detach() ** 2


def product(a, b):
    return a * b


def test_right_operator_passes(numbers):
    check_op(product, lambda a, b: b * a, [numbers(3, 2), numbers(3, 2)])


def test_wrong_value_fails(numbers):
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        check_values(lambda a: a * (1 + 1e-9), lambda a: a * 1.0, [numbers(4, 2)])


def test_lost_precision_of_float32_fails(numbers):
    def careless(a):
        return a.half().to(a.dtype) if a.dtype == torch.float32 else a * 1.0

    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        check_values(careless, lambda a: a * 1.0, [numbers(4, 2)])


def test_wrong_dtype_fails(numbers):
    with pytest.raises(AssertionError, match="float32 inputs give torch.float64"):
        check_values(lambda a: a.double(), lambda a: a.double(), [numbers(4, 2)])


def test_reading_past_strides_fails(numbers):
    with pytest.raises(AssertionError, match="strided inputs change the result"):
        check_layout(lambda a: a.as_strided(a.shape, (2, 1)) * 1.0, [numbers(4, 2)])


def test_randomness_fails(numbers):
    with pytest.raises(AssertionError, match="results depend on the run or on the number of threads"):
        check_determinism(lambda a: a * torch.rand(()), [numbers(4, 2)])


def test_thread_dependence_fails(numbers):
    with pytest.raises(AssertionError, match="results depend on the run or on the number of threads"):
        check_determinism(lambda a: a * torch.get_num_threads(), [numbers(4, 2)])


def test_missing_second_derivative_fails(numbers):
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        check_op(ForgetsSecondOrder.apply, lambda a: a**3, [numbers(4, 2)])
