"""Slopes are derivatives of energies, and every sort of term has its closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flashmd.backmap.physics.newton import gradient, solve
from flashmd.backmap.physics.terms import Linear, contacts, heights, lennard_jones, sides, springs, torsions

STEP = 1e-5
FINITE_DIFFERENCE = 1e-6  # relative error of central differences of energies at steps of 1e-5 nm in float64
PAIRS = torch.tensor([[0, 1, 4], [2, 3, 5]])
QUADS = torch.tensor([[0, 3, 1], [1, 4, 0], [2, 5, 3], [4, 0, 5]])
TERMS: dict[str, Callable[[Tensor], Linear]] = {
    "springs": lambda x: springs(
        x, PAIRS, torch.tensor([0.1, 0.2, 0.3]).double(), torch.tensor([5.0, 6.0, 7.0]).double()
    ),
    "contacts": lambda x: contacts(x, PAIRS, torch.tensor([2.0, 2.0, 0.001]).double(), 8.0),
    "heights": lambda x: heights(x, QUADS, torch.tensor([0.1, 0.2, 0.3]).double(), 9.0),
    "sides": lambda x: sides(x, QUADS, torch.tensor([0.1, 0.2, 0.3]).double(), 0.5, 9.0),
    "torsions": lambda x: torsions(
        x, QUADS, torch.tensor([[1.0, 2, 3], [0, math.pi, 0.5], [1, 2, 3], [3, 3, 2], [0.3, 0, 1], [2, 1, 4]]).double()
    ),
    "Lennard-Jones": lambda x: lennard_jones(
        x, PAIRS, torch.tensor([0.3, 0.8, 2.5]).double(), torch.tensor([1.0, 2.0, 3.0]).double(), 3.0
    ),
}


def columns() -> Tensor:
    return torch.rand(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", TERMS)
def test_gradient_is_the_derivative_of_the_energy(name: str) -> None:
    term, x = TERMS[name], columns()
    slope = gradient([term(x)], x)
    numeric = torch.zeros_like(x)
    for index in range(x.numel()):
        move = torch.zeros(x.numel(), dtype=x.dtype)
        move[index] = STEP
        shifted = [term(x + sign * move.view_as(x)).energy.sum() for sign in (1, -1)]
        numeric.view(-1)[index] = (shifted[0] - shifted[1]) / (2 * STEP)
    assert slope.abs().max() > 0.1
    torch.testing.assert_close(
        slope, numeric, rtol=FINITE_DIFFERENCE, atol=FINITE_DIFFERENCE * float(slope.abs().max())
    )


@pytest.mark.parametrize("name", ["springs", "heights"])
def test_curvature_is_the_derivative_of_the_slope_along_the_coordinate(name: str) -> None:
    x = columns()
    here = TERMS[name](x)
    move = 1e-6 * torch.rand(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(4))
    change = TERMS[name](x + move).slope - here.slope
    torch.testing.assert_close(change, here.curvature * here.along(move), rtol=1e-4, atol=1e-10)


def test_lennard_jones_has_its_depth_at_its_minimum_and_is_finite_at_zero() -> None:
    x = torch.tensor([[0.0, 0.4, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    atoms = torch.tensor([[0, 0], [1, 2]])
    term = lennard_jones(x, atoms, torch.tensor([0.4, 0.4]), torch.tensor([0.7, 0.7]), 50.0)
    assert float(term.energy[0]) == pytest.approx(-0.7)
    assert float(term.slope[0]) == pytest.approx(0.0, abs=1e-6)
    assert float(term.energy[1]) > 10
    assert bool(term.energy[1].isfinite())


def test_height_is_the_distance_from_the_plane() -> None:
    x = torch.tensor([[1.0, 0.0, 0.0, 0.2], [0.0, 0.0, 1.0, 0.3], [0.0, 0.0, 0.0, 0.25]])
    term = heights(x, torch.arange(4)[:, None], torch.ones(1), 2.0)
    assert float(term.energy[0]) == pytest.approx(0.25**2)


def test_trans_torsion_has_the_energy_of_its_cosine() -> None:
    x = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    term = torsions(x, torch.arange(4)[:, None], torch.tensor([[1.0], [0.0], [2.0]]))
    assert float(term.energy[0]) == pytest.approx(0.0, abs=1e-6)


def test_step_solves_the_damped_equations() -> None:
    x = columns()
    terms = [TERMS["springs"](x), TERMS["heights"](x)]
    free, damping = torch.ones(6).double(), torch.full((6,), 3.0).double()
    slope = gradient(terms, x)
    step = solve(terms, slope, free, damping, n_frames=1, iterations=40)
    product = damping * step
    for term in terms:
        term.add_(product, term.curvature * term.along(step))
    torch.testing.assert_close(product, -slope, rtol=1e-6, atol=1e-6 * float(slope.abs().max()))
