"""The library of problems: its exact solutions solve them."""

from __future__ import annotations

import pytest
import torch

from flashmd.pde import Surrogate
from flashmd.pde.problems import REFERENCE_PROBLEMS, hamilton_jacobi, reference_problem
from flashmd.pde.training import residual
from tests.pde.cases import SMALL

F64 = torch.float64


@pytest.mark.parametrize("name", REFERENCE_PROBLEMS)
def test_exact_solutions_solve_the_equation_and_meet_the_terminal_value(name: str) -> None:
    case = SMALL[name]
    t, x = case.points(3, 0)
    exact = Surrogate(case.exact, derivatives="differences" if name == "hamilton_jacobi" else "auto")
    # Central differences of step 1e-4 leave 1e-8 / 1e-4^2 of the rounding in second derivatives.
    assert residual(case.problem, exact, 0.9 * t, x).abs().max() < (1e-5 if name == "hamilton_jacobi" else 1e-12)
    horizon = torch.full_like(t, case.problem.T)
    torch.testing.assert_close(case.exact(horizon, x), case.problem.terminal_at(x), rtol=1e-10, atol=1e-10)


def test_hopf_cole_against_sampling() -> None:
    case = hamilton_jacobi(30, seed=2)
    t, x = case.points(2, 1)
    noise = torch.randn(100_000, 30, generator=torch.Generator().manual_seed(0), dtype=F64)
    for i in range(2):
        ends = x[i] + (2.0 * (1.0 - t[i])).sqrt() * noise
        weights = (-case.problem.terminal_at(ends)).exp()
        sampled = -weights.mean().log()
        bar = weights.std() / weights.mean() / len(noise) ** 0.5
        assert abs(case.exact(t[i : i + 1], x[i : i + 1])[0] - sampled) < 4.0 * bar


@pytest.mark.parametrize("name", REFERENCE_PROBLEMS)
def test_points_lie_in_their_region(name: str) -> None:
    case = SMALL[name]
    t, x = case.points(200, 3)
    assert ((t >= 0.0) & (t <= case.problem.T)).all()
    size = x.abs().max() if case.cube else x.norm(dim=1).max()
    assert 0.8 * (case.cube or 1.0) < size <= (case.cube or 1.0)


def test_too_few_dimensions() -> None:
    with pytest.raises(ValueError, match="`d`: expected at least 2 for this problem, got 1"):
        hamilton_jacobi(1)
    with pytest.raises(ValueError, match="the problem: expected one of convection, burgers, .*, got 'heat'"):
        reference_problem("heat", 3)
