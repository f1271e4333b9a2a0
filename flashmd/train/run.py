"""A whole training: data, priors, network, figures and the saved model.

The output folder holds `config.resolved.yaml`, `curves.csv`, `curves.png`, `training.safetensors` (the state between
two epochs), `model.safetensors` (priors and network) and `metrics.json`.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch

import flashmd
from flashmd.cg import CA_TYPES
from flashmd.files import writing
from flashmd.nn import SchNet
from flashmd.potential import Potential, SchNetPotential, SumPotential, checkpoint
from flashmd.train.config import TrainConfig
from flashmd.train.dataset import ForceDataset, Split, load_dataset, split_by_trajectory
from flashmd.train.force_matching import mean_square_error, prior_forces
from flashmd.train.priors_fit import fit_priors
from flashmd.train.state import AGAIN, CurvePoint
from flashmd.train.trainer import Frames, Trainer

MODEL_FILE = "model.safetensors"
_STATE_FILE = "training.safetensors"


@dataclass(frozen=True)
class SetMetrics:
    """Errors on one set of frames, mean squares of a force component in (kJ/mol/nm)^2.

    Attributes:
        n_frames: frames of the set.
        n_trajectories: continuous trajectories of the set.
        reference: mean square of the reference forces: the error of no model at all.
        prior: error of the priors alone.
        model: error of the trained model; bounded below by the noise of the mapped forces.
        explained: share of the prior's error that the network removed.
    """

    n_frames: int
    n_trajectories: int
    reference: float
    prior: float
    model: float
    explained: float


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves behind.

    Attributes:
        potential: priors and network, as saved.
        metrics: by set: train, validation and, where there is one, test.
        curve: the learning curve.
    """

    potential: Potential
    metrics: Mapping[str, SetMetrics]
    curve: Sequence[CurvePoint]


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
    with writing(config.output, advice=AGAIN):
        config.output.mkdir(parents=True, exist_ok=True)
        (config.output / "config.resolved.yaml").write_text(config.to_yaml(), encoding="utf-8")
    trainer = Trainer(
        network,
        dataset.types,
        train=frames["train"],
        validation=frames["validation"],
        settings=config.settings(),
        state_path=config.output / _STATE_FILE,
        fingerprint=_fingerprint(config),
    )
    curve = trainer.run(on_epoch).curve
    metrics = {name: _metrics(trainer, part, frames[name]) for name, part in _sets(split).items()}
    network_term = SchNetPotential(network, bead_types=CA_TYPES)
    terms = cast("dict[str, Potential]", dict(prior.potentials.items()))
    potential = SumPotential({"SchNet": network_term, **terms})
    result = TrainingResult(potential=potential, metrics=metrics, curve=curve)
    _write(result, config, dataset)
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


def _fingerprint(config: TrainConfig) -> str:
    """Hash of everything that decides the result of a training."""
    keys = {k: v for k, v in config.resolved().items() if k not in ("dataset", "output", "threads")}
    digest = hashlib.sha256(json.dumps(keys, sort_keys=True).encode())
    digest.update(_sha256(config.dataset).encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(result: TrainingResult, config: TrainConfig, dataset: ForceDataset) -> None:
    metrics = {name: asdict(values) for name, values in result.metrics.items()}
    settings = {k: v for k, v in config.resolved().items() if k not in ("dataset", "output", "threads")}
    metadata: dict[str, Any] = {
        "flashmd": flashmd.__version__,
        "training": settings,
        "dataset": {"name": config.dataset.name, "sha256": _sha256(config.dataset), "origin": dict(dataset.provenance)},
        "metrics": metrics,
        "epochs": len(result.curve),
    }
    checkpoint.save(result.potential, config.output / MODEL_FILE, metadata)
    with writing(config.output, advice=AGAIN):
        (config.output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        with (config.output / "curves.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(asdict(result.curve[0])))
            writer.writeheader()
            writer.writerows(asdict(point) for point in result.curve)
        _plot(result, config.output / "curves.png")


def _plot(result: TrainingResult, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    epochs = [point.epoch for point in result.curve]
    axes.plot(epochs, [point.train for point in result.curve], label="training")
    axes.plot(epochs, [point.validation for point in result.curve], label="validation")
    axes.axhline(result.metrics["validation"].prior, color="0.5", linestyle=":", label="priors alone, validation")
    axes.set(xlabel="epoch", ylabel="mean square force error / (kJ/mol/nm)$^2$")
    axes.legend()
    figure.savefig(path, dpi=150)
