"""Networks that are right on the boundary, and their refitting on corrected values."""

from __future__ import annotations

from dataclasses import replace

import torch

from flashmd.kinetics import BoundaryNetwork, ball, committor, fit_surrogate, half_space, mfpt
from flashmd.pde import SurrogateTraining, distill

from .cases import FREE, LEFT, RIGHT, column, settings


def test_boundary_values() -> None:
    A, B = ball([0.0, 0.0], 1.0), ball([3.0, 0.0], 0.5)
    angle = torch.linspace(0.0, 6.0, 7, dtype=torch.float64)
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    network = BoundaryNetwork(2, [8], A=A, B=B, seed=1).double()
    assert network(0.999 * ring).abs().max() == 0.0
    assert torch.equal(network(0.499 * ring + torch.tensor([3.0, 0.0])), torch.ones(7, dtype=torch.float64))
    outside = network(1.7 * ring)
    assert ((outside > 0.0) & (outside < 1.0)).all()
    time = BoundaryNetwork(2, [8], B=B, seed=1).double()
    assert time(0.499 * ring + torch.tensor([3.0, 0.0])).abs().max() == 0.0
    assert (time(ring) > 0.0).all()


def test_features_see_what_they_should() -> None:
    radius = lambda x: x.norm(dim=1, keepdim=True)  # noqa: E731
    B = half_space([1.0, 0.0], 5.0)
    network = BoundaryNetwork(1, [8], A=ball([0.0, 0.0], 0.1), B=B, features=radius)
    x = torch.tensor([[1.0, 2.0], [1.0, -2.0]])
    assert torch.equal(network(x)[:1], network(x)[1:])


def test_a_fitted_committor_reduces_the_error() -> None:
    x = torch.linspace(-0.95, 0.95, 200, dtype=torch.float64)[:, None]
    ends = committor(FREE, LEFT, RIGHT, x=x, settings=settings(paths_per_point=4))
    network = BoundaryNetwork(1, [8], A=LEFT, B=RIGHT)
    fitted = fit_surrogate(network, x, ends.value, SurrogateTraining(iterations=200, batch=100, learning_rate=1e-2))
    at = column(-0.4, 0.3)
    plain = committor(FREE, LEFT, RIGHT, x=at, settings=settings())
    guided = committor(FREE, LEFT, RIGHT, x=at, settings=settings(), surrogate=fitted)
    assert (guided.standard_error < 0.7 * plain.standard_error).all()
    assert ((fitted(at.float()) - guided.value).abs() < 0.1).all()


def test_distilled_values_count_by_their_errors() -> None:
    """A third of the values is wrong, and said to be uncertain."""
    x = torch.linspace(-0.95, 0.95, 60, dtype=torch.float64)[:, None]
    network = BoundaryNetwork(1, [8], A=LEFT, B=RIGHT, seed=1)
    before = [each.clone() for each in network.parameters()]
    exact, wrong = 0.5 + 0.5 * x[:, 0], torch.arange(60) % 3 == 0
    estimate = committor(FREE, LEFT, RIGHT, x=x, settings=settings(paths_per_point=4), surrogate=network)
    estimate = replace(estimate, value=exact + torch.where(wrong, 0.3, 0.0))
    told = replace(estimate, standard_error=torch.where(wrong, 1.0, 0.01).double())
    blind = replace(estimate, standard_error=torch.ones(60, dtype=torch.float64))
    training = SurrogateTraining(iterations=200, batch=60, learning_rate=2e-2)
    refitted = [distill(network, each, None, x, training) for each in (told, blind)]
    errors = [float((each(x.float()) - exact).abs().mean()) for each in refitted]
    assert errors[0] < 0.02
    assert errors[1] > 0.08
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def test_a_fitted_passage_time() -> None:
    """Exact: (1 - x^2) / 2 between two walls."""
    x = torch.linspace(-0.95, 0.95, 200, dtype=torch.float64)[:, None]
    walls = ball([0.0], 1.0, outside=True)
    network = BoundaryNetwork(1, [8], B=walls)
    labels = 0.5 * (1.0 - x[:, 0].square())
    fitted = fit_surrogate(network, x, labels, SurrogateTraining(iterations=300, batch=100, learning_rate=1e-2))
    estimate = mfpt(FREE, walls, x=column(0.2), settings=settings(time_step=2e-3), surrogate=fitted)
    assert (estimate.value - 0.48).abs() < 5.0 * estimate.standard_error + 2e-3
    assert estimate.standard_error < 0.02
