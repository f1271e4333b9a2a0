"""Every refusal: what is wrong, what was expected, what to do."""

from __future__ import annotations

import re

import pytest
import torch

from flashmd.kinetics import (
    AbsorbingSet,
    BoundaryNetwork,
    Langevin,
    MuellerBrownTable,
    Overdamped,
    PathSettings,
    SystemForces,
    ball,
    committor,
    fit_surrogate,
    half_space,
    kolmogorov,
    mfpt,
    radial_problem,
    rate,
    survival,
)
from flashmd.pde import Surrogate, SurrogateTraining

from .cases import FREE, LEFT, RIGHT, column, settings
from .test_dynamics import pair_model


def refusal(text: str) -> object:
    return pytest.raises((ValueError, TypeError), match=re.escape(text))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"time_step": 0.0}, "`time_step`: expected a positive number, got 0.0. To fix it, choose one well below"),
        ({"atol": -1.0}, "the tolerances: expected numbers of at least 0, got rtol=0.0, atol=-1.0"),
        ({"paths_per_point": 3}, "`paths_per_point`: expected at least 4 for two draws, got 3"),
        ({"paths_per_point": 1, "antithetic": False}, "`paths_per_point`: expected at least 2 for two draws, got 1"),
        ({"max_steps": 0}, "`max_steps`: expected at least 1, got 0"),
        ({"roulette_steps": 16}, "`roulette_steps`: expected more than 16, got 16"),
        ({"form": "weak"}, "`form`: expected one of martingale, residual, auto, got 'weak'"),
        ({"exits": "door"}, "`exits`: expected one of bridge, shift, steps, got 'door'"),
    ],
)
def test_settings(changes: dict[str, object], text: str) -> None:
    with refusal(text):
        settings(**changes)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kT": 0.0}, "`kT`: expected a positive number, got 0.0"),
        ({"kT": 1.0, "friction": -1.0}, "`friction`: expected a positive number, got -1.0"),
        ({"kT": 1.0, "masses": torch.tensor([1.0, 0.0])}, "`masses`: expected a positive number, or [d] of them"),
    ],
)
@pytest.mark.parametrize("kind", [Overdamped, Langevin])
def test_dynamics(kind: type, arguments: dict[str, object], text: str) -> None:
    with refusal(text):
        kind(lambda x: x.sum(1), **arguments)


def test_potentials() -> None:
    with refusal(
        "`potential`: expected a function from x [n, d] to energies [n], or `SystemForces`, got HarmonicBonds"
    ):
        Overdamped(pair_model().model, kT=1.0)  # type: ignore[arg-type]
    with refusal("`template`: expected one system, got 2. To fix it, pass one system"):
        SystemForces(pair_model().model, pair_model().template.replicate(2))
    with refusal("`x`: expected 6 columns, got 3"):
        kolmogorov(Overdamped(pair_model(), kT=1.0), lambda x: x[:, 0], t=1.0, x=torch.zeros(1, 3), settings=settings())
    with refusal("the potential: expected a result of shape (200,), got (200, 1)"):
        committor(Overdamped(lambda x: x, kT=1.0), LEFT, RIGHT, x=column(0.0), settings=settings())


def test_a_potential_that_is_not_finite_is_named() -> None:
    broken = Overdamped(lambda x: (x[:, 0] - 0.5).sqrt() * 0.0 + x[:, 0], kT=1.0)
    with refusal(
        "`potential`: expected finite values, got NaN or infinity. To fix it, make it finite wherever paths go"
    ):
        committor(broken, LEFT, RIGHT, x=column(0.0), settings=settings())


def test_a_surrogate_that_is_not_finite_is_named() -> None:
    for form in ("martingale", "residual"):
        with refusal("`surrogate`: expected finite values, got NaN or infinity"):
            committor(
                FREE, LEFT, RIGHT, x=column(0.0), settings=settings(form=form),
                surrogate=lambda x: (0.5 - x[:, 0]).sqrt(),
            )  # fmt: skip


def test_a_level_that_is_not_finite_is_named() -> None:
    broken = AbsorbingSet(lambda x: 1.0 - x[:, 0] + 0.0 * (0.5 - x[:, 0]).sqrt())
    for exits in ("bridge", "steps"):
        with refusal("`level`: expected finite values, got NaN or infinity"):
            committor(FREE, LEFT, broken, x=column(0.0), settings=settings(exits=exits))


def test_an_observable_that_is_not_finite_is_named() -> None:
    with refusal("`observable`: expected finite values, got NaN or infinity"):
        kolmogorov(FREE, lambda x: x[:, 0].log(), t=0.1, x=column(0.0), settings=settings())
    with refusal("the observable: expected a result of shape (200,), got (200, 1)"):
        kolmogorov(FREE, lambda x: x, t=0.1, x=column(0.0), settings=settings())


