r"""Rates between two sets from equilibrium samples and corrected committors.

For a smooth function theta that is 0 near A and 1 near B, the reactive flux is

.. math::
    J = -\langle (q - \tfrac12)\,L^\ast\theta \rangle, \qquad
    k_{AB} = J / \langle 1 - q\rangle, \quad k_{BA} = J / \langle q \rangle,

with the generator of the dynamics backwards in time: :math:`L^\ast\theta = L\theta` without velocities and
:math:`-v\cdot\nabla\theta` with them. It is linear in the committor, so unbiased values of q at the samples give an
unbiased flux, whatever theta is (E and Vanden-Eijnden, doi:10.1146/annurev.physchem.040808.090412, for the flux). theta
is a smooth step of the surrogate; a good surrogate makes it a good reaction coordinate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.kinetics.dynamics import Dynamics
from flashmd.kinetics.estimators import Guess, as_surrogate, estimate
from flashmd.kinetics.problem import StoppedProblem
from flashmd.kinetics.sets import AbsorbingSet
from flashmd.kinetics.settings import PathSettings
from flashmd.ops import philox_normal
from flashmd.pde.estimate import Estimate
from flashmd.pde.streams import child_streams, point_streams
from flashmd.pde.surrogate import Surrogate

_LOW, _HIGH = 0.1, 0.9
_VELOCITIES = 12
_FIX = "pass a smooth committor, such as `BoundaryNetwork`"


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
        dynamics: equation of motion.
        A: one state.
        B: the other.
        samples: [n, d], independent points of the equilibrium distribution, inside the sets as well, or of any
            other distribution with `weights`.
        surrogate: committor, below 0.1 in A and above 0.9 in B; with second derivatives for overdamped dynamics. With
            velocities it is a function of [n, 2 d], as `Langevin.lift` makes it.
        settings: of the paths from each sample; a few for each are enough.
        weights: [n], equilibrium density over that of the samples, up to a factor.

    Raises:
        ValueError: a surrogate without second derivatives or of wrong values in the sets, weights that do not fit.

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
    if guess is None:
        raise ValueError(message("the surrogate of a rate", "a smooth committor", "none", _FIX))
    x = torch.as_tensor(samples).detach().to(torch.float64)
    density = _weights(weights, x)
    inside_a, inside_b = A.contains(x), B.contains(x)
    _check_step(_at_rest(dynamics, guess, x), inside_a, inside_b)
    between = ~(inside_a | inside_b) & (density > 0.0)
    if not bool(between.any()):
        fix = "add samples of the transition region, for example from umbrella sampling, with weights"
        raise ValueError(message("`samples`", "points between the sets", "none", fix))
    problem = StoppedProblem(sets=(A, B), payoffs=(0.0, 1.0), limits=(0.0, 1.0))
    paths = replace(settings, atol=0.0, rtol=0.0)
    part = _moving if dynamics.has_velocities else _still
    flow, q = torch.zeros_like(density), inside_b.to(x)
    flow[between], q[between], ran = part(dynamics, problem, x[between], paths, guess)
    forward, forward_error = _ratio(density * flow, density * (1.0 - q))
    backward, backward_error = _ratio(density * flow, density * q)
    flux, flux_error = _ratio(density * flow, density)
    return Rates(forward, backward, flux, forward_error, backward_error, flux_error, ran.evaluations, ran.seconds)


def _still(
    dynamics: Dynamics, problem: StoppedProblem, x: Tensor, settings: PathSettings, guess: Surrogate
) -> tuple[Tensor, Tensor, Estimate]:
    """Flow and committor at x [n, d], [n] each, without velocities."""
    curvature = _step_generator(dynamics, guess, x)
    ran = estimate(dynamics, problem, x, settings, guess)
    return -curvature * (ran.value - 0.5), ran.value, ran


def _moving(
    dynamics: Dynamics, problem: StoppedProblem, x: Tensor, settings: PathSettings, guess: Surrogate
) -> tuple[Tensor, Tensor, Estimate]:
    """Flow and mean committor at x [n, d], [n] each, from a velocity of Maxwell's distribution and its opposite."""
    rest = torch.zeros_like(x[:, 0])
    keys = child_streams(point_streams(rest, x), _VELOCITIES, 0, 1)[:, 0]
    drawn = philox_normal(settings.seed, keys, 0, x.shape[1], dtype=torch.float64)
    velocity = dynamics.thermal_speed.to(x) * drawn
    both = torch.cat([velocity, -velocity])
    ran = estimate(dynamics, problem, x.repeat(2, 1), settings, guess, both)
    along, against = ran.value.chunk(2)
    jet = guess.gradient(rest, torch.cat([x, torch.zeros_like(x)], 1))
    slope, _ = _step_slopes(jet.value)
    advance = slope * (velocity * jet.gradient[:, : x.shape[1]]).sum(1)
    return (0.5 * advance * (along - against)).detach(), 0.5 * (along + against), ran


def _weights(weights: Tensor | None, x: Tensor) -> Tensor:
    if weights is None:
        return torch.ones_like(x[:, 0])
    if tuple(weights.shape) != (x.shape[0],) or not bool(((weights >= 0.0) & weights.isfinite()).all()):
        got, fix = f"shape {tuple(weights.shape)}", "pass one number of at least 0 for each sample"
        raise ValueError(message("`weights`", f"finite weights of shape ({x.shape[0]},)", got, fix))
    return weights.to(x)


def _step_generator(dynamics: Dynamics, surrogate: Surrogate, x: Tensor) -> Tensor:
    """L theta at x, [n]."""
    if not surrogate.has_second:
        raise ValueError(message("the surrogate of a rate", "second derivatives", "kinks", _FIX))
    sigma = dynamics.noise.to(x).expand(x.shape[1])
    jet = surrogate.jet(torch.zeros_like(x[:, 0]), x, sigma[None])
    assert jet.second is not None  # noqa: S101 - `jet` always has it
    slope, bend = _step_slopes(jet.value)
    spread = 0.5 * (sigma * jet.gradient).square().sum(1)
    return (slope * ((dynamics.drift(x) * jet.gradient).sum(1) + jet.second) + bend * spread).detach()


def _step_slopes(value: Tensor) -> tuple[Tensor, Tensor]:
    """First and second derivative of the smooth step of a surrogate of some value, [n] each."""
    width = _HIGH - _LOW
    s = ((value - _LOW) / width).clamp(0.0, 1.0)
    return 6.0 * s * (1.0 - s) / width, torch.where((s > 0.0) & (s < 1.0), (6.0 - 12.0 * s) / width**2, 0.0)


def _at_rest(dynamics: Dynamics, surrogate: Surrogate, x: Tensor) -> Tensor:
    """The surrogate at x, [n], of particles that do not move."""
    place = torch.cat([x, torch.zeros_like(x)], 1) if dynamics.has_velocities else x
    return surrogate.value(torch.zeros_like(x[:, 0]), place)


def _check_step(value: Tensor, inside_a: Tensor, inside_b: Tensor) -> None:
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
