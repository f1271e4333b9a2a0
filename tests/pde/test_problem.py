"""Coefficients in all their forms, and what is said of wrong ones."""

from __future__ import annotations

import pytest
import torch

from flashmd.pde import Parabolic, Surrogate, correct
from flashmd.pde.diffusion import Diffusion, solve, times, transposed_times
from tests.pde.cases import BURGERS, bent, quadratic_exact, quadratic_problem, settings, zero

F64 = torch.float64
X = torch.zeros(2, 3, dtype=F64)


def full_matrix() -> torch.Tensor:
    return torch.tensor([[1.0, 0.5, 0.0], [0.0, 2.0, 0.3], [0.2, 0.0, 1.5]], dtype=F64)


@pytest.mark.parametrize(
    "value",
    [
        0.7,
        torch.tensor([1.0, 2.0, 3.0]),
        full_matrix(),
        lambda t, x: torch.ones_like(x) * (1.0 + t)[:, None],
        lambda t, x: full_matrix().expand(x.shape[0], 3, 3),
    ],
)
def test_products_agree_with_matrices(value: object) -> None:
    t = torch.tensor([0.1, 0.5], dtype=F64)
    sigma = Diffusion(value, 3).at(t, X)  # type: ignore[arg-type]
    matrix = (torch.diag_embed(sigma) if sigma.dim() == 2 else sigma).expand(2, 3, 3)
    v = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, 1.0]], dtype=F64)
    torch.testing.assert_close(times(sigma, v), (matrix @ v[..., None])[..., 0])
    torch.testing.assert_close(transposed_times(sigma, v), (matrix.mT @ v[..., None])[..., 0])
    torch.testing.assert_close(times(sigma, solve(sigma, v, transposed=False)), v)
    torch.testing.assert_close(transposed_times(sigma, solve(sigma, v, transposed=True)), v)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"d": 0}, "`d`: expected at least 1, got 0"),
        ({"T": 0.0}, "`T`: expected a positive horizon, got 0.0"),
        ({"drift": torch.zeros(2)}, r"`drift`: expected shape \(\) or \(3,\), got \(2,\)"),
        ({"diffusion": torch.zeros(2)}, r"`diffusion`: expected shape \(\), \(3,\) or \(3, 3\), got \(2,\)"),
        ({"drift": torch.tensor([0.0, torch.nan, 0.0])}, "`drift`: expected finite numbers, got NaN or infinity"),
        ({"diffusion": float("nan")}, "`diffusion`: expected finite numbers, got NaN or infinity"),
    ],
)
def test_wrong_problems(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Parabolic(**{"d": 3, "T": 1.0, "terminal": lambda x: x.sum(1), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"d": 3.0}, "`d`: expected a whole number, got 3.0"),
        ({"terminal": None}, "`terminal`: expected a function, got NoneType. To fix it, pass a function"),
        ({"source": 3.0}, "`source`: expected a function, got float"),
    ],
)
def test_problems_of_wrong_types(changes: dict[str, object], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Parabolic(**{"d": 3, "T": 1.0, "terminal": lambda x: x.sum(1), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("t", "x", "text"),
    [
        (0.0, torch.zeros(2, 5), r"`x`: expected shape \(n, 6\) with n > 0, got \(2, 5\)"),
        (torch.zeros(3), torch.zeros(2, 6), r"`t`: expected shape \(2,\), got \(3,\)"),
        (0.6, torch.zeros(2, 6), r"`t` of point 0: expected a time in \[0, 0.5\], got 0.6"),
        (0.0, torch.full((2, 6), torch.inf), "`x` of point 0: expected finite numbers"),
    ],
)
def test_points_outside_the_domain(t: object, x: torch.Tensor, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        correct(BURGERS.problem, bent(BURGERS), t, x)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "wrong", "text"),
    [
        ("drift", lambda t, x: x[:, :1], r"`drift`: expected a result of shape \(2, 3\), got \(2, 1\)"),
        ("diffusion", lambda t, x: x[0], r"`diffusion`: expected \(2, 3\) or \(2, 3, 3\) from a function, got \(3,\)"),
        ("source", lambda t, x, u, z: z, r"`source`: expected a result of shape \(2,\), got \(2, 3\)"),
        ("terminal", lambda x: x, r"`terminal`: expected a result of shape \(\d+,\), got \(\d+, 3\)"),
    ],
)
def test_coefficients_of_wrong_shape(name: str, wrong: object, text: str) -> None:
    problem = Parabolic(**{"d": 3, "T": 1.0, "terminal": lambda x: x.sum(1), name: wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=text):
        correct(problem, Surrogate(zero), 0.0, X, form="residual", settings=settings())


@pytest.mark.parametrize("name", ["drift", "diffusion", "source", "terminal"])
def test_a_coefficient_that_is_not_finite_is_named(name: str) -> None:
    broken = {
        "drift": lambda t, x: torch.where(t[:, None] > 0.5, torch.nan, 0.0 * x),
        "diffusion": lambda t, x: torch.where(t[:, None] > 0.5, torch.inf, 1.0 + 0.0 * x),
        "source": lambda t, x, u, z: (0.5 - t).log() + 0.0 * u,
        "terminal": lambda x: torch.nan * x.sum(1),
    }
    problem = Parabolic(**{"d": 3, "T": 1.0, "terminal": lambda x: x.sum(1), name: broken[name]})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"`{name}`: expected finite values, got NaN or infinity"):
        correct(problem, Surrogate(zero), 0.0, X, form="martingale", settings=settings())


def test_coefficients_must_be_tensors_of_any_precision() -> None:
    numpy = Parabolic(d=3, T=1.0, terminal=lambda x: x.numpy().sum(1))
    with pytest.raises(
        TypeError, match="`terminal`: expected a tensor, got ndarray. To fix it, compute with operations"
    ):
        correct(numpy, Surrogate(zero), 0.0, X, settings=settings())
    flags = Parabolic(d=3, T=1.0, terminal=lambda x: x[:, 0] > 0.0)
    estimate = correct(flags, Surrogate(zero), 0.0, X, settings=settings())
    assert ((estimate.value - 0.5).abs() <= 4.0 * estimate.standard_error).all()


def test_an_infinite_slope_of_the_source_is_named() -> None:
    problem = Parabolic(d=3, T=1.0, terminal=lambda x: x.sum(1), source=lambda t, x, u, z: u.abs().sqrt())
    with pytest.raises(ValueError, match="`slope of the source`: expected finite values, got NaN or infinity"):
        correct(problem, Surrogate(zero), 0.0, X, form="martingale", settings=settings())


def test_a_remainder_that_cannot_be_evaluated_is_unbounded() -> None:
    """The source has no value at half of what the surrogate says, where the solution is."""
    problem = Parabolic(
        d=3, T=1.0, terminal=lambda x: 1.0 + 0.0 * x[:, 0], source=lambda t, x, u, z: 0.1 * (u - 1.5).log()
    )
    estimate = correct(problem, Surrogate(lambda t, x: 2.0 + zero(t, x)), 0.0, X, settings=settings(rtol=1.0))
    assert (estimate.bias_bound == torch.inf).all()
    assert not estimate.converged.any()


def test_large_affine_sources_are_affine() -> None:
    problem = Parabolic(d=3, T=1.0, terminal=lambda x: 1e10 + x.sum(1), source=lambda t, x, u, z: -0.05 * u)
    rough = Surrogate(lambda t, x: 1e10 + x.sum(1))
    estimate = correct(problem, rough, 0.0, X, method="linear", settings=settings(steps=50, evaluations_per_point=1000))
    torch.testing.assert_close(
        estimate.value, torch.full((2,), 1e10 * 2.718281828459045**-0.05, dtype=F64), rtol=1e-5, atol=0.0
    )


def test_varying_coefficients_and_a_discount() -> None:
    problem, generator = quadratic_problem(), torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, generator=generator, dtype=F64)
    wrong = Surrogate(lambda t, x: 1.1 * quadratic_exact(t, x) + 0.1 * x.sum(1) * (1.0 - t))
    estimate = correct(
        problem, wrong, 0.2, x, method="linear", settings=settings(steps=40, evaluations_per_point=40_000)
    )
    exact = quadratic_exact(torch.full((5,), 0.2, dtype=F64), x)
    # Four standard errors and the error of the time step, of first order and proportional to the defect.
    allowed = 4.0 * estimate.standard_error + 0.05 * (estimate.surrogate - exact).abs()
    assert ((estimate.value - exact).abs() < allowed).all()
    assert (estimate.standard_error < 0.2 * (estimate.surrogate - exact).abs().max()).all()
    assert (estimate.bias_bound == 0.0).all()
