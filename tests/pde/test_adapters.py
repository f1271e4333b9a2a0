"""Models of one tensor of columns as surrogates."""

from __future__ import annotations

import pytest
import torch

from flashmd.pde import column_surrogate, correct
from tests.pde.cases import BURGERS, settings

F64 = torch.float64


def wave(columns: torch.Tensor, time: str) -> torch.Tensor:
    """Nearly the solution of Burgers' equation; the column of time counts twice, so its place matters."""
    place = 0 if time == "first" else -1
    return torch.sigmoid(columns.sum(1) + 0.05 * columns[:, place])


@pytest.mark.parametrize("time", ["first", "last"])
def test_columns_are_joined_in_the_order_of_the_model(time: str) -> None:
    t, x = BURGERS.points(20, 0)
    surrogate = column_surrogate(lambda columns: wave(columns, time)[:, None], time=time)
    torch.testing.assert_close(surrogate.value(t, x), torch.sigmoid(1.05 * t + x.sum(1)))
    estimate = correct(BURGERS.problem, surrogate, t, x, settings=settings(evaluations_per_point=2000))
    exact = BURGERS.exact(t, x)
    assert (estimate.value - exact).norm() < 0.2 * (estimate.surrogate - exact).norm()


def test_kinks_and_precision_of_a_network_are_known() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    surrogate = column_surrogate(network)
    assert not surrogate.smooth
    assert surrogate.value(torch.zeros(2, dtype=F64), torch.zeros(2, 2, dtype=F64)).dtype == F64
    assert column_surrogate(torch.nn.Linear(3, 1)).smooth


def test_wrong_place_of_time() -> None:
    with pytest.raises(ValueError, match="`time`: expected one of first, last, got 'middle'"):
        column_surrogate(torch.nn.Linear(3, 1), time="middle")
