"""Force-field energies as functions of heavy atoms: hydrogens placed, energies evaluated, gradients carried back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.force_fields.energy_workers import EnergyBatch, EnergyWorkers
from flashmd.backmap.hydrogens.protonation import all_atoms
from flashmd.backmap.hydrogens.riding import Riding
from flashmd.backmap.hydrogens.torsions import choose_torsions
from flashmd.backmap.residues import RESIDUES, slot

_CYSTEINE = RESIDUES.index("CYS")
_BONDED_SULFURS = 0.25
"""nm, sulphurs closer than this form a disulfide."""


def bonded_cysteines(chains: Chains, positions: Tensor) -> list[tuple[int, int]]:
    """Return the pairs of cysteines that a structure joins by a disulfide.

    Args:
        chains: the residues.
        positions: [n_residues, 14, 3], nm.

    Example:
        >>> import torch
        >>> bonded_cysteines(Chains.from_sequence("CGC"), torch.zeros(3, 14, 3))
        [(0, 2)]
    """
    residues = (chains.types == _CYSTEINE).nonzero()[:, 0]
    sulfurs = positions[residues, slot("CYS", "SG")]
    close = (torch.cdist(sulfurs, sulfurs) < _BONDED_SULFURS).triu(1)
    pairs: list[tuple[int, int]] = []
    for first, second in close.nonzero().tolist():
        one, other = int(residues[first]), int(residues[second])
        if not any(index in pair for pair in pairs for index in (one, other)):
            pairs.append((one, other))
    return pairs


@dataclass(frozen=True)
class HeavyEnergy:
    """The energy of one protein as a function of its heavy atoms.

    Attributes:
        workers: evaluate the force field.
        riding: the hydrogens.
        charges: [n_atoms], elementary charges.

    Example:
        >>> import torch
        >>> from flashmd.backmap.force_fields import EnergyWorkers
        >>> chains = Chains.from_sequence("GSG")
        >>> positions = chains.pad(0.4 * torch.randn(2, chains.n_atoms, 3, generator=torch.Generator().manual_seed(0)))
        >>> with EnergyWorkers("amber14-gbn2") as workers:
        ...     energy = HeavyEnergy.of(chains, workers)
        ...     batch = energy(positions)
        >>> batch.energy.shape, batch.gradient.shape
        (torch.Size([2]), torch.Size([2, 3, 14, 3]))
    """

    workers: EnergyWorkers
    riding: Riding
    charges: Tensor

    @classmethod
    def of(cls, chains: Chains, workers: EnergyWorkers, *, reference: Tensor | None = None) -> HeavyEnergy:
        """Prepare a protein.

        Args:
            chains: the residues.
            workers: evaluate the force field.
            reference: [n_residues, 14, 3], nm, a structure whose disulfides are taken over.
        """
        bridges = [] if reference is None else bonded_cysteines(chains, reference)
        riding = Riding(all_atoms(chains, disulfides=bridges))
        return cls(workers, riding, workers.charges(riding.atoms))

    def __call__(self, positions: Tensor) -> EnergyBatch:
        """Return energies, kJ/mol, and gradients [n_frames, n_residues, 14, 3], kJ/mol/nm; zero in empty slots.

        Args:
            positions: [n_frames, n_residues, 14, 3], nm.
        """
        chains = self.riding.atoms.chains
        heavy = chains.flatten(positions.double())
        torsions = choose_torsions(self.riding, heavy, self.charges)
        batch = self.workers(self.riding.atoms, self.riding(heavy, torsions))
        pulled = self.riding.pull_back(heavy, torsions, batch.gradient)
        gradient = torch.zeros_like(positions, dtype=torch.float64)
        gradient[..., chains.mask, :] = pulled
        return EnergyBatch(batch.energy, gradient, batch.failed)
