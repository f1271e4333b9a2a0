from __future__ import annotations

import pytest
import torch

from flashmd.nn import ExpNormalBasis, GaussianBasis
from flashmd.ops import BasisForm, radial_basis
from flashmd.ops.testing import FLOAT32_TOLERANCE, check_determinism, check_op

FORMS = {
    "gaussian": BasisForm("gaussian", 0.0, 1.5, "identity"),
    "gaussian_cosine": BasisForm("gaussian", 0.0, 1.5, "cosine"),
    "expnormal": BasisForm("expnormal", 0.0, 1.5, "cosine", alpha=3.3),
    "expnormal_identity": BasisForm("expnormal", 0.2, 1.5, "identity", alpha=3.3),
    "bump": BasisForm("expnormal", 0.2, 1.5, "cosine", alpha=3.8),
    "gaussian_bump": BasisForm("gaussian", 0.2, 1.5, "cosine"),
}
ONE_PASS_OF_FLOAT32 = 1e-5
"""Exponents reach -60, where one rounding of 6e-8 changes the exponential by 4e-6 of itself."""


@pytest.fixture(params=list(FORMS))
def form(request):
    return FORMS[request.param]


def parameters(form, n_basis, generator):
    module = (GaussianBasis if form.kind == "gaussian" else ExpNormalBasis)(form.lower, form.upper, n_basis=n_basis)
    if form.kind == "gaussian":
        centres, widths = module.offset, (-module.coeff).expand(n_basis)
    else:
        centres, widths = module.means, module.betas
    spread = 1.0 + 0.1 * torch.rand(n_basis, generator=generator, dtype=torch.float64)
    return centres.double() * spread, widths.double() * spread


def distances(n, generator):
    """Distances on both sides of both bounds, none at a bound."""
    return 1.6 * torch.rand(n, generator=generator, dtype=torch.float64) + 0.01


@pytest.mark.parametrize("n", [7, 1, 0])
def test_battery(form, n, generator, device):
    inputs = [distances(n, generator), *parameters(form, 5, generator)]
    check_op(
        lambda d, m, b: radial_basis(d, m, b, form),
        lambda d, m, b: radial_basis(d, m, b, form, backend="reference"),
        [each.to(device) for each in inputs],
        opcheck=(torch.ops.flashmd.radial_basis.default, *form.numbers),
        highest_order=2,
    )


@pytest.mark.parametrize("n_basis", [30, 33, 50, 64])
def test_sizes_and_instruction_sets(form, n_basis, generator, instruction_set):
    """More rows than one block of the sums, in both precisions, against the float64 reference."""
    d, (m, b) = distances(600, generator), parameters(form, n_basis, generator)
    g = torch.rand(600, n_basis, generator=generator, dtype=torch.float64)
    v = [torch.rand(each.shape, generator=generator, dtype=torch.float64) for each in (d, m, b)]
    expected = reference_derivatives(form, g, d, m, b, v)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, ONE_PASS_OF_FLOAT32)):
        operators = torch.ops.flashmd
        x, grad, way = [each.to(dtype) for each in (d, m, b)], g.to(dtype), [each.to(dtype) for each in v]
        settings = (*form.numbers, instruction_set)
        found = [operators.radial_basis(*x, *settings), *operators.radial_basis_backward(grad, *x, True, *settings)]
        found += operators.radial_basis_double_backward(*way, grad, *x, True, *settings)
        for first, second in zip(found, expected, strict=True):
            atol = tolerance * float(second.abs().max())
            torch.testing.assert_close(first.double(), second, rtol=0.0, atol=atol)


def reference_derivatives(form, g, d, m, b, v):
    leaves = [each.clone().requires_grad_() for each in (g, d, m, b)]
    value = radial_basis(*leaves[1:], form, backend="reference")
    first = torch.autograd.grad((leaves[0] * value).sum(), leaves[1:], create_graph=True)
    along = sum((each * way).sum() for each, way in zip(first, v, strict=True))
    return [each.detach() for each in (value, *first, *torch.autograd.grad(along, leaves))]


def test_parameters_that_are_not_wanted_are_not_summed(form, generator):
    d, (m, b) = distances(9, generator), parameters(form, 5, generator)
    found = torch.ops.flashmd.radial_basis_backward(torch.ones_like(m).expand(9, 5), d, m, b, False, *form.numbers)
    assert [each.numel() for each in found] == [9, 0, 0]
    d.requires_grad_()
    (slope,) = torch.autograd.grad(radial_basis(d, m, b, form).sum(), d, create_graph=True)
    (found,) = torch.autograd.grad(slope.square().sum(), d)
    (slope,) = torch.autograd.grad(radial_basis(d, m, b, form, backend="reference").sum(), d, create_graph=True)
    (expected,) = torch.autograd.grad(slope.square().sum(), d)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11 * float(expected.abs().max()))