def test_sets() -> None:
    with refusal("`radius`: expected a positive number, got 0.0"):
        ball([0.0], 0.0)
    with refusal("`normal`: expected a vector that is not zero, got [0.0, 0.0]"):
        half_space([0.0, 0.0], 1.0)
    with refusal("the level of a set: expected a result of shape (1,), got (1, 1)"):
        committor(FREE, AbsorbingSet(lambda x: x), RIGHT, x=column(0.0), settings=settings())


def test_a_set_without_a_gradient() -> None:
    rough = AbsorbingSet(lambda x: torch.from_numpy(1.0 - x.detach().numpy()[:, 0]))
    with refusal("the level of a set: expected a differentiable function, got a result without a gradient"):
        committor(FREE, LEFT, rough, x=column(0.0), settings=settings())
    estimate = committor(FREE, LEFT, rough, x=column(0.0), settings=settings(exits="steps", paths_per_point=4))
    assert estimate.degrees_of_freedom == 1


def test_starts() -> None:
    with refusal("`x` of point 1: expected a point outside the absorbing sets, got one inside"):
        committor(FREE, LEFT, RIGHT, x=column(0.0, 1.5), settings=settings())
    with refusal("`x` of point 0: expected finite numbers, got NaN or infinity"):
        mfpt(FREE, RIGHT, x=column(float("nan")), settings=settings())
    with refusal("`x`: expected shape (n, d) with n > 0, got (1,)"):
        mfpt(FREE, RIGHT, x=torch.zeros(1), settings=settings())
    with refusal("the time: expected a positive number, got 0.0"):
        survival(FREE, RIGHT, t=0.0, x=column(0.0), settings=settings())


def test_overlapping_sets() -> None:
    with refusal("the absorbing sets: expected sets without common points, got point 0 lies in both"):
        committor(FREE, RIGHT, half_space([1.0], 0.5), x=column(2.0), settings=settings())
    with refusal("the absorbing sets: expected sets without common points, got a path that reached a point of both"):
        committor(FREE, RIGHT, half_space([1.0], 0.99), x=column(0.5), settings=settings(exits="steps"))


def test_surrogates() -> None:
    with refusal("the surrogate: expected a result of shape (1,), got (1, 1)"):
        committor(FREE, LEFT, RIGHT, x=column(0.0), settings=settings(), surrogate=lambda x: x)
    residual = settings(form="residual")
    with refusal('form "residual": expected a surrogate, got None. To fix it, pass form="martingale"'):
        committor(FREE, LEFT, RIGHT, x=column(0.0), settings=residual)
    kinked = Surrogate(lambda t, x: x[:, 0].relu(), smooth=False)
    with refusal('form "residual": expected second derivatives, got a surrogate without them'):
        committor(FREE, LEFT, RIGHT, x=column(0.0), settings=residual, surrogate=kinked)
    heavy = Langevin(lambda x: 0.0 * x.sum(1), kT=1.0)
    with refusal('form "residual": expected overdamped dynamics, got dynamics with velocities'):
        committor(heavy, LEFT, RIGHT, x=column(0.0), settings=residual, surrogate=lambda x: x[:, 0])


def test_labels() -> None:
    network = BoundaryNetwork(1, [4], B=RIGHT)
    with refusal("`labels`: expected finite numbers of shape (2,), got shape (1,)"):
        fit_surrogate(network, column(0.0, 0.5), torch.ones(1), SurrogateTraining())


def test_problems() -> None:
    with refusal("the shell: expected d >= 2 and 0 < inner < outer, got d=1, inner=1.0, outer=2.0"):
        radial_problem(1, inner=1.0, outer=2.0)
    with refusal("`kT`: expected one of 10.0, 15.0, 20.0, got 12.0"):
        MuellerBrownTable.at(12.0)
    with refusal("`harmonic`: expected at least 0, got -1"):
        MuellerBrownTable.at(10.0, harmonic=-1)


def test_rates() -> None:
    x, paths = column(-2.0, 0.0, 2.0), PathSettings(time_step=1e-2, paths_per_point=4)
    smooth = lambda x: 0.5 + 0.5 * torch.tanh(3.0 * x[:, 0])  # noqa: E731
    with refusal("the surrogate of a rate: expected a smooth committor, got none"):
        rate(FREE, LEFT, RIGHT, samples=x, surrogate=None, settings=paths)
    with refusal("the surrogate of a rate: expected second derivatives, got kinks"):
        rate(FREE, LEFT, RIGHT, samples=x, surrogate=Surrogate(lambda t, x: x[:, 0], smooth=False), settings=paths)
    with refusal("the surrogate of a rate: expected values below 0.1 in A and above 0.9 in B, got others"):
        rate(FREE, LEFT, RIGHT, samples=x, surrogate=lambda x: 0.2 + 0.0 * x[:, 0], settings=paths)
    with refusal("`weights`: expected finite weights of shape (3,), got shape (2,)"):
        rate(FREE, LEFT, RIGHT, samples=x, surrogate=smooth, settings=paths, weights=torch.ones(2))
    with refusal("`samples`: expected points between the sets, got none"):
        rate(FREE, LEFT, RIGHT, samples=x[::2], surrogate=smooth, settings=paths)
