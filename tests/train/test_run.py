"""A whole training through the command line: outputs, the saved model, resumption."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from flashmd.cli.main import app
from flashmd.potential import checkpoint
from flashmd.train import fit_priors, load_dataset, save_dataset
from flashmd.train.dataset import split_by_trajectory
from flashmd.train.force_matching import prior_forces

from .molecules import build_chain, dataset_of


def write_data(path: Path) -> None:
    """Chains whose forces are those of their own priors plus an attraction of the ends and noise."""
    generator = torch.Generator().manual_seed(5)
    # Extended enough never to overlap: the repulsion of overlapping beads would hide everything else.
    lengths = 0.38 + 0.01 * torch.randn(1200, 5, generator=generator, dtype=torch.float64)
    cosines = -0.3 + 0.25 * torch.rand(1200, 4, generator=generator, dtype=torch.float64)
    torsions = math.pi + 2.0 * torch.rand(1200, 3, generator=generator, dtype=torch.float64) - 1.0
    positions = build_chain(lengths, cosines, torsions).float()
    plain = dataset_of(positions, n_trajectories=12)
    vector = positions[:, 5] - positions[:, 0]
    forces = prior_forces(fit_priors(plain), plain)
    forces[:, 0] += 60.0 * vector
    forces[:, 5] -= 60.0 * vector
    forces += 5.0 * torch.randn(forces.shape, generator=generator)
    save_dataset(dataset_of(positions, forces=forces, n_trajectories=12), path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("training")
    write_data(folder / "data.npz")
    config = {
        "dataset": "data.npz",
        "output": str(folder / "out"),
        "split": {"validation_fraction": 0.2, "test_fraction": 0.1},
        "network": {"n_channels": 16, "n_filters": 16, "n_basis": 12, "n_blocks": 1, "readout": [16], "cutoff": "2 nm"},
        "optimizer": {"epochs": 8, "batch_size": 50, "learning_rate": 1e-2, "average_decay": 0.9, "warmup_steps": 5},
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    result = CliRunner().invoke(app, ["train", str(folder / "train.yaml")])
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_all_files_are_written(finished: tuple[Path, str]) -> None:
    folder, output = finished
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {
        "config.resolved.yaml",
        "curves.csv",
        "curves.png",
        "metrics.json",
        "model.safetensors",
        "training.safetensors",
    }
    assert "epoch 8:" in output
    assert "% explained" in output
    with (folder / "out" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 9))


def test_the_network_explains_what_the_priors_do_not(finished: tuple[Path, str]) -> None:
    metrics = json.loads((finished[0] / "out" / "metrics.json").read_text())
    assert {name: m["n_trajectories"] for name, m in metrics.items()} == {"train": 9, "validation": 2, "test": 1}
    assert metrics["test"]["explained"] > 0.5
    assert metrics["test"]["model"] < metrics["test"]["prior"] < metrics["test"]["reference"]


def test_the_saved_model_has_the_reported_error(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    model = checkpoint.load(folder / "out" / "model.safetensors", dtype=torch.float64)
    dataset = load_dataset(folder / "data.npz")
    test = split_by_trajectory(dataset, validation_fraction=0.2, test_fraction=0.1, seed=0).test
    assert test is not None
    system = test.system(test.n_frames, dtype=torch.float64)
    forces = model.evaluate(system.with_positions(test.positions.reshape(-1, 3).double())).forces
    error = float((forces.reshape(test.forces.shape) - test.forces).square().mean())
    reported = json.loads((folder / "out" / "metrics.json").read_text())["test"]["model"]
    assert error == pytest.approx(reported, rel=1e-4)  # trained in float32
    assert model.metadata["dataset"]["name"] == "data.npz"
    assert model.bead_types is not None
    assert model.bead_types["TYR"] == 20


def test_running_again_trains_no_further_and_gives_the_same_model(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    before = (folder / "out" / "model.safetensors").read_bytes()
    result = CliRunner().invoke(app, ["train", str(folder / "train.yaml")])
    assert result.exit_code == 0, result.output
    assert "epoch" not in result.output
    assert (folder / "out" / "model.safetensors").read_bytes() == before


def test_another_configuration_does_not_overwrite(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    changed = yaml.safe_load((folder / "train.yaml").read_text())
    changed["seed"] = 9
    (folder / "other.yaml").write_text(yaml.safe_dump(changed))
    result = CliRunner().invoke(app, ["train", str(folder / "other.yaml")])
    assert result.exit_code == 1
    assert "expected a state of this training" in result.output


def test_unknown_key_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("dataset: a.npz\noutput: out\nnetwrk: {}\n")
    result = CliRunner().invoke(app, ["train", str(path)])
    assert result.exit_code == 1
    assert "write `network`" in result.output
    assert "Traceback" not in result.output
