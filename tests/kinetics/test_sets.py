"""Exits within a step: how often, when, and through which set."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad

from flashmd.kinetics import AbsorbingSet
from flashmd.kinetics.sets import Exits

from .cases import LEFT, RIGHT, column

UNIT = torch.ones((), dtype=torch.float64)


@pytest.mark.parametrize("wall", [0.2, 0.7, 1.5])
def test_bridges_leave_as_often_and_as_late_as_brownian_motion(wall: float) -> None:
    """Over all ends of a step: the law of the first passage of a free particle."""
    generator = torch.Generator().manual_seed(1)
    n = 200_000
    before = torch.full((n, 1), wall, dtype=torch.float64)
    after = before - torch.randn(n, 1, generator=generator, dtype=torch.float64)
    exits = Exits((RIGHT,), UNIT, "bridge")
    which = exits.find(before, after, torch.rand(n, generator=generator, dtype=torch.float64))
    hit = (which == 0).double()
    share = hit * exits.share(before, after, which)

    def density(t: float) -> float:
        return wall / math.sqrt(2.0 * math.pi * t**3) * math.exp(-wall * wall / (2.0 * t))

    for found, exact in ((hit, quad(density, 0.0, 1.0)[0]), (share, quad(lambda t: t * density(t), 0.0, 1.0)[0])):
        assert abs(float(found.mean()) - exact) < 5.0 * float(found.std()) / math.sqrt(n)


def test_distances_are_in_units_of_a_step() -> None:
    """Also of a level that is no distance, and with noise that depends on the direction."""
    x = torch.tensor([[0.4, 0.0]], dtype=torch.float64)
    steep = AbsorbingSet(lambda x: 3.0 - 3.0 * x[:, 0])
    sigma = torch.tensor([0.2, 7.0], dtype=torch.float64)
    assert Exits((steep,), sigma, "bridge").distances(x).item() == pytest.approx(3.0)
    assert Exits((RIGHT, LEFT), 0.1 * UNIT, "shift").distances(x[:, :1])[0].tolist() == pytest.approx([6.0, 14.0])
    assert Exits((steep,), sigma, "steps").distances(x).item() == pytest.approx(1.8)
    flat = AbsorbingSet(lambda x: (1.0 - x[:, 0]).clamp_max(0.3))
    assert Exits((flat,), sigma, "bridge").distances(x).item() == 1e6


def test_each_kind_finds_its_set() -> None:
    before = torch.tensor([[0.5, 0.5]] * 4, dtype=torch.float64)
    after = torch.tensor([[-0.1, 3.0], [3.0, -0.3], [0.4, 3.0], [2.0, 2.0]], dtype=torch.float64)
    drawn = torch.full((4,), 0.5, dtype=torch.float64)
    found = {kind: Exits((LEFT, RIGHT), UNIT, kind).find(before, after, drawn) for kind in ("bridge", "shift", "steps")}
    assert found["bridge"].tolist() == [0, 1, 0, -1]  # exp(-0.4) is more than a half, exp(-2) less
    assert found["shift"].tolist() == [0, 1, 0, -1]  # 0.4 is less than 0.58
    assert found["steps"].tolist() == [0, 1, -1, -1]
    shares = Exits((LEFT, RIGHT), UNIT, "steps").share(before, after, found["steps"])
    assert shares.tolist() == pytest.approx([5.0 / 6.0, 5.0 / 8.0, 1.0, 1.0])
    assert Exits((), UNIT, "bridge").find(column(0.0)[:, :0], column(0.0)[:, :0], drawn[:1]).tolist() == [-1]
