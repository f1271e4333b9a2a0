"""Polynomials of the intervals of a table, and the network that reads them."""

from __future__ import annotations

import pytest
import torch

from flashmd.nn import FilterTable, SchNet, SchNetConfig, hermite_coefficients, tabulate
from flashmd.nn.filter_table import interpolate
from flashmd.ops import Edges

CONFIG = SchNetConfig(n_types=4, n_channels=8, n_filters=6, n_basis=7, n_blocks=2, readout=(4,))


def test_polynomials_are_the_interpolation() -> None:
    network = SchNet(CONFIG, seed=1).double()
    table = tabulate(network, 9)
    distance = torch.tensor([0.0, 0.1, 0.4, 0.9, 1.31, 1.4999, 1.5, 1.7], dtype=torch.float64)
    n_intervals = 8
    scaled = distance * (n_intervals / table.cutoff)
    interval = scaled.floor().clamp(max=n_intervals - 1)
    powers = (scaled - interval)[:, None] ** torch.arange(4)
    chosen = table.spline().coefficients[:, interval.long()]
    found = torch.einsum("ek,bekf->bef", powers, chosen) * (distance < table.cutoff)[:, None]
    torch.testing.assert_close(found, interpolate(table, distance), rtol=0.0, atol=1e-13)


def test_coefficients_of_a_cubic_are_exact() -> None:
    knots = torch.linspace(0.0, 2.0, 5, dtype=torch.float64)[:, None]
    values, slopes = knots**3 - knots, 3.0 * knots**2 - 1.0
    found = hermite_coefficients(values, slopes, 0.5)
    # (k + u)^3 h^3 - (k + u) h in powers of u.
    k, h = torch.arange(4, dtype=torch.float64)[:, None], 0.5
    expected = torch.stack([(k * h) ** 3 - k * h, 3 * k**2 * h**3 - h, 3 * k * h**3, torch.full_like(k, h**3)], dim=1)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-14)


def test_coefficients_are_differentiable() -> None:
    values, slopes = (torch.rand(2, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda v, s: hermite_coefficients(v, s, 0.3), (values, slopes))


def test_network_through_a_table_is_the_network_with_interpolated_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    network = SchNet(CONFIG, seed=1).double()
    table = tabulate(network, 17)
    edges = Edges.from_pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), 3)
    types, distance = torch.tensor([1, 2, 3]), torch.tensor([0.3, 1.2, 1.6], dtype=torch.float64)
    monkeypatch.setattr(SchNet, "filters", lambda self, d: interpolate(table, d))
    expected = network(types, edges, distance, half=True)
    for backend in ("kernel", "reference"):
        found = network(types, edges, distance, half=True, spline=table.spline(), backend=backend)
        torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-13)


def test_a_table_needs_half_pairs() -> None:
    network, edges = SchNet(CONFIG), Edges.from_pairs(torch.tensor([0, 1]), torch.tensor([1, 0]), 2)
    table = FilterTable(torch.zeros(2, 3, 6), torch.zeros(2, 3, 6), 1.5)
    with pytest.raises(ValueError, match="`edges` with `spline`: expected one edge of each pair, got both directions"):
        network(torch.tensor([1, 2]), edges, torch.tensor([0.4, 0.4]), spline=table.spline())
