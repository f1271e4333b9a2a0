"""Multilevel Picard iteration: its levels, its weights, its parity with closed forms."""

from __future__ import annotations

import pytest
import torch

from flashmd.pde import Parabolic, Surrogate, correct
from flashmd.pde.picard import PicardTrees, default_samples, largest_samples
from tests.pde.cases import BURGERS, SMALL, bent, quadratic_exact, quadratic_problem, settings, zero

F64 = torch.float64


def test_costs_of_trees() -> None:
    tree = PicardTrees(BURGERS.problem, bent(BURGERS), default_samples(2, 10), seed=0)
    # 100 at the horizon, 100 residuals, 10 differences with a tree of 10 + 10 each.
    assert tree.cost == 100 + 100 + 10 * (1 + 20)
    assert largest_samples(420, 0) == default_samples(2, 10)
    assert largest_samples(419, 2) == default_samples(2, 6)


@pytest.mark.parametrize("nodes", [0, 3])
def test_terms_beyond_the_linearisation_are_found(nodes: int) -> None:
    """u' = -u^2 backward in time has no noise in it: level n is the n-th Picard iterate of an ordinary equation."""
    problem = Parabolic(d=1, T=1.0, source=lambda t, x, u, z: -u.square(), terminal=lambda x: 0.5 + 0.0 * x[:, 0])
    samples = ((1, 4), (1, 4, 64))
    method = "mlp-quad" if nodes else "mlp"
    chosen = settings(samples=samples, evaluations_per_point=400_000, nodes=max(1, nodes))
    estimate = correct(problem, Surrogate(zero), 0.0, torch.zeros(1, 1, dtype=F64), method=method, settings=chosen)
    # U_2 = g - int_0^1 g^2 dr with U_1 = g: both levels of the defect of zero, whose residual vanishes.
    assert float(estimate.value) == pytest.approx(0.25, abs=4.0 * float(estimate.standard_error) + 1e-9)


def test_varying_drift_belongs_to_the_source() -> None:
    problem = quadratic_problem()
    x = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    rough = Surrogate(lambda t, x: quadratic_exact(t, x) * (1.0 + 0.05 * (1.0 - t)))
    chosen = settings(samples=((8, 8), (32, 32, 8), (64, 64, 16, 4)), evaluations_per_point=60_000)
    t = torch.full((3,), 0.8, dtype=F64)
    estimate = correct(problem, rough, t, x, method="mlp", settings=chosen)
    exact = quadratic_exact(t, x)
    gap, before = (estimate.value - exact).abs(), (estimate.surrogate - exact).abs()
    assert (gap < 4.0 * estimate.standard_error + 0.02 * before).all()
    assert (estimate.standard_error < before).all()


def test_gradient_weights_are_those_of_the_gradient() -> None:
    """For u = exp(sum x + ...) without a source the weights alone make the gradient."""
    problem = Parabolic(d=2, T=1.0, diffusion=0.4, terminal=lambda x: x.sum(1).exp())
    x = torch.tensor([[0.1, -0.2]], dtype=F64)
    chosen = settings(gradient=True, evaluations_per_point=200_000, samples=((64, 1),))
    estimate = correct(problem, Surrogate(zero), 0.0, x, method="mlp", settings=chosen)
    exact = float((x.sum() + 0.16).exp())
    assert estimate.gradient is not None
    assert estimate.gradient_standard_error is not None
    assert ((estimate.gradient - exact).abs() < 4.0 * estimate.gradient_standard_error).all()
    assert estimate.gradient_standard_error.max() < 0.02 * exact


def test_hamilton_jacobi_needs_no_clip() -> None:
    case = SMALL["hamilton_jacobi"]
    t, x = case.points(20, 0)
    exact = case.exact(t, x)
    chosen = settings(samples=default_samples(2, 10), evaluations_per_point=16 * 420)
    estimate = correct(case.problem, bent(case), t, x, method="mlp", settings=chosen)
    assert (estimate.value - exact).norm() < 0.3 * (estimate.surrogate - exact).norm()
