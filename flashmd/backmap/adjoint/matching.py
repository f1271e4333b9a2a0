"""Adjoint matching: teach a flow to draw from its own law, tilted by an energy.

With the base flow's law p(x_1) and an energy E in units of RT, the target is p*(x_1) ~ p(x_1) exp(-E(x_1)). Paths are
drawn from the memoryless process of the flow being trained; the lean adjoint a runs back along them through the frozen
base,

    a_K = dE/dx (x_K),   b_k+1 = (dG_k/dx)^T a_k+1,   a_k = c_k b_k+1 + d_k (dv_base/dx)^T b_k+1,

where G_k is the correction of a guided flow after step k; and the loss of a path is

    sum over k of norm(d_k / s_k L^-1 (v - v_base)(x_k) + s_k L^T b_k+1)^2

(Domingo-Enrich et al., arXiv:2409.08861, eq. 37 and algorithm 2, in whitened coordinates and for finite steps).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.adjoint.process import GaussianPrior, MemorylessStep

Velocity = Callable[[Tensor, float], Tensor]
"""Velocity [n, d] of coordinates [n, d] at a time."""
Correction = Callable[[Tensor, float, float], Tensor]
"""Displacement [n, d] to add to coordinates [n, d] after a step that ends at a time and took a time."""


@dataclass(frozen=True)
class NoisyPath:
    """A path of the process.

    Attributes:
        states: before each step and after the last: [n, d] each.
        proposals: after each step, before the correction; the states themselves in a flow without one.
    """

    states: tuple[Tensor, ...]
    proposals: tuple[Tensor, ...]


@torch.no_grad()
def draw_path(
    velocity: Velocity,
    prior: GaussianPrior,
    steps: Sequence[MemorylessStep],
    noise: Tensor,
    *,
    correction: Correction | None = None,
) -> NoisyPath:
    """Follow the memoryless process.

    Args:
        velocity: of the flow that is trained.
        prior: start of the flow.
        steps: steps of the process.
        noise: [n_steps, n, d], standard normal numbers: of the start and of all steps but the last, which has none.
        correction: of a guided flow.

    Example:
        >>> import torch
        >>> from flashmd.backmap.adjoint import GaussianPrior, draw_path, memoryless_steps
        >>> steps, noise = memoryless_steps([0.0, 0.5, 1.0]), torch.randn(2, 4, 1)
        >>> prior = GaussianPrior(torch.zeros(4, 1), torch.ones(4, 1, 1))
        >>> draw_path(lambda x, t: (3.0 - x) / (1 - t), prior, steps, noise).states[-1].flatten()
        tensor([3., 3., 3., 3.])
    """
    state = prior.mean + prior.spread(noise[0])
    states, proposals = [state], []
    for index, step in enumerate(steps):
        moved = prior.mean + step.keep * (state - prior.mean) + step.drift * velocity(state, step.time)
        if index + 1 < len(steps):
            moved = moved + step.noise * prior.spread(noise[index + 1])
        proposals.append(moved)
        state = moved if correction is None else moved + correction(moved, step.end, step.end - step.time)
        states.append(state)
    return NoisyPath(tuple(states), tuple(proposals))


@dataclass(frozen=True)
class Adjoint:
    """What a path says of the velocity at its states, one entry for each step.

    Attributes:
        base: [n, d], velocity of the base.
        gradient: [n, d], b after the step.
    """

    base: tuple[Tensor, ...]
    gradient: tuple[Tensor, ...]


def lean_adjoint(
    base: Velocity,
    steps: Sequence[MemorylessStep],
    path: NoisyPath,
    terminal: Tensor,
    *,
    correction: Correction | None = None,
    limit: Callable[[Tensor], Tensor] | None = None,
) -> Adjoint:
    """Carry the gradient of the energy back along a path.

    Args:
        base: the frozen velocity.
        steps: steps of the process.
        path: what `draw_path` returned.
        terminal: [n, d], gradient of the energy at the last state.
        correction: of a guided flow; its derivative is taken where it has one.
        limit: applied to the gradient after every step, to cut it off.

    Example:
        >>> import torch
        >>> from flashmd.backmap.adjoint import GaussianPrior, draw_path, lean_adjoint, memoryless_steps
        >>> steps, noise = memoryless_steps([0.0, 0.5, 1.0]), torch.randn(2, 4, 1)
        >>> prior = GaussianPrior(torch.zeros(4, 1), torch.ones(4, 1, 1))
        >>> path = draw_path(lambda x, t: -x, prior, steps, noise)
        >>> adjoint = lean_adjoint(lambda x, t: -x, steps, path, torch.ones(4, 1))
        >>> [float(each[0]) for each in adjoint.gradient]
        [0.5, 1.0]
    """
    velocities, gradients = [], []
    adjoint = terminal
    for step, state, proposal in zip(steps[::-1], path.states[-2::-1], path.proposals[::-1], strict=True):
        if correction is not None:
            after = (step.end, step.end - step.time)
            adjoint = adjoint + _pulled(correction, proposal, after, adjoint)[1]
        velocity, pulled = _pulled(base, state, (step.time,), adjoint)
        velocities.append(velocity)
        gradients.append(adjoint)
        adjoint = step.keep * adjoint + step.drift * pulled
        if limit is not None:
            adjoint = limit(adjoint)
    return Adjoint(tuple(velocities[::-1]), tuple(gradients[::-1]))


def _pulled(
    function: Callable[..., Tensor], at: Tensor, times: tuple[float, ...], gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a function's value and the product of a gradient with its Jacobian, zero where it has none."""
    with torch.enable_grad():
        leaf = at.detach().requires_grad_()
        value = function(leaf, *times)
        if not value.requires_grad:
            return value, torch.zeros_like(leaf)
        (pulled,) = torch.autograd.grad(value, leaf, gradient)
    return value.detach(), pulled


def matching_loss(
    velocity: Velocity,
    prior: GaussianPrior,
    steps: Sequence[MemorylessStep],
    path: NoisyPath,
    adjoint: Adjoint,
    *,
    chosen: Sequence[int],
) -> Tensor:
    """Return the loss of a path, summed over some of its steps: [n].

    Args:
        velocity: of the flow that is trained, differentiable with respect to its parameters.
        prior: start of the flow.
        steps: steps of the process.
        path: drawn with the same flow.
        adjoint: of that path.
        chosen: indices of steps; the last has no noise and cannot be chosen.

    Example:
        >>> import torch
        >>> from flashmd.backmap.adjoint import GaussianPrior, draw_path, lean_adjoint, matching_loss, memoryless_steps
        >>> steps, noise = memoryless_steps([0.0, 0.5, 1.0]), torch.randn(2, 4, 1)
        >>> prior = GaussianPrior(torch.zeros(4, 1), torch.ones(4, 1, 1))
        >>> path = draw_path(lambda x, t: -x, prior, steps, noise)
        >>> adjoint = lean_adjoint(lambda x, t: -x, steps, path, torch.zeros(4, 1))
        >>> matching_loss(lambda x, t: -x, prior, steps, path, adjoint, chosen=[0])
        tensor([0., 0., 0., 0.])
    """
    total = path.states[0].new_zeros(path.states[0].shape[0])
    for index in chosen:
        step = steps[index]
        change = velocity(path.states[index], step.time) - adjoint.base[index]
        control = (step.drift / step.noise) * prior.whiten(change)
        total = total + (control + step.noise * prior.gather(adjoint.gradient[index])).square().sum(-1)
    return total
