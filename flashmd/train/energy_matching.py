r"""Match energies and forces of many molecules, with constants for the atoms taken off beforehand.

.. math:: L(\theta) = \frac{1}{s^2} \left[ \frac{1}{3 N} \sum_{atoms} |F_{ref} - F_\theta|^2
    + \frac{1}{n} \sum_{frames} \left( \frac{E_{ref} - E_{atoms} - E_\theta}{l N_{frame}} \right)^2 \right]

=====================  ===============================================
symbol                 variable
=====================  ===============================================
:math:`N`, :math:`n`   atoms and frames of the batch
:math:`l`              energy_length, nm
:math:`s^2`            scale, the mean square of the reference forces
=====================  ===============================================

An error of the energy of an atom weighs as much as a force error that would do the same work over the length.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flashmd.nn import SchNet
from flashmd.potential import AtomicEnergies, Potential, SchNetPotential
from flashmd.train.epochs import EpochTrainer, TrainingSettings
from flashmd.train.molecules import MoleculeDataset

_FRAMES_AT_ONCE = 128


def fit_atomic_energies(dataset: MoleculeDataset) -> AtomicEnergies:
    """Return the energies of the types that best add up to the energies of the frames (least squares).

    Types that no frame holds get none. Where types occur in fixed proportions only, the smallest energies are taken.

    Args:
        dataset: frames of molecules of different composition.
    """
    counts = dataset.composition()
    present = torch.nonzero(counts.any(0))[:, 0]
    # Scaled to frames of one atom, so that large molecules do not outweigh small ones.
    weight = dataset.n_atoms.double().reciprocal()
    solution = torch.linalg.lstsq(
        counts[:, present] * weight[:, None], dataset.energy[:, None] * weight[:, None], driver="gelsd"
    ).solution
    energies = dict(zip(present.tolist(), solution[:, 0].tolist(), strict=True))
    return AtomicEnergies(energies, bead_types=dataset.bead_types)


@dataclass(frozen=True)
class MoleculeErrors:
    """Errors of a potential on some frames.

    Attributes:
        n_frames: number of frames.
        energy_mae: mean absolute error of the energy of a frame divided by its atoms, kJ/mol.
        energy_rmse: root of the mean square of the same, kJ/mol.
        force_mae: mean absolute error of a force component, kJ/mol/nm.
        force_rmse: root of the mean square of the same, kJ/mol/nm.
        force_scale: root mean square of the reference forces' components, kJ/mol/nm.
    """

    n_frames: int
    energy_mae: float
    energy_rmse: float
    force_mae: float
    force_rmse: float
    force_scale: float


def molecule_errors(potential: Potential, dataset: MoleculeDataset) -> MoleculeErrors:
    """Return the errors of a potential on all frames of a data set.

    Args:
        potential: made for the types of the data set.
        dataset: frames with reference energies and forces.
    """
    energies, forces = [], []
    for frames in torch.arange(dataset.n_frames).split(_FRAMES_AT_ONCE):
        part = dataset.subset(frames)
        result = potential.evaluate(part.system(dtype=_dtype_of(potential)))
        energies.append((result.energy - part.energy) / part.n_atoms)
        forces.append(result.forces.double() - part.forces)
    energy, force = torch.cat(energies), torch.cat(forces)
    return MoleculeErrors(
        n_frames=dataset.n_frames,
        energy_mae=float(energy.abs().mean()),
        energy_rmse=float(energy.square().mean().sqrt()),
        force_mae=float(force.abs().mean()),
        force_rmse=float(force.square().mean().sqrt()),
        force_scale=float(dataset.forces.double().square().mean().sqrt()),
    )


class MoleculeTrainer(EpochTrainer):
    """Train a SchNet on energies and forces of many molecules.

    Args:
        network: network, optimised in place.
        atoms: energies of the atoms, which the network need not learn.
        train: training frames.
        validation: frames of other trajectories.
        energy_length: length by which energy errors are divided to be added to force errors, nm.
        settings: how to optimise.
        state_path: file of the state after each epoch; training continues from it where it exists.
        fingerprint: of configuration and data.
    """

    def __init__(
        self,
        network: SchNet,
        atoms: AtomicEnergies,
        *,
        train: MoleculeDataset,
        validation: MoleculeDataset,
        energy_length: float,
        settings: TrainingSettings,
        state_path: Path | None = None,
        fingerprint: str = "",
    ) -> None:
        super().__init__(
            network,
            n_frames=train.n_frames,
            scale=float(train.forces.double().square().mean()),
            settings=settings,
            state_path=state_path,
            fingerprint=fingerprint,
        )
        # Batches of frames share nothing that a list with a skin could keep.
        n_knots = settings.n_knots if settings.filters == "table" else None
        self._potential = SchNetPotential(network, skin=0.0, n_knots=n_knots)
        self._energy_length = energy_length
        self._train, self._validation = train, validation
        self._targets = {id(each): each.energy - atoms.energy(each.system()) for each in (train, validation)}

    def _accumulate_(self, frames: Tensor) -> float:
        energy, force = self._squares(self._train, frames, create_graph=True)
        loss = (force.mean() + energy.mean()) / self._scale
        torch.autograd.backward(loss)
        return float(loss.detach())

    def _validation_error(self) -> float:
        batches = torch.arange(self._validation.n_frames).split(_FRAMES_AT_ONCE)
        parts = [self._squares(self._validation, frames, create_graph=False) for frames in batches]
        energy, force = (torch.cat([part[k].detach() for part in parts]) for k in (0, 1))
        return float(force.mean() + energy.mean())

    def _squares(self, dataset: MoleculeDataset, frames: Tensor, *, create_graph: bool) -> tuple[Tensor, Tensor]:
        """Return squared errors in (kJ/mol/nm)^2 of energies [n] and of force components [n_atoms * 3], float64."""
        part = dataset.subset(frames)
        positions = part.positions.clone().requires_grad_()
        energy = self._potential.energy(part.system().with_positions(positions))
        (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=create_graph)
        energy_error = (energy - self._targets[id(dataset)][frames]) / (self._energy_length * part.n_atoms)
        return energy_error.square(), (gradient + part.forces).double().square().view(-1)


def _dtype_of(potential: Potential) -> torch.dtype:
    return next((p.dtype for p in potential.parameters()), torch.float32)
