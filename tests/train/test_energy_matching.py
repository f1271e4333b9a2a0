"""Training on energies and forces of many molecules, to the end and through the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from flashmd.cli.main import app
from flashmd.nn import SchNet, SchNetConfig
from flashmd.potential import AtomicEnergies, SchNetPotential, SumPotential, load
from flashmd.train import (
    MoleculeDataset,
    MoleculeTrainer,
    TrainingSettings,
    fit_atomic_energies,
    load_config,
    molecule_errors,
    save_molecules,
)

from .molecules import molecule_frames

NETWORK = {"n_channels": 24, "n_filters": 24, "n_basis": 16, "n_blocks": 2, "readout": [16]}
OPTIMIZER = {"epochs": 12, "batch_size": 16, "learning_rate": 1e-2, "warmup_steps": 5, "average_decay": 0.9}


def trainer(path: Path | None = None, *, energy_length: float = 0.02, filters: str = "table") -> MoleculeTrainer:
    data = molecule_frames(90)
    sets = data.split(validation_fraction=0.2)
    settings = TrainingSettings(epochs=3, batch_size=16, learning_rate=1e-2, filters=filters, n_knots=2049)
    config = SchNetConfig(n_types=4, cutoff_upper=1.0, basis="gaussian", activation="silu", **NETWORK)
    atoms = fit_atomic_energies(sets["train"])
    return MoleculeTrainer(
        SchNet(config, seed=1), atoms, **sets, energy_length=energy_length, settings=settings, state_path=path
    )


def loss_of(potential: SumPotential, data: MoleculeDataset, energy_length: float) -> float:
    """The loss as its definition says, frame by frame in double precision."""
    energies, forces = [], []
    for frame in range(data.n_frames):
        part = data.subset(torch.tensor([frame]))
        result = potential.evaluate(part.system(dtype=torch.float64))
        energies.append(float(result.energy - part.energy) / part.types.shape[0] / energy_length)
        forces.append(result.forces - part.forces)
    return sum(e * e for e in energies) / data.n_frames + float(torch.cat(forces).square().mean())


@pytest.mark.parametrize("filters", ["table", "exact"])
def test_the_loss_is_what_its_formula_says(filters: str) -> None:
    run = trainer(filters=filters)
    atoms = fit_atomic_energies(run._train)
    potential = SumPotential({"SchNet": SchNetPotential(run.state.network), "atoms": atoms}).double()
    expected = loss_of(potential, run._train.subset(torch.arange(8)), 0.02)
    potential.float()
    assert run._accumulate_(torch.arange(8)) * run._scale == pytest.approx(expected, rel=1e-3)
    gradient = torch.cat([p.grad.flatten() for p in run.state.network.parameters() if p.grad is not None])
    assert gradient.isfinite().all()
    assert gradient.any()


def test_the_gradient_is_that_of_the_loss() -> None:
    run = trainer(filters="exact")
    weight = run.state.network.blocks[0].update.weight
    run._accumulate_(torch.arange(16))
    index, step = divmod(int(weight.grad.abs().argmax()), weight.shape[1]), 1e-2
    slope, losses = float(weight.grad[index]), []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            weight[index] += sign * step
        losses.append(run._accumulate_(torch.arange(16)))
        with torch.no_grad():
            weight[index] -= sign * step
    assert (losses[0] - losses[1]) / (2.0 * step) == pytest.approx(slope, rel=0.02)


def test_atomic_energies_of_known_data() -> None:
    data = molecule_frames(400)
    atoms = fit_atomic_energies(data)
    assert atoms.bead_types == {"H": 1, "O": 3}
    assert set(atoms.energies) == {1, 3}
    # What binds adds a few kJ/mol to every atom.
    assert atoms.energies[1] == pytest.approx(-1000.0, abs=30.0)
    assert atoms.energies[3] == pytest.approx(-5000.0, abs=30.0)
    exact = dataclasses.replace(data, energy=data.composition() @ torch.tensor([0.0, -1.5, 0.0, 4.0]).double())
    assert fit_atomic_energies(exact).energies == pytest.approx({1: -1.5, 3: 4.0}, rel=1e-9)


def test_errors_of_constants_alone() -> None:
    data = molecule_frames(300)
    errors = molecule_errors(AtomicEnergies({1: -1000.0, 3: -5000.0}), data)
    bound = (data.composition() @ torch.tensor([0.0, -1000.0, 0.0, -5000.0]).double() - data.energy) / data.n_atoms
    assert errors.n_frames == 300
    assert errors.energy_mae == pytest.approx(float(bound.abs().mean()))
    assert errors.energy_rmse == pytest.approx(float(bound.square().mean().sqrt()))
    assert errors.force_mae == pytest.approx(float(data.forces.double().abs().mean()))
    assert errors.force_rmse == errors.force_scale == pytest.approx(float(data.forces.double().square().mean().sqrt()))


def test_an_interrupted_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = trainer().run()
    for _ in range(2):
        trainer(tmp_path / "state.safetensors").run_epoch()
    resumed = trainer(tmp_path / "state.safetensors").run()
    assert resumed.epoch == whole.epoch == 3
    for name, value in whole.best.items():
        assert torch.equal(resumed.best[name], value), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("training")
    save_molecules(molecule_frames(400), folder / "data.npz")
    config = {
        "dataset": "data.npz",
        "output": str(folder / "out"),
        "energy_length": "0.02 nm",
        "split": {"validation_fraction": 0.1, "test_fraction": 0.1},
        "network": {**NETWORK, "cutoff": "1 nm", "basis": "gaussian", "activation": "silu"},
        "optimizer": OPTIMIZER,
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    result = CliRunner().invoke(app, ["train", str(folder / "train.yaml")])
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_the_command_learns_energies_and_forces(finished: tuple[Path, str]) -> None:
    folder, output = finished
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    assert set(metrics) == {"train", "validation", "test"}
    assert metrics["test"]["explained"] > 0.8
    assert metrics["test"]["energy"] < 2.0
    assert "test: 40 frames of 1 trajectories" in output
    assert "kJ/mol of energy for each atom" in output


def test_the_saved_model_evaluates_and_knows_its_types(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    model = load(folder / "out" / "model.safetensors")
    assert model.bead_types == {"H": 1, "O": 3}
    assert model.metadata["dataset"]["origin"] == {"origin": "springs"}
    data = molecule_frames(40, seed=9)
    errors = molecule_errors(model, data)
    constants = molecule_errors(fit_atomic_energies(data), data)
    assert errors.force_rmse < 0.5 * constants.force_rmse
    assert errors.energy_rmse < 0.5 * constants.energy_rmse


def test_the_example_is_valid(root: Path) -> None:
    config = load_config(root / "examples" / "train_organic.yaml")
    assert config.energy_length == 0.01
    assert config.dataset.name == "organic_gfn2.npz"
