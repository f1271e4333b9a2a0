"""Steps of the optimiser: draw structures, ask the force field, carry its gradient back along the paths, learn."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from flashmd.backmap.adjoint.config import PostTraining
from flashmd.backmap.adjoint.flow import ModelFlow
from flashmd.backmap.adjoint.matching import Adjoint, NoisyPath, draw_path, lean_adjoint, matching_loss
from flashmd.backmap.adjoint.process import memoryless_steps
from flashmd.backmap.adjoint.proteins import Protein
from flashmd.backmap.adjoint.state import PostState
from flashmd.backmap.prior import N_COORDINATES
from flashmd.backmap.residues import N_SLOTS
from flashmd.units import BOLTZMANN

_CLIP = 1.0
"""Largest norm of the gradient of the loss by the parameters."""


@dataclass
class Measured:
    """What the steps since the last validation measured.

    Attributes:
        losses: for each step.
        energies: of the structures, kJ/mol for each residue.
    """

    losses: list[float] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)


class Learner:
    """Takes steps that lower the loss of adjoint matching.

    Everything random follows from the seed and the number of the step, so that an interrupted run continues with the
    same numbers.

    Args:
        config: the post-training.
        state: changed by every step.
        proteins: to draw structures for.
    """

    def __init__(self, config: PostTraining, state: PostState, proteins: list[Protein]) -> None:
        self._config, self._state, self._proteins = config, state, proteins
        times = torch.linspace(0, 1, config.process_steps + 1, dtype=torch.float64).tolist()
        self._steps = memoryless_steps(times)

    def step_(self, measured: Measured) -> None:
        """Take one step and add what it measured."""
        config, state = self._config, self._state
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
        protein = self._proteins[int(torch.randint(len(self._proteins), (1,), generator=generator))]
        frames = protein.positions.expand(config.structures, -1, -1, -1)
        flow = ModelFlow.of(state.base, protein.chains, frames, protein.known)
        path, adjoint, usable = self._backward(flow, protein, generator, measured)
        chosen = self._chosen(generator)
        velocity = flow.velocity(state.model.network)
        losses = matching_loss(velocity, flow.prior, self._steps, path, adjoint, chosen=chosen)
        loss = (losses * usable).sum() / (usable.sum().clamp_min(1) * len(chosen))
        self._update_(loss)
        measured.losses.append(float(loss.detach()))

    def _backward(
        self, flow: ModelFlow, protein: Protein, generator: torch.Generator, measured: Measured
    ) -> tuple[NoisyPath, Adjoint, Tensor]:
        """Return paths, their adjoints, and which residues belong to structures with an energy: [n]."""
        config, state = self._config, self._state
        n_rows = flow.prior.mean.shape[0]
        noise = torch.randn(len(self._steps), n_rows, N_COORDINATES, generator=generator)
        correction = flow.correction(protein.guidance if config.guided else None)
        with torch.no_grad():
            velocity = flow.velocity(state.model.network)
        path = draw_path(velocity, flow.prior, self._steps, noise, correction=correction)
        batch = protein.energy(flow.positions(path.states[-1]))
        n_residues = protein.chains.n_residues
        measured.energies += (batch.energy[~batch.failed] / n_residues).tolist()
        scale = config.strength / (BOLTZMANN * config.temperature)
        terminal = self._limit(flow.gradient(scale * batch.gradient))
        base = flow.velocity(state.base.network)
        adjoint = lean_adjoint(base, self._steps, path, terminal, correction=correction, limit=self._limit)
        return path, adjoint, (~batch.failed).repeat_interleave(n_residues).to(terminal)

    def _limit(self, gradient: Tensor) -> Tensor:
        """Shorten the gradients of atoms that are longer than allowed, keeping their directions: [n, 42]."""
        atoms = gradient.view(-1, N_SLOTS, 3)
        length = atoms.norm(dim=-1, keepdim=True)
        shortened: Tensor = atoms * (self._config.largest_gradient / length.clamp_min(self._config.largest_gradient))
        return shortened.flatten(1)

    def _chosen(self, generator: torch.Generator) -> list[int]:
        """Return the steps that count: all late ones but the last, which has no noise, and some of the others."""
        count = len(self._steps)
        first_late = min(count - 2, round(count * (1 - self._config.late_share)))
        early = torch.randperm(first_late, generator=generator)[: self._config.early_steps].tolist()
        return [*sorted(early), *range(first_late, count - 1)]

    def _update_(self, loss: Tensor) -> None:
        config, state = self._config, self._state
        state.optimizer.param_groups[0]["lr"] = config.learning_rate * max(0.0, 1 - state.step / config.steps)
        state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.model.network.parameters(), _CLIP)
        state.optimizer.step()
        state.step += 1
        state.update_average_(config.average)
