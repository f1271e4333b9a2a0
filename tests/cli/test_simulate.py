"""`flashmd simulate` from the outside."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import mdtraj
import pytest
import yaml
from typer.testing import CliRunner, Result

from flashmd.cg import CA_TYPES
from flashmd.cli.main import app
from flashmd.md.active_run import ActiveRun
from flashmd.md.restart import read_checkpoint
from flashmd.nn import SchNetConfig
from flashmd.potential import SchNetPotential, SumPotential, save
from flashmd.potential.priors import HarmonicBonds


@pytest.fixture
def config(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model and a configuration beside it; the current folder is another one."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    network = SchNetConfig(n_types=21, n_channels=8, n_filters=8, n_basis=8, n_blocks=1, readout=(8,))
    schnet = SchNetPotential(network, seed=1, bead_types=CA_TYPES)
    bonds = HarmonicBonds("bonds", _all_bonds())
    save(SumPotential({"SchNet": schnet, "bonds": bonds}), inputs / "model.safetensors", {})
    structures = root / "data" / "structures"
    values = {
        "model": "model.safetensors",
        "structure": str(structures / "chignolin_native_ca.pdb"),
        "initial": [str(structures / f"chignolin_{state}_ca.pdb") for state in ("native", "unfolded")],
        "output": "run",
        "temperatures": {"lowest": "300 K", "highest": "330 K", "count": 2},
        "time_step": "4 fs",
        "n_steps": 60,
        "exchange_interval": 10,
        "save_interval": 20,
        "checkpoint_interval": 30,
        "seed": 1,
    }
    (inputs / "run.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return inputs / "run.yaml"


def _all_bonds():  # type: ignore[no-untyped-def]
    import torch

    pairs = [[a, b] for a in CA_TYPES.values() for b in CA_TYPES.values()]
    columns = {"k": torch.full((len(pairs),), 5000.0), "x0": torch.full((len(pairs),), 0.38)}
    return torch.tensor(pairs), columns


def flashmd(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["simulate", *(str(each) for each in arguments)])


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Files that must not depend on interruptions; performance.csv tells of wall time."""
    names = [*sorted(folder.glob("*.xtc")), folder / "log.csv", folder / "exchanges.csv"]
    return {file.name: file.read_bytes() for file in names}


def test_a_run_and_its_continuation(config: Path, tmp_path: Path) -> None:
    result = flashmd(config)
    assert result.exit_code == 0, result.output
    assert "step 60: finished" in result.output
    assert "accepted exchanges of neighbouring temperatures:" in result.output
    folder = tmp_path / "run"
    note = "SchNet: filters in a table of "
    assert note in result.output
    assert f"# {note}" in (folder / "config.resolved.yaml").read_text(encoding="utf-8")
    trajectory = mdtraj.load(folder / "T_330.0K.xtc", top=folder / "topology.pdb")
    assert (trajectory.n_frames, trajectory.n_atoms) == (3, 10)
    first = flashmd(config, "--set", "output=parts", "--set", "n_steps=45")
    assert "step 45: finished" in first.output
    second = flashmd("--resume", "parts", "--set", "n_steps=60")
    assert second.exit_code == 0, second.output
    assert bytes_of(tmp_path / "parts") == bytes_of(folder)


def test_an_exact_run_and_its_continuation(config: Path, tmp_path: Path) -> None:
    exact = ("--set", "potential=exact")
    result = flashmd(config, *exact)
    assert result.exit_code == 0, result.output
    assert "table" not in result.output
    flashmd(config, *exact, "--set", "output=parts", "--set", "n_steps=45")
    assert flashmd("--resume", "parts", "--set", "n_steps=60").exit_code == 0
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "run")
    refused = flashmd("--resume", "run", "--set", "n_steps=80", "--set", "potential=compiled")
    assert "expected `potential: exact`, got `potential: compiled`" in refused.output


def test_the_resolved_configuration_repeats_the_run(config: Path, tmp_path: Path) -> None:
    flashmd(config)
    result = flashmd(tmp_path / "run" / "config.resolved.yaml", "--set", "output=again")
    assert result.exit_code == 0, result.output
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "run")


def test_an_interrupted_run_says_how_to_go_on(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = ActiveRun.chunk

    def interrupted(self: ActiveRun, stopped: object) -> None:
        chunk(self, stopped)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(ActiveRun, "chunk", interrupted)
        result = flashmd(config)
    assert result.exit_code == 128 + signal.SIGTERM
    assert "step 30: stopped, a checkpoint is written" in result.output
    assert f"continue with: flashmd simulate --resume {tmp_path / 'run'}" in result.output
    assert read_checkpoint(tmp_path / "run" / "checkpoint.safetensors").metadata["step"] == 30
    assert "step 60: finished" in flashmd("--resume", "run").output
    assert "step 60: finished; nothing was left to do" in flashmd("--resume", "run").output


def test_a_run_in_the_way_is_kept(config: Path) -> None:
    flashmd(config)
    refused = flashmd(config)
    assert refused.exit_code == 1
    assert "error: run folder" in refused.output
    assert "--overwrite" in refused.output
    assert flashmd(config, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "expected a YAML file or `--resume DIR`, got neither"),
        (["CONFIG", "--resume", "run"], "expected a YAML file or `--resume DIR`, got both"),
        (["--resume", "run", "--overwrite"], "expected `--resume` or `--overwrite`, got both"),
        (["--resume", "inputs"], "`--resume inputs`: expected the folder of a run, got no config.resolved.yaml"),
        (["CONFIG", "--set", "temperature=300 K"], "got 'temperature'. To fix it, write `temperatures`"),
        (["CONFIG", "--set", "friction=1"], "key `friction`: expected a number with a unit, got 1"),
        (["missing.yaml"], "configuration missing.yaml: expected a readable file"),
    ],
)
def test_mistakes_are_one_line(config: Path, arguments: list[str], text: str) -> None:
    result = flashmd(*[str(config) if each == "CONFIG" else each for each in arguments])
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    assert text in result.output


def test_another_model_is_refused_on_resume(config: Path, tmp_path: Path) -> None:
    flashmd(config)
    network = SchNetConfig(n_types=21, n_channels=8, n_filters=8, n_basis=8, n_blocks=1, readout=(8,))
    save(SchNetPotential(network, seed=2, bead_types=CA_TYPES), config.parent / "model.safetensors", {})
    result = flashmd("--resume", "run", "--set", "n_steps=80")
    assert result.exit_code == 1
    assert "it was started with, got model" in result.output
    assert flashmd("--resume", "run", "--set", "seed=2").exit_code == 1
