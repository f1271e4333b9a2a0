"""The CUDA kernels of the convolution with recomputed filters, run by the host, beside the CPU kernels."""

from __future__ import annotations

import pytest
import torch

from flashmd.ops import BasisForm, Edges, FilterForm

ORDER_OF_SUMS = 1e-12
FORMS = [
    FilterForm(BasisForm("expnormal", 0.0, 1.5, "cosine", alpha=3.3), "cosine", "tanh"),
    FilterForm(BasisForm("gaussian", 0.2, 1.5, "cosine"), "identity", "ssp"),
]


def make_arguments(n_pairs, n_filters, n_basis):
    generator = torch.Generator().manual_seed(33)
    shapes = ((11, n_filters), (n_pairs,), (n_basis,), (n_basis,), (n_filters, n_basis), (n_filters,), (n_filters,) * 2)
    tensors = [torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    tensors[1] = 0.2 + 1.4 * tensors[1]
    tensors[4] -= 0.5
    tensors[6] -= 0.5
    ends = torch.randint(0, 11, (2, n_pairs), generator=generator).sort(0).values
    return *tensors, *Edges.from_pairs(ends[0], ends[1], 11).index


@pytest.mark.parametrize("form", FORMS, ids=["expnormal", "gaussian"])
@pytest.mark.parametrize(("n_pairs", "n_filters", "n_basis"), [(0, 5, 3), (45, 20, 9), (70, 160, 33)])
def test_value_and_gradients(form, n_pairs, n_filters, n_basis, emulated, in_both_orders):
    arguments = make_arguments(n_pairs, n_filters, n_basis)
    grad = arguments[0].sin()

    def run(operators):
        value = operators.flash_cfconv(*arguments, *form.numbers)
        both = operators.flash_cfconv_backward(grad, *arguments, True, True, False, False, *form.numbers)
        one = operators.flash_cfconv_backward(grad, *arguments, False, True, False, False, *form.numbers)
        return [value, *both, *one]

    for found, expected in zip(in_both_orders(lambda: run(emulated)), run(torch.ops.flashmd), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=ORDER_OF_SUMS * n_filters * n_pairs)


def test_gradients_of_weights_are_refused(emulated):
    arguments = make_arguments(5, 4, 3)
    with pytest.raises(RuntimeError, match="expected to be asked for features and distances on a GPU, got weights"):
        emulated.flash_cfconv_backward(arguments[0], *arguments, True, True, False, True, *FORMS[0].numbers)
