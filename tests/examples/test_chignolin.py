"""The way of README: train a model, run it, continue the run, report on it; with the files of examples/, cut short."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from flashmd.cg import build_system, map_structure
from flashmd.cli.main import app
from flashmd.md import load_config
from flashmd.potential import load
from flashmd.train import ForceDataset, load_dataset, save_dataset
from flashmd.train.dataset import split_by_trajectory

ROOT = Path(__file__).parents[2]
RUN = ROOT / "examples" / "01_chignolin.yaml"
TRAINING = ROOT / "examples" / "train_chignolin.yaml"
STRUCTURES = ROOT / "data" / "structures"
SHIPPED_DATA = ROOT / "data" / "datasets" / "chignolin_ca.npz"
N_STEPS = 400
SAVE_INTERVAL = 10


def flashmd(*arguments: object) -> str:
    """Run the command and return what it says."""
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def two_states(n_frames: int) -> ForceDataset:
    """Hairpin and extended chain with independent noise, in trajectories at 250, 300 and 350 K; forces are noise."""
    generator = torch.Generator().manual_seed(1)
    structures = [map_structure(STRUCTURES / f"chignolin_{state}_ca.pdb") for state in ("native", "unfolded")]
    system = build_system(structures[0])
    centers = torch.stack([structure.positions[0] for structure in structures]).float()
    shape = (n_frames, *centers.shape[1:])
    frame = torch.arange(n_frames)
    return ForceDataset(
        positions=centers[frame % 2] + 0.015 * torch.randn(shape, generator=generator),
        forces=500.0 * torch.randn(shape, generator=generator),
        types=system.types,
        masses=structures[0].masses.double(),
        trajectory=frame // 100,
        temperature=torch.tensor([250.0, 300.0, 350.0])[frame // 100 % 3],
        interactions=system.interactions,
    )


def thinned(n_frames: int) -> ForceDataset:
    """The shipped data set, evenly thinned."""
    dataset = load_dataset(SHIPPED_DATA)
    return dataset.subset(torch.linspace(0, dataset.n_frames - 1, n_frames).long())


def train_on(dataset: ForceDataset, folder: Path) -> Path:
    """Train for one epoch with the example's settings and return the output folder."""
    save_dataset(dataset, folder / "data.npz")
    values = yaml.safe_load(TRAINING.read_text(encoding="utf-8"))
    values |= {"dataset": "data.npz", "output": str(folder / "out"), "threads": 1}
    values["optimizer"] |= {"epochs": 1, "batch_size": 64}
    (folder / "train.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert "epoch 1:" in flashmd("train", folder / "train.yaml")
    return folder / "out"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on(two_states(2100), tmp_path_factory.mktemp("synthetic"))


@pytest.fixture(scope="module")
def trained_on_shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on(thinned(2000), tmp_path_factory.mktemp("shipped"))


@pytest.mark.parametrize("name", ["trained", "trained_on_shipped"])
def test_training(name: str, request: pytest.FixtureRequest) -> None:
    output: Path = request.getfixturevalue(name)
    with (output / "curves.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
    # The frames and the validation set that the example asks for.
    example = yaml.safe_load(TRAINING.read_text(encoding="utf-8"))
    lowest, highest = (float(example[f"{end}_temperature"].removesuffix(" K")) for end in ("lowest", "highest"))
    dataset = load_dataset(output.parent / "data.npz")
    chosen = dataset.subset((dataset.temperature >= lowest) & (dataset.temperature <= highest))
    split = split_by_trajectory(chosen, seed=example["seed"], **example["split"])
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["train"]["n_frames"] == split.train.n_frames
    assert metrics["validation"]["n_frames"] == split.validation.n_frames
    # The saved model has the reported error.
    model = load(output / "model.safetensors", dtype=torch.float64)
    system = split.validation.system(split.validation.n_frames, dtype=torch.float64)
    positions = split.validation.positions.reshape(-1, 3).double()
    forces = model.evaluate(system.with_positions(positions)).forces.reshape(split.validation.forces.shape)
    error = (forces - split.validation.forces).square().mean().item()
    assert metrics["validation"]["model"] == pytest.approx(error, rel=1e-4)


@pytest.fixture(scope="module", params=["trained", "chignolin-ca"])
def model(request: pytest.FixtureRequest) -> str:
    if request.param == "trained":
        return str(request.getfixturevalue("trained") / "model.safetensors")
    assert load_config(RUN).model == request.param
    return request.param


@pytest.fixture(scope="module")
def run(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the example over N_STEPS."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    output = flashmd("simulate", RUN, *replaced(model, folder, "4 ps"))
    assert f"step {N_STEPS}: finished" in output
    return folder


def replaced(model: str, output: Path, duration: str) -> list[str]:
    values = {"model": model, "output": output, "duration": duration, "save_interval": SAVE_INTERVAL}
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def test_run_has_the_ladders_of_the_example(run: Path) -> None:
    with (run / "exchanges.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Four attempts, even and odd pairs in turn, in each of eight ladders.
    proposed = [int(value) for row in rows for key, value in row.items() if key == "proposed"]
    assert proposed == [16, 16, 16]
    names = [f"T_{kelvin}.0K_walker_{walker}.xtc" for kelvin in (300, 340, 390, 450) for walker in range(8)]
    assert sorted(path.name for path in run.glob("*.xtc")) == sorted(names)


def test_walkers_start_folded_and_unfolded_in_turn(run: Path) -> None:
    native, extended = (mdtraj.load(STRUCTURES / f"chignolin_{state}_ca.pdb") for state in ("native", "unfolded"))
    for walker in range(8):
        frames = mdtraj.load(run / f"T_340.0K_walker_{walker}.xtc", top=run / "topology.pdb")
        assert frames.n_frames == N_STEPS // SAVE_INTERVAL
        assert np.isfinite(frames.xyz).all()
        nearer = mdtraj.rmsd(frames[0], native)[0] < mdtraj.rmsd(frames[0], extended)[0]
        assert nearer == (walker % 2 == 0), f"walker {walker}"


def test_interrupted_run_continues_bitwise(run: Path, model: str, tmp_path: Path) -> None:
    assert "step 250: finished" in flashmd("simulate", RUN, *replaced(model, tmp_path / "parts", "2.5 ps"))
    output = flashmd("simulate", "--resume", tmp_path / "parts", "--set", "duration=4 ps")
    assert f"step {N_STEPS}: finished" in output
    files = [*sorted(path.name for path in run.glob("*.xtc")), "log.csv", "exchanges.csv"]
    different = [name for name in files if (run / name).read_bytes() != (tmp_path / "parts" / name).read_bytes()]
    assert different == []


def test_report(run: Path) -> None:
    output = flashmd("report", run, "--temperature", "340 K")
    assert "report.html" in output
    assert (run / "report.png").read_bytes().startswith(b"\x89PNG")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "340" in page
    assert "data:image/png;base64," in page
