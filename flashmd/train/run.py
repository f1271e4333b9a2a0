"""A whole training: data, priors or atomic energies, network, and what :mod:`flashmd.train.output` writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch

from flashmd.cg import CA_TYPES
from flashmd.nn import SchNet
from flashmd.potential import Potential, SchNetPotential, SumPotential
from flashmd.train.config import TrainConfig
from flashmd.train.dataset import ForceDataset, Split, load_dataset, split_by_trajectory
from flashmd.train.energy_matching import MoleculeTrainer, fit_atomic_energies, molecule_errors
from flashmd.train.force_matching import mean_square_error, prior_forces
from flashmd.train.molecules import MoleculeDataset, load_molecules
from flashmd.train.output import STATE_FILE, SetMetrics, TrainingResult, fingerprint, start_output, write_result
from flashmd.train.priors_fit import fit_priors
from flashmd.train.state import CurvePoint
from flashmd.train.trainer import Frames, Trainer


def train(config: TrainConfig, on_epoch: Callable[[CurvePoint], None] | None = None) -> TrainingResult:
    """Train a model and write it; continue where an earlier call was interrupted.

    Args:
        config: the training.
        on_epoch: called after each epoch.

    Raises:
        ValueError: the data do not fit the configuration.
        CheckpointError: the output folder holds the state of another training.
        OutputError: the disk is full or not writable.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.energy_length is not None:
        return _train_on_energies(config, config.energy_length, on_epoch)
    dataset = load_dataset(config.dataset)
    used = dataset.between(config.lowest_temperature or 0.0, config.highest_temperature or float("inf"))
    split = split_by_trajectory(
        used,
        validation_fraction=config.split.validation_fraction,
        test_fraction=config.split.test_fraction,
        seed=config.seed,
    )
    prior = fit_priors(split.train, **config.priors.model_dump())
    frames = {name: _frames(prior, part) for name, part in _sets(split).items()}
    network = SchNet(config.network.schnet(max(CA_TYPES.values()) + 1), seed=config.seed)
    start_output(config)
    trainer = Trainer(
        network,
        dataset.types,
        train=frames["train"],
        validation=frames["validation"],
        settings=config.settings(),
        state_path=config.output / STATE_FILE,
        fingerprint=fingerprint(config),
    )
    curve = trainer.run(on_epoch).curve
    metrics = {name: _metrics(trainer, part, frames[name]) for name, part in _sets(split).items()}
    network_term = SchNetPotential(network, bead_types=CA_TYPES)
    terms = cast("dict[str, Potential]", dict(prior.potentials.items()))
    potential = SumPotential({"SchNet": network_term, **terms})
    result = TrainingResult(potential=potential, metrics=metrics, curve=curve)
    write_result(result, config, dataset.provenance)
    return result


def _sets(split: Split) -> dict[str, ForceDataset]:
    sets = {"train": split.train, "validation": split.validation}
    return sets if split.test is None else {**sets, "test": split.test}


def _frames(prior: Potential, dataset: ForceDataset) -> Frames:
    return Frames(positions=dataset.positions, target=dataset.forces - prior_forces(prior, dataset))


def _metrics(trainer: Trainer, dataset: ForceDataset, frames: Frames) -> SetMetrics:
    model = mean_square_error(trainer.energies, frames.positions, frames.target)
    return SetMetrics(
        n_frames=dataset.n_frames,
        n_trajectories=int(torch.unique(dataset.trajectory).shape[0]),
        reference=float(dataset.forces.double().square().mean()),
        prior=frames.mean_square,
        model=model,
        explained=1.0 - model / frames.mean_square,
    )


def _train_on_energies(
    config: TrainConfig, energy_length: float, on_epoch: Callable[[CurvePoint], None] | None
) -> TrainingResult:
    """Train on energies and forces of many molecules."""
    dataset = load_molecules(config.dataset)
    lowest, highest = config.lowest_temperature or 0.0, config.highest_temperature or float("inf")
    sets = dataset.between(lowest, highest).split(**config.split.model_dump(), seed=config.seed)
    atoms = fit_atomic_energies(sets["train"])
    network = SchNet(config.network.schnet(max(dataset.bead_types.values()) + 1), seed=config.seed)
    start_output(config)
    trainer = MoleculeTrainer(
        network,
        atoms,
        train=sets["train"],
        validation=sets["validation"],
        energy_length=energy_length,
        settings=config.settings(),
        state_path=config.output / STATE_FILE,
        fingerprint=fingerprint(config),
    )
    curve = trainer.run(on_epoch).curve
    potential = SumPotential({"SchNet": SchNetPotential(network, bead_types=dataset.bead_types), "atoms": atoms})
    metrics = {name: _metrics_with_energies(potential, part) for name, part in sets.items()}
    result = TrainingResult(potential=potential, metrics=metrics, curve=curve)
    write_result(result, config, dataset.provenance)
    return result


def _metrics_with_energies(potential: Potential, dataset: MoleculeDataset) -> SetMetrics:
    errors = molecule_errors(potential, dataset)
    reference, model = errors.force_scale**2, errors.force_rmse**2
    return SetMetrics(
        n_frames=dataset.n_frames,
        n_trajectories=int(torch.unique(dataset.trajectory).shape[0]),
        reference=reference,
        prior=reference,
        model=model,
        explained=1.0 - model / reference,
        energy=errors.energy_rmse,
    )
