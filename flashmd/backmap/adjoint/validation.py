"""Held-out structures: always the same chains and the same noise, so that models differ by their weights alone."""

from __future__ import annotations

import torch

from flashmd.backmap.adjoint.config import PostTraining
from flashmd.backmap.adjoint.proteins import Protein
from flashmd.backmap.model import BackmapModel

_FIRST_SEED = 1_000_000_007


class Validation:
    """Draws structures of held-out chains as a user would and measures them.

    Args:
        config: the post-training.
        proteins: held-out chains.
    """

    def __init__(self, config: PostTraining, proteins: list[Protein]) -> None:
        self._config, self._proteins = config, proteins

    def __call__(self, model: BackmapModel) -> tuple[float, float]:
        """Return the median energy, kJ/mol for each residue, and the spread of structures over the noise, nm."""
        energies, squares, count = [], 0.0, 0
        n_structures = self._config.validation_structures
        for index, protein in enumerate(self._proteins):
            drawn = model.sample(
                protein.chains,
                protein.positions.expand(n_structures, -1, -1, -1),
                protein.known,
                seeds=_FIRST_SEED + n_structures * index + torch.arange(n_structures),
                steps=self._config.sampling_steps,
                guidance=protein.guidance if self._config.guided else None,
            )
            batch = protein.energy(drawn)
            energies.append(batch.energy / protein.chains.n_residues)
            free = drawn[:, protein.chains.mask & ~protein.known]
            squares += float((free - free.mean(0)).double().square().sum())
            count += free.shape[0] * free.shape[1]
        found = torch.cat(energies)
        return found[~found.isnan()].median().item(), (squares / count) ** 0.5
