"""Running moments and the intervals that are made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from flashmd.pde.estimate import Moments, _untransformed

F64 = torch.float64


def test_moments_in_pieces_are_those_of_the_whole() -> None:
    draws = torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(0), dtype=F64).exp()
    moments = Moments(6, (3,), torch.device("cpu"))
    index = torch.tensor([5, 0, 2, 3])
    for begin, end in ((0, 1), (1, 20), (20, 50)):
        moments.add(index, draws[:, begin:end])
    torch.testing.assert_close(moments.mean[index], draws.mean(1))
    torch.testing.assert_close(moments.variance()[index], draws.var(1))
    torch.testing.assert_close(moments.standard_error()[index], draws.std(1) / 50**0.5)
    torch.testing.assert_close(moments.skewness()[index], torch.as_tensor(stats.skew(draws.numpy(), axis=1)))
    assert (moments.standard_error()[[1, 4]] == 0.0).all()
    assert (moments.skewness()[[1, 4]] == 0.0).all()


@pytest.mark.parametrize("ratio", [-0.3, 1e-7, 0.2])
def test_transformation_of_the_quantile_is_inverted(ratio: float) -> None:
    y = torch.tensor([-2.0, 0.0, 1.5], dtype=F64)
    x = _untransformed(y, torch.full((3,), ratio, dtype=F64))
    forward = x + ratio * x**2 / 3.0 + ratio**2 * x**3 / 27.0 + ratio / 6.0
    torch.testing.assert_close(forward, y, rtol=1e-6, atol=1e-6)


def test_correction_for_skewness_improves_intervals_of_squares() -> None:
    """Means of 30 squares of normal numbers: the plain interval misses too often."""
    draws = np.random.default_rng(0).normal(size=(20_000, 30)) ** 2
    values = torch.as_tensor(draws)
    error, mean = values.std(1) / 30**0.5, values.mean(1)
    ratio = torch.as_tensor(stats.skew(draws, axis=1)) / 30**0.5
    quantile = torch.full_like(mean, float(stats.t.ppf(0.975, 29)))
    low, high = (mean - _untransformed(sign * quantile, ratio) * error for sign in (1.0, -1.0))
    corrected = float(((low < 1.0) & (high > 1.0)).double().mean())
    plain = float(((mean - 1.0).abs() < quantile * error).double().mean())
    assert plain < 0.92
    assert corrected > plain + 0.01
