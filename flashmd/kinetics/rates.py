r"""Rates between two sets from equilibrium samples and corrected committors.

For a smooth function theta that is 0 near A and 1 near B, integration by parts turns the reactive flux into

.. math::
    J = D \langle |\nabla q|^2 \rangle = D \langle \nabla\theta\cdot\nabla q \rangle
      = -\langle (q - \tfrac12)\,L\theta \rangle, \qquad
    k_{AB} = J / \langle 1 - q \rangle, \quad k_{BA} = J / \langle q \rangle,

which is linear in the committor, so that unbiased values of q at the samples give an unbiased flux, whatever theta is
(E and Vanden-Eijnden, doi:10.1146/annurev.physchem.040808.090412, for the flux). theta is a smooth step of the
surrogate; a good surrogate makes it a good reaction coordinate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.kinetics.dynamics import Dynamics
from flashmd.kinetics.estimators import Guess, as_surrogate, committor
from flashmd.kinetics.sets import AbsorbingSet
from flashmd.kinetics.settings import PathSettings
from flashmd.pde.surrogate import Surrogate

_LOW, _HIGH = 0.1, 0.9


@dataclass(frozen=True)
class Rates:
    """Hold rates and their standard errors, which include those of the samples.

    Attributes:
        forward: from A to B, 1/time.
        backward: from B to A.
        flux: reactive transitions per time.
        forward_standard_error: of `forward`.
        backward_standard_error: of `backward`.
        flux_standard_error: of `flux`.
        evaluations: of the force.
        seconds: wall-clock time.

    Example:
        >>> from flashmd.kinetics import Rates
        >>> Rates(2.0, 1.0, 0.5, 0.1, 0.1, 0.01, 1000, 1.0).forward
        2.0
    """

    forward: float
    backward: float
    flux: float
    forward_standard_error: float
    backward_standard_error: float
    flux_standard_error: float
    evaluations: int
    seconds: float


def rate(
    dynamics: Dynamics,
    A: AbsorbingSet,
    B: AbsorbingSet,
    *,
    samples: Tensor,
    surrogate: Guess,
    settings: PathSettings,
    weights: Tensor | None = None,
) -> Rates:
    """Estimate the rates of transitions between two sets.

    Args:
        dynamics: overdamped.
        A: one state.
        B: the other.
        samples: [n, d], independent points of the equilibrium distribution, inside the sets as well, or of any
            other distribution with `weights`.
        surrogate: committor with second derivatives, below 0.1 in A and above 0.9 in B.
        settings: of the paths from each sample; a few for each are enough.
        weights: [n], equilibrium density over that of the samples, up to a factor.

    Raises:
        ValueError: dynamics with velocities, a surrogate without second derivatives or of wrong values in the sets,
            weights that do not fit.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import PathSettings, hidden_double_well, rate
        >>> well = hidden_double_well(1, height=1.0)
        >>> x = torch.linspace(-3.0, 3.0, 601, dtype=torch.float64)[:, None]
        >>> result = rate(
        ...     well.dynamics,
        ...     well.A,
        ...     well.B,
        ...     samples=x,
        ...     weights=(-((x[:, 0] ** 2 - 1.0) ** 2)).exp(),
        ...     surrogate=lambda x: 0.5 + 0.5 * torch.tanh(2.0 * well.coordinate(x)),
        ...     settings=PathSettings(time_step=1e-2, paths_per_point=4),
        ... )
        >>> abs(result.forward - result.backward) < 4.0 * result.forward_standard_error
        True
    """
    guess = as_surrogate(surrogate, of_time=False)
    x = torch.as_tensor(samples).detach().to(torch.float64)
    density = _weights(weights, x)
    inside_a, inside_b = A.contains(x), B.contains(x)
    curvature = _step_generator(dynamics, guess, x)
    _check_step(guess, x, inside_a, inside_b)
    between = ~(inside_a | inside_b) & (density > 0.0)
    if not bool(between.any()):
        fix = "add samples of the transition region, for example from umbrella sampling, with weights"
        raise ValueError(message("`samples`", "points between the sets", "none", fix))
    paths = replace(settings, atol=0.0, rtol=0.0)
    estimate = committor(dynamics, A, B, x=x[between], settings=paths, surrogate=guess)
    q = inside_b.to(x)
    q[between] = estimate.value
    flow = torch.where(between, -curvature * (q - 0.5), 0.0)
    forward, forward_error = _ratio(density * flow, density * (1.0 - q))
    backward, backward_error = _ratio(density * flow, density * q)
    flux, flux_error = _ratio(density * flow, density)
    return Rates(
        forward, backward, flux, forward_error, backward_error, flux_error, estimate.evaluations, estimate.seconds
    )


def _weights(weights: Tensor | None, x: Tensor) -> Tensor:
    if weights is None:
        return torch.ones_like(x[:, 0])
    if tuple(weights.shape) != (x.shape[0],) or not bool(((weights >= 0.0) & weights.isfinite()).all()):
        got, fix = f"shape {tuple(weights.shape)}", "pass one number of at least 0 for each sample"
        raise ValueError(message("`weights`", f"finite weights of shape ({x.shape[0]},)", got, fix))
    return weights.to(x)


def _step_generator(dynamics: Dynamics, surrogate: Surrogate | None, x: Tensor) -> Tensor:
    """L theta at x, [n]."""
    if dynamics.has_velocities:
        fix = "pass `Overdamped` dynamics"
        raise ValueError(message("`dynamics`", "overdamped dynamics", "dynamics with velocities", fix))
    if surrogate is None or not surrogate.has_second:
        got, fix = "none" if surrogate is None else "kinks", "pass a smooth committor, such as `BoundaryNetwork`"
        raise ValueError(message("the surrogate of a rate", "second derivatives", got, fix))
    drift = dynamics.drift(x)
    sigma = dynamics.noise.to(x).expand(x.shape[1])
    jet = surrogate.jet(torch.zeros_like(x[:, 0]), x, sigma[None])
    assert jet.second is not None  # noqa: S101 - `jet` always has it
    width = _HIGH - _LOW
    s = ((jet.value - _LOW) / width).clamp(0.0, 1.0)
    slope = 6.0 * s * (1.0 - s) / width
    bend = torch.where((s > 0.0) & (s < 1.0), (6.0 - 12.0 * s) / width**2, 0.0)
    spread = 0.5 * (sigma * jet.gradient).square().sum(1)
    # Inside the sets the surrogate may have no derivatives, and the step has none either.
    result = slope * ((drift * jet.gradient).sum(1) + jet.second) + bend * spread
    return torch.where((s > 0.0) & (s < 1.0), result, 0.0).detach()


def _check_step(surrogate: Surrogate | None, x: Tensor, inside_a: Tensor, inside_b: Tensor) -> None:
    assert surrogate is not None  # noqa: S101 - checked before
    value = surrogate.value(torch.zeros_like(x[:, 0]), x)
    if bool((value[inside_a] > _LOW).any()) or bool((value[inside_b] < _HIGH).any()):
        fix = "use `BoundaryNetwork`, or train the surrogate inside the sets too"
        expected = f"values below {_LOW} in A and above {_HIGH} in B"
        raise ValueError(message("the surrogate of a rate", expected, "others", fix))


def _ratio(above: Tensor, below: Tensor) -> tuple[float, float]:
    """Ratio of two means of independent samples and its standard error by linearisation."""
    n = len(above)
    value = above.sum() / below.sum()
    rest = above - value * below
    error = (rest.square().sum() * n / max(n - 1, 1)).sqrt() / below.sum().abs()
    return float(value), float(error) if n > 1 else math.inf
