"""What a training writes: configuration, learning curve, metrics and the model.

The output folder holds `config.resolved.yaml`, `curves.csv`, `curves.png`, `training.safetensors` (the state between
two epochs), `model.safetensors` (all terms and the network) and `metrics.json`.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import flashmd
from flashmd.files import writing
from flashmd.potential import Potential, checkpoint
from flashmd.train.config import TrainConfig
from flashmd.train.state import AGAIN, CurvePoint

MODEL_FILE = "model.safetensors"
STATE_FILE = "training.safetensors"


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
        energy: root mean square error of the energy divided by the atoms, kJ/mol; None where no energies are matched.
    """

    n_frames: int
    n_trajectories: int
    reference: float
    prior: float
    model: float
    explained: float
    energy: float | None = None


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


def start_output(config: TrainConfig) -> None:
    """Make the folder and write the configuration with all its defaults."""
    with writing(config.output, advice=AGAIN):
        config.output.mkdir(parents=True, exist_ok=True)
        (config.output / "config.resolved.yaml").write_text(config.to_yaml(), encoding="utf-8")


def fingerprint(config: TrainConfig) -> str:
    """Hash of everything that decides the result of a training."""
    keys = {k: v for k, v in config.resolved().items() if k not in ("dataset", "output", "threads")}
    digest = hashlib.sha256(json.dumps(keys, sort_keys=True).encode())
    digest.update(_sha256(config.dataset).encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_result(result: TrainingResult, config: TrainConfig, provenance: Mapping[str, Any]) -> None:
    """Write the model, its metrics and the learning curve."""
    metrics = {name: asdict(values) for name, values in result.metrics.items()}
    settings = {k: v for k, v in config.resolved().items() if k not in ("dataset", "output", "threads")}
    metadata: dict[str, Any] = {
        "flashmd": flashmd.__version__,
        "training": settings,
        "dataset": {"name": config.dataset.name, "sha256": _sha256(config.dataset), "origin": dict(provenance)},
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
    axes.axhline(
        result.metrics["validation"].prior, color="0.5", linestyle=":", label="without the network, validation"
    )
    axes.set(xlabel="epoch", ylabel="mean square force error / (kJ/mol/nm)$^2$")
    axes.legend()
    figure.savefig(path, dpi=150)
