"""Envelopes against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashmd.nn import CosineCutoff, IdentityCutoff
from flashmd.nn.cutoff import make_envelope

DISTANCE = torch.linspace(0.0, 2.0, 401, dtype=torch.float64)


def test_cosine_from_zero() -> None:
    d = DISTANCE.numpy()
    expected = np.where(d < 1.2, 0.5 * (np.cos(np.pi * d / 1.2) + 1.0), 0.0)
    np.testing.assert_allclose(CosineCutoff(0.0, 1.2)(DISTANCE).numpy(), expected, atol=1e-15)


def test_cosine_bump_between_two_bounds() -> None:
    d = DISTANCE.numpy()
    bump = 0.5 * (np.cos(np.pi * (2.0 * (d - 0.3) / 0.9 + 1.0)) + 1.0)
    expected = np.where((d > 0.3) & (d < 1.2), bump, 0.0)
    np.testing.assert_allclose(CosineCutoff(0.3, 1.2)(DISTANCE).numpy(), expected, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lower", [0.0, 0.37])
def test_exactly_zero_beyond_the_cutoff(lower: float, dtype: torch.dtype) -> None:
    beyond = torch.linspace(1.2, 3.0, 1001, dtype=dtype)[1:].requires_grad_()
    values = CosineCutoff(lower, 1.2)(beyond)
    assert torch.equal(values, torch.zeros_like(values))
    (slope,) = torch.autograd.grad(values.sum(), beyond)
    assert torch.equal(slope, torch.zeros_like(slope))
    if lower:
        below = torch.linspace(0.0, lower, 1001, dtype=dtype)[:-1]
        assert torch.equal(CosineCutoff(lower, 1.2)(below), torch.zeros_like(below))


def test_slope() -> None:
    distance = torch.tensor([0.1, 0.6, 1.1], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(CosineCutoff(0.0, 1.2)(distance).sum(), distance)
    expected = -np.pi / 2.4 * np.sin(np.pi * distance.detach().numpy() / 1.2)
    np.testing.assert_allclose(slope.numpy(), expected, rtol=1e-14)
    bump = CosineCutoff(0.05, 1.2)
    assert torch.autograd.gradgradcheck(bump, (distance,))


def test_identity_is_a_step() -> None:
    assert IdentityCutoff(0.0, 1.0)(torch.tensor([0.0, 0.999, 1.0, 1.001])).tolist() == [1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (-0.1, 1.0), (0.0, float("inf")), (0.0, float("nan"))])
def test_bounds_are_checked(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"the cutoff: expected 0 <= lower < upper in nm, got lower"):
        CosineCutoff(*bounds)


def test_unknown_envelope() -> None:
    with pytest.raises(ValueError, match=r"`envelope`: expected one of 'cosine', 'identity', got 'step'"):
        make_envelope("step", 0.0, 1.0)
