"""The CUDA kernels of the radial basis, run by the host, beside the CPU kernels."""

from __future__ import annotations

import pytest
import torch

from flashmd.ops import BasisForm

ORDER_OF_SUMS = 1e-12


@pytest.mark.parametrize("n_rows", [1, 150])
@pytest.mark.parametrize("kind", ["gaussian", "expnormal"])
@pytest.mark.parametrize("parameters", [False, True])
def test_value_and_derivatives(kind, n_rows, parameters, emulated, in_both_orders):
    generator = torch.Generator().manual_seed(32)
    n_basis, form = 33, BasisForm(kind, 0.2, 1.5, "cosine", alpha=3.0)
    d, m, b, v = (torch.rand(n, generator=generator).double() for n in (n_rows, n_basis, n_basis, n_rows))
    g = torch.rand(n_rows, n_basis, generator=generator).double()
    ways = (m + 1, b + 2) if parameters else (m[:0], m[:0])

    def run(operators):
        value = operators.radial_basis(d, m, b, *form.numbers)
        first = operators.radial_basis_backward(g, d, m, b, parameters, *form.numbers)
        second = operators.radial_basis_double_backward(v, *ways, g, d, m, b, parameters, *form.numbers)
        return [value, *first, *second]

    for found, expected in zip(in_both_orders(lambda: run(emulated)), run(torch.ops.flashmd), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=ORDER_OF_SUMS * (1 + n_rows))
