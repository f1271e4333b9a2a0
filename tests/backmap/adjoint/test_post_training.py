"""Post-training as users run it: energies fall or it says that it failed; it continues where it was stopped."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from flashmd.backmap.adjoint import PostPoint, PostTraining, bonded_cysteines, load_config, post_train
from flashmd.backmap.adjoint.post_training import LOG_FILE, MODEL_FILE, STATE_FILE
from flashmd.backmap.chains import Chains
from flashmd.backmap.model import BackmapModel
from flashmd.cli.main import app
from flashmd.errors import CheckpointError, ConfigurationError, EnergyFailureError, PostTrainingError
from tests.backmap.adjoint.post_training_case import write_case, write_structures
from tests.backmap.peptides import peptide


def write_yaml(config: PostTraining, folder: Path) -> Path:
    path = folder / "post.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    return path


def test_energies_fall_and_weights_move(tmp_path: Path) -> None:
    config = write_case(tmp_path)
    result = CliRunner().invoke(app, ["post-train-backmap", str(write_yaml(config, tmp_path))])
    assert result.exit_code == 0, result.output
    assert "held-out median energy" in result.output
    assert "weights moved by" in result.output
    with (config.output / LOG_FILE).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [0, 6, 12]
    assert float(rows[-1]["validation_energy"]) < float(rows[0]["validation_energy"])
    base, trained = BackmapModel.load(config.model), BackmapModel.load(config.output / MODEL_FILE)
    changed = [k for k, v in base.network.state_dict().items() if not torch.equal(v, trained.network.state_dict()[k])]
    assert len(changed) > 10
    assert all(torch.equal(v, trained.prior.state_dict()[k]) for k, v in base.prior.state_dict().items())


def test_a_post_training_that_achieves_nothing_says_so(tmp_path: Path) -> None:
    """Steps too short to change any float: the energy stays, no model is written, the exit code is not zero."""
    config = write_case(tmp_path, learning_rate=1e-30, steps=2, report_every=1, validation_structures=1)
    text = "the post-training failed: expected a held-out median energy .* that falls .* weights moved by [0-9.]+e-3"
    with pytest.raises(PostTrainingError, match=text):
        post_train(config)
    assert not (config.output / MODEL_FILE).exists()
    result = CliRunner().invoke(app, ["post-train-backmap", str(write_yaml(config, tmp_path))])
    assert result.exit_code == 1
    assert "the post-training failed" in result.output


class Interruption(Exception):
    pass


def test_continues_bit_for_bit(tmp_path: Path) -> None:
    changes = {"steps": 4, "report_every": 2, "validation_structures": 1, "process_steps": 5, "learning_rate": 1e-2}
    (tmp_path / "through").mkdir()
    (tmp_path / "stopped").mkdir()
    through, stopped = (write_case(tmp_path / name, **changes) for name in ("through", "stopped"))

    def interrupt(point: PostPoint) -> None:
        if point.step == 2:
            raise Interruption

    with pytest.raises(Interruption):
        post_train(stopped, interrupt)
    for config in (through, stopped):
        with contextlib.suppress(PostTrainingError):
            post_train(config)
    one, other = (load_file(config.output / STATE_FILE) for config in (through, stopped))
    assert {name.split(".")[0] for name in one} == {"average", "model", "step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    curves = [(config.output / LOG_FILE).read_text(encoding="utf-8").splitlines() for config in (through, stopped)]
    assert [row.split(",")[:6] for row in curves[0]] == [row.split(",")[:6] for row in curves[1]]


@pytest.fixture
def unfinished(tmp_path: Path) -> PostTraining:
    """A post-training that was stopped before its first step."""
    config = write_case(tmp_path, validation_structures=1)

    def interrupt(_point: PostPoint) -> None:
        raise Interruption

    with pytest.raises(Interruption):
        post_train(config, interrupt)
    return config


def test_a_state_belongs_to_its_post_training(unfinished: PostTraining) -> None:
    text = "expected the state of this post-training, got that of another one. To fix it, choose another `output`"
    with pytest.raises(CheckpointError, match=text):
        post_train(unfinished.model_copy(update={"strength": 0.2}))


def test_a_damaged_state(unfinished: PostTraining) -> None:
    (unfinished.output / STATE_FILE).write_bytes(b"damaged")
    with pytest.raises(
        CheckpointError, match="state .*: expected a readable file, got .* To fix it, delete it to start"
    ):
        post_train(unfinished)


def test_failures_of_energies_stop_the_run(tmp_path: Path) -> None:
    """A model that puts all atoms of a residue into one point: nothing has an energy, and nothing is swallowed."""
    config = write_case(tmp_path, guided=False)
    model = BackmapModel.load(config.model)
    for table in (model.prior.mean, model.prior.deviation, model.prior.centres):
        table.zero_()
    model.save(config.model)
    with pytest.raises(EnergyFailureError, match="structures: expected at most 20% without a finite energy, got"):
        post_train(config)


@pytest.mark.parametrize("key", ["data", "validation"])
def test_chains_that_cannot_be_used(tmp_path: Path, key: str) -> None:
    config = write_case(tmp_path)
    path = write_structures(tmp_path / "long.npz", [peptide("GAVSKEGAVSKE")])
    text = f"`{key}`: expected chains of at most 8 residues without pieces of a single one, got none in .*long.npz"
    with pytest.raises(ValueError, match=text):
        post_train(config.model_copy(update={key: path, "max_residues": 8}))


def test_data_may_be_a_folder_of_structure_files(tmp_path: Path) -> None:
    """A folder without any structure file is named; `read_data` has tests of its own."""
    config = write_case(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty`: expected files of kind .*pdb.*, got no such file"):
        post_train(config.model_copy(update={"data": tmp_path / "empty"}))


def test_configuration_round_trip(tmp_path: Path) -> None:
    config = write_case(tmp_path, temperature="310 K", processes=2)
    assert load_config(write_yaml(config, tmp_path)) == config


@pytest.mark.parametrize(
    "line, text",
    [
        ("strenght: 1.0", "key `strenght`: expected one of .*, got 'strenght'. To fix it, write `strength`"),
        ("temperature: 300", "expected a number with a unit, got 300. To fix it, write for example `300 K`"),
        ("temperature: -3 K", "key `temperature`: expected input should be greater than 0, got '-3 K'"),
        ("force_field: opls", "key `force_field`: expected input should be 'amber14-gbn2' or 'charmm36', got 'opls'"),
        ("steps: 0", "key `steps`: expected input should be greater than 0, got 0"),
    ],
)
def test_mistakes_in_the_configuration(tmp_path: Path, line: str, text: str) -> None:
    path = tmp_path / "post.yaml"
    path.write_text(f"model: a\ndata: b\nvalidation: c\noutput: d\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=text):
        load_config(path)


def test_missing_keys_and_files(tmp_path: Path) -> None:
    path = tmp_path / "post.yaml"
    path.write_text("model: a\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="key `data`: expected a value, got nothing"):
        load_config(path)
    config = write_case(tmp_path)
    with pytest.raises(CheckpointError, match="model .*absent: expected a readable safetensors file"):
        post_train(config.model_copy(update={"model": tmp_path / "absent"}))


def test_disulfides_of_a_structure() -> None:
    """The two closest sulphurs are bonded, the third is not."""
    chains = Chains.from_sequence("CGCC")
    positions = torch.zeros(4, 14, 3)
    positions[:, 5, 0] = torch.tensor([0.0, 9.0, 0.2, 1.0])
    assert bonded_cysteines(chains, positions) == [(0, 2)]
    positions[:, 5, 0] = torch.tensor([0.0, 9.0, 0.2, 0.4])
    assert bonded_cysteines(chains, positions) == [(0, 2)]


def test_the_example_starts_from_the_shipped_model() -> None:
    config = load_config(Path(__file__).parents[3] / "examples" / "post_train_backmap.yaml")
    assert config.steps == 200
    shipped, trained = (
        BackmapModel.load(config.model.with_name(f"backmap_{name}.safetensors")) for name in ("default", "adjoint")
    )
    assert BackmapModel.load(config.model).config == shipped.config == trained.config
    assert not torch.equal(shipped.network.types.weight, trained.network.types.weight)