def test_many_rows_do_not_depend_on_threads(form, generator):
    inputs = [distances(3000, generator), *parameters(form, 33, generator)]
    check_determinism(lambda d, m, b: radial_basis(d, m, b, form), inputs)


def test_nothing_remains_beyond_the_cutoff(form, generator):
    m, b = parameters(form, 30, generator)
    d = torch.tensor([1.5000001, 2.0, 1e3], dtype=torch.float64, requires_grad=True)
    value = radial_basis(d, m, b, form)
    assert float(value.detach().abs().max()) == 0.0
    assert torch.autograd.grad(value.sum(), d)[0].tolist() == [0.0, 0.0, 0.0]


def test_exponential_is_accurate(instruction_set):
    """With centre 0 and width 1 a Gaussian is exp(-d^2); within two units in the last place of float32."""
    d = torch.linspace(0.0, 7.5, 100001)
    one = torch.ones(1)
    form = BasisForm("gaussian", 0.0, 10.0, "identity")
    found = torch.ops.flashmd.radial_basis(d, one - one, one, *form.numbers, instruction_set)[:, 0].double()
    expected = torch.exp(-(d * d).double())
    assert float(((found - expected) / expected).abs().max()) < 2 * 2.0**-23


def test_third_derivative_raises(form, generator):
    d, (m, b) = distances(4, generator).requires_grad_(), parameters(form, 3, generator)
    value = radial_basis(d, m, b, form).sum()
    for _ in range(2):
        value = torch.autograd.grad(value, d, create_graph=True)[0].sum()
    text = "derivatives of `radial_basis`: expected first and second ones, got a third one. To fix it, pass `backend"
    with pytest.raises(NotImplementedError, match=text):
        torch.autograd.grad(value, d)


def test_literal_values():
    form = BasisForm("gaussian", 0.0, 2.0, "cosine")
    found = radial_basis(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]), form)
    expected = [[1.0, 0.1353353], [0.1839397, 0.5], [0.0, 0.0]]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=FLOAT32_TOLERANCE)


def test_compiles_without_graph_break(form, generator):
    d, (m, b) = distances(9, generator).requires_grad_(), parameters(form, 4, generator)
    compiled = torch.compile(lambda d: radial_basis(d, m, b, form).square().sum(), fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(d), d)
    (expected,) = torch.autograd.grad(radial_basis(d, m, b, form).square().sum(), d)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_messages(backend):
    d, two, form = torch.ones(3), torch.ones(2), FORMS["gaussian"]
    with pytest.raises(ValueError, match=r"`distance`: expected shape \(n,\), got \(3, 1\)\. To fix it, flatten it"):
        radial_basis(d[:, None], two, two, form, backend=backend)
    with pytest.raises(ValueError, match=r"`widths`: expected shape \(2,\), got \(3,\)\. To fix it, pass one number"):
        radial_basis(d, two, d, form, backend=backend)
    with pytest.raises(ValueError, match=r"`centres`: expected shape \(n_basis,\), got \(1, 2\)"):
        radial_basis(d, two[None], two, form, backend=backend)
    with pytest.raises(TypeError, match=r"`widths`: expected torch.float32, got torch.float64"):
        radial_basis(d, two, two.double(), form, backend=backend)


def test_unknown_choices():
    with pytest.raises(ValueError, match="`kind`: expected one of 'gaussian', 'expnormal', got 'bessel'"):
        BasisForm("bessel", 0.0, 1.0, "cosine")
    with pytest.raises(ValueError, match="`envelope`: expected one of 'identity', 'cosine', got 'step'"):
        BasisForm("gaussian", 0.0, 1.0, "step")


def test_kernels_refuse_forged_arguments():
    operators, numbers = torch.ops.flashmd, FORMS["gaussian"].numbers
    d, m = torch.ones(3), torch.ones(2)
    with pytest.raises(RuntimeError, match="`distance`, `centres`, `widths`: expected vectors, the last two of one"):
        operators.radial_basis(d, m, d, *numbers)
    with pytest.raises(RuntimeError, match="`centres`, `widths`: expected dtype and device of the distances"):
        operators.radial_basis(d, m.double(), m, *numbers)
    with pytest.raises(RuntimeError, match=r"`grad`: expected shape \(n, n_basis\) like the expansion"):
        operators.radial_basis_backward(torch.ones(2, 3), d, m, m, True, *numbers)
    with pytest.raises(RuntimeError, match="the direction: expected the sizes of distances, centres and widths"):
        operators.radial_basis_double_backward(d, m, m, torch.ones(3, 2), d, m, m, False, *numbers)
