"""Tables of filters: exact at the knots, smooth between them, of fourth order, differentiable in the weights."""

from __future__ import annotations

import itertools

import pytest
import torch

from flashmd.nn import SchNet, SchNetConfig
from flashmd.nn.filter_table import FilterTable, interpolate, tabulate

CUTOFF = 0.9
SMALL = {"n_types": 3, "n_channels": 6, "n_filters": 5, "n_basis": 9, "n_blocks": 2, "readout": (4,)}
KINDS = [
    {"basis": "expnormal"},
    {"basis": "gaussian"},
    {"basis": "gaussian", "basis_envelope": "identity", "activation": "ssp"},
    {"basis": "gaussian", "basis_envelope": "identity", "envelope": "identity", "activation": "silu"},
    {"basis": "expnormal", "cutoff_lower": 0.15},
]


def network_of(kind: dict[str, object]) -> SchNet:
    return SchNet(SchNetConfig(**SMALL, **kind, cutoff_upper=CUTOFF), seed=3).double()


def inner_distances(n: int = 200) -> torch.Tensor:
    return torch.linspace(1e-3, CUTOFF * (1.0 - 1e-9), n, dtype=torch.float64)


def worst_error(network: SchNet, n_knots: int) -> float:
    distance = inner_distances(1001)
    expected = network.filters(distance)
    error = interpolate(tabulate(network, n_knots), distance) - expected
    return float(error.detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_knots_hold_values_and_derivatives(kind: dict[str, object]) -> None:
    network = network_of(kind)
    table = tabulate(network, 31)
    assert table.spacing == pytest.approx(CUTOFF / 30)
    knots = torch.linspace(0.0, CUTOFF, 31, dtype=torch.float64)
    torch.testing.assert_close(table.values, network.filters(knots), rtol=1e-13, atol=1e-14)
    # Away from the ends, where the derivative has one-sided limits only.
    middle = knots[5:-1].clone().requires_grad_()
    filters = network.filters(middle)
    for block, channel in itertools.product(range(2), range(5)):
        (slope,) = torch.autograd.grad(filters[block, :, channel].sum(), middle, retain_graph=True)
        torch.testing.assert_close(table.slopes[block, 5:-1, channel], slope, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS[:4])
def test_error_falls_with_the_fourth_power_of_the_spacing(kind: dict[str, object]) -> None:
    network = network_of(kind)
    coarse, fine = worst_error(network, 129), worst_error(network, 257)
    assert coarse / fine > 11.0
    assert fine < 1e-5


def test_a_bump_converges_though_its_curvature_jumps() -> None:
    network = network_of(KINDS[4])
    assert worst_error(network, 2049) < 1e-4
    # Nothing acts below the lower bound.
    below = interpolate(tabulate(network, 2049), torch.tensor([0.0, 0.05, 0.149], dtype=torch.float64))
    assert not bool(below.any())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_at_the_cutoff_and_beyond(kind: dict[str, object]) -> None:
    table = tabulate(network_of(kind), 17)
    distance = torch.tensor([CUTOFF, 1.0, 50.0, torch.inf], dtype=torch.float64, requires_grad=True)
    filters = interpolate(table, distance)
    assert not bool(filters.any())
    assert not bool(torch.autograd.grad(filters.sum(), distance)[0].any())


def test_the_last_interval_leads_to_the_limit_of_a_step() -> None:
    network = network_of(KINDS[3])
    near = torch.tensor([CUTOFF * (1.0 - 1e-12)], dtype=torch.float64)
    expected = network.filters(near)
    assert float(expected.detach().abs().max()) > 0.01
    torch.testing.assert_close(interpolate(tabulate(network, 65), near), expected, rtol=1e-9, atol=1e-10)


def test_values_and_slopes_are_continuous_across_knots() -> None:
    table = tabulate(network_of(KINDS[0]), 33)
    gap = 1e-9
    knots = torch.arange(1, 32, dtype=torch.float64) * table.spacing
    sides = []
    for shift in (-gap, gap):
        distance = (knots + shift).requires_grad_()
        filters = interpolate(table, distance)
        (slope,) = torch.autograd.grad(filters[0, :, 0].sum(), distance, retain_graph=True)
        sides.append((filters.detach(), slope))
    torch.testing.assert_close(sides[0][0], sides[1][0], rtol=0.0, atol=1e-7)
    torch.testing.assert_close(sides[0][1], sides[1][1], rtol=0.0, atol=1e-6)
    torch.testing.assert_close(sides[0][1], table.slopes[0, 1:-1, 0], rtol=0.0, atol=1e-6)


def test_derivatives_of_the_polynomial() -> None:
    table = tabulate(network_of(KINDS[0]), 9)
    table = FilterTable(table.values.detach(), table.slopes.detach(), table.cutoff)
    # No distance lies within the finite difference of a knot.
    distance = ((torch.arange(8, dtype=torch.float64) + 0.37) * table.spacing).requires_grad_()

    def filters(distance: torch.Tensor) -> torch.Tensor:
        return interpolate(table, distance)

    assert torch.autograd.gradcheck(filters, (distance,))
    assert torch.autograd.gradgradcheck(filters, (distance,))


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_trains_the_network(kind: dict[str, object]) -> None:
    network = network_of({**kind, "trainable_basis": True})
    distance = inner_distances(40)
    weight = torch.randn(2, 40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parameters = [*network.filter_network.parameters(), *network.basis.parameters()]
    exact = torch.autograd.grad((network.filters(distance) * weight).sum(), parameters)
    through = torch.autograd.grad((interpolate(tabulate(network, 2049), distance) * weight).sum(), parameters)
    for a, b in zip(through, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_conversion_keeps_the_cutoff() -> None:
    table = tabulate(network_of(KINDS[0]), 9)
    single = table.to(torch.float32)
    assert single.values.dtype == single.slopes.dtype == torch.float32
    assert (single.cutoff, single.n_knots) == (table.cutoff, 9)


def test_no_distances() -> None:
    assert interpolate(tabulate(network_of(KINDS[0]), 9), torch.zeros(0, dtype=torch.float64)).shape == (2, 0, 5)


def test_wrong_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="`n_knots`: expected at least 2 knots, got 1"):
        tabulate(network_of(KINDS[0]), 1)
    with pytest.raises(ValueError, match=r"`values`: expected shape \(n_blocks, n_knots >= 2, n_filters\)"):
        FilterTable(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3), 1.0)
    with pytest.raises(ValueError, match=r"`slopes`: expected shape \(1, 4, 3\), got \(1, 5, 3\)"):
        FilterTable(torch.zeros(1, 4, 3), torch.zeros(1, 5, 3), 1.0)
