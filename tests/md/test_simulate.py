"""The run loop: what it writes, and that interruptions leave no trace."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from flashmd.errors import CheckpointError, ConfigurationError
from flashmd.md import LangevinBAOAB, RunConfig, TemperatureLadder, parse_config, simulate
from flashmd.md.active_run import next_boundary
from flashmd.md.random_streams import replica_identities
from flashmd.md.restart import read_checkpoint
from flashmd.md.state import kinetic_temperature
from tests.md.analytic import (
    BACKEND,
    DoubleWell,
    Dying,
    Harmonic,
    Killed,
    Remembering,
    beads,
    contents,
    run,
    run_config,
    run_plan,
)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "checkpoint.safetensors").tensors


def assert_same_run(one: Path, other: Path) -> None:
    assert contents(one) == contents(other)
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def model() -> Harmonic:
    return Harmonic(300.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model: Harmonic) -> Path:
    """A run without interruption."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(run_config(folder), model)
    return folder


def test_files_hold_what_the_dynamics_did(whole: Path, model: Harmonic) -> None:
    """The run is repeated by hand with the integrator and the ladder alone."""
    config = run_config(whole)
    ladder = TemperatureLadder(config.temperatures, 2, seed=5, backend=BACKEND)
    exchanges = ladder.init()
    integrator = LangevinBAOAB(0.004, 1.0, seed=5, backend=BACKEND)
    baths = ladder.values[exchanges.temperature_index()]
    state = integrator.init(
        run_plan(config, model).system, model, temperature=baths, identities=replica_identities(3, 2)
    )
    frames, lines = [], []
    for step in range(1, 121):
        state = integrator.step(state, model)
        if step % 10 == 0:
            state, exchanges = ladder.step(state, exchanges, attempt=step // 10)
        if step % 15 == 0:
            frames.append(state.positions.reshape(6, 3, 3)[exchanges.holder.reshape(-1)].numpy())
            kinetic = kinetic_temperature(state, backend=BACKEND).tolist()
            lines.append((exchanges.temperature_index().tolist(), state.energy.tolist(), kinetic))
    for slot in range(6):
        name = f"T_{config.temperatures[slot // 2]:.1f}K_walker_{slot % 2}.xtc"
        trajectory = mdtraj.load(whole / name, top=whole / "topology.pdb")
        np.testing.assert_allclose(trajectory.xyz, np.stack(frames)[:, slot], atol=5.1e-4)
        np.testing.assert_allclose(trajectory.time, 0.06 * np.arange(1, 9), rtol=1e-6)
    log = rows(whole / "log.csv")
    assert len(log) == 8 * 6
    for line, row in enumerate(log):
        index, energy, kinetic = (column[line % 6] for column in lines[line // 6])
        assert (int(row["replica"]), int(row["walker"]), int(row["temperature_index"])) == (line % 6, line % 2, index)
        assert (int(row["step"]), float(row["time_ps"])) == (
            15 * (line // 6 + 1),
            pytest.approx(0.06 * (line // 6 + 1)),
        )
        assert float(row["temperature_K"]) == config.temperatures[index]
        assert float(row["potential_energy_kJ_mol"]) == pytest.approx(energy, abs=1e-6)
        assert float(row["kinetic_temperature_K"]) == pytest.approx(kinetic, abs=1e-4)
    counts = rows(whole / "exchanges.csv")
    assert [int(row["proposed"]) for row in counts] == exchanges.proposed.tolist() == [12, 12]
    assert [int(row["accepted"]) for row in counts] == exchanges.accepted.tolist()
    assert [(float(row["lower_K"]), float(row["upper_K"])) for row in counts] == [(300.0, 330.0), (330.0, 363.0)]
    assert {row["temperature_index"] for row in log if row["replica"] == "0"} != {"0"}, "no exchange, nothing tested"


def test_the_resolved_configuration_is_written_with_its_provenance(whole: Path) -> None:
    text = (whole / "config.resolved.yaml").read_text(encoding="utf-8")
    assert parse_config(yaml.safe_load(text)) == run_config(whole)
    assert f"torch {torch.__version__}" in text
    assert f"model sha256 {run_plan(run_config(whole), Harmonic(1.0)).model_hash}" in text
    assert "# device cpu" in text


@pytest.mark.parametrize("first_part", [40, 50, 55, 119])
def test_two_halves_are_a_whole(tmp_path: Path, whole: Path, model: Harmonic, first_part: int) -> None:
    folder = tmp_path / "run"
    run(run_config(folder, n_steps=first_part), model)
    summary = run(run_config(folder), model, resume=True)
    assert (summary.step, summary.finished) == (120, True)
    assert_same_run(folder, whole)


@pytest.mark.parametrize("last_call", [38, 41, 77, 120])
def test_a_killed_run_continues_without_a_trace(
    tmp_path: Path, whole: Path, model: Harmonic, monkeypatch: pytest.MonkeyPatch, last_call: int
) -> None:
    """Frames written after the last checkpoint are there at the death, and are not there twice in the end."""
    folder = tmp_path / "run"
    monkeypatch.setattr("flashmd.md.active_run.CHUNK_STEPS", 7)
    with pytest.raises(Killed):
        run(run_config(folder), Dying(model, last_call, Killed()))
    if last_call == 77:
        sizes = read_checkpoint(folder / "checkpoint.safetensors").metadata["sizes"]
        assert (folder / "log.csv").stat().st_size > sizes["log.csv"], "the death came too early to test anything"
    run(run_config(folder), model, resume=True)
    assert_same_run(folder, whole)


def test_the_length_of_chunks_changes_nothing(
    tmp_path: Path, whole: Path, model: Harmonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashmd.md.active_run.CHUNK_STEPS", 7)
    run(run_config(tmp_path / "run", checkpoint_interval=1000), model)
    assert contents(tmp_path / "run") == contents(whole)


def test_the_memory_of_a_model_is_restored(tmp_path: Path) -> None:
    """A neighbour list built at another step would round forces differently."""
    config = {"precision": "single", "n_steps": 100}
    run(run_config(tmp_path / "whole", **config), Remembering(300.0, reach=0.05))
    run(run_config(tmp_path / "parts", **(config | {"n_steps": 33})), Remembering(300.0, reach=0.05))
    run(run_config(tmp_path / "parts", **config), Remembering(300.0, reach=0.05), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    forgetful = Remembering(300.0, reach=0.05)
    run(run_config(tmp_path / "forgot", **(config | {"n_steps": 33})), Remembering(300.0, reach=0.05))
    forgetful.restore_lists = lambda system, state: None  # type: ignore[method-assign]
    run(run_config(tmp_path / "forgot", **config), forgetful, resume=True)
    assert not torch.equal(tensors(tmp_path / "forgot")["positions"], tensors(tmp_path / "whole")["positions"])


def test_a_finished_run_can_be_resumed_to_no_effect(tmp_path: Path, model: Harmonic) -> None:
    folder = tmp_path / "run"
    run(run_config(folder), model)
    before = contents(folder)
    assert run(run_config(folder), model, resume=True).finished
    assert contents(folder) == before


def test_single_precision_recentring_and_one_replica(tmp_path: Path) -> None:
    """Free of a field, the centre stays at the origin and the shape is that of a run that is never moved."""
    changes = {"temperatures": "300 K", "walkers": 1, "precision": "single", "n_steps": 60, "save_interval": 20}
    moved, free = tmp_path / "moved", tmp_path / "free"
    model = DoubleWell(barrier=0.0, half_width=1.0, stiffness=0.0)
    run(run_config(moved, recentre_interval=20, **changes), model)
    run(run_config(free, **changes), model)
    shapes = []
    for folder in (moved, free):
        x = mdtraj.load(folder / "T_300.0K.xtc", top=folder / "topology.pdb").xyz
        shapes.append(x - x.mean(1, keepdims=True))
    np.testing.assert_allclose(shapes[0], shapes[1], atol=2e-3)
    x = tensors(moved)["positions"]
    assert x.dtype == torch.float32
    assert float(x.mean(0).abs().max()) < 1e-6
    assert float(tensors(free)["positions"].mean(0).abs().max()) > 1e-3


def test_an_existing_run_is_kept_unless_told(tmp_path: Path, model: Harmonic) -> None:
    folder = tmp_path / "run"
    run(run_config(folder, seed=1), model)
    before = contents(folder)
    with pytest.raises(ConfigurationError, match=r"expected no run in it.*--overwrite"):
        run(run_config(folder), model)
    assert contents(folder) == before
    run(run_config(folder), model, overwrite=True)
    assert contents(folder) != before


def test_runs_from_before_compilation_continue_as_exact_ones(
    tmp_path: Path, model: Harmonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, resolved = tmp_path / "run", RunConfig.resolved
    with monkeypatch.context() as patch:
        patch.setattr(RunConfig, "resolved", lambda self: {k: v for k, v in resolved(self).items() if k != "potential"})
        run(run_config(folder, n_steps=60), model)
    with pytest.raises(CheckpointError, match="expected `potential: exact`, got `potential: compiled`"):
        run(run_config(folder), model, resume=True)
    assert run(run_config(folder, potential="exact"), model, resume=True).finished


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seed": 6}, r"run .*: expected `seed: 5`, got `seed: 6`\. To fix it, leave them as they were \(only check"),
        ({"time_step": "2 fs"}, r"expected `time_step: 0\.004 ps`, got `time_step: 0\.002 ps`"),
        ({"precision": "single"}, r"expected `precision: double`, got `precision: single`"),
    ],
)
def test_another_configuration_is_refused(whole: Path, model: Harmonic, changes: dict[str, str], text: str) -> None:
    with pytest.raises(CheckpointError, match=text):
        run(run_config(whole, **changes), model, resume=True)


def test_another_model_is_refused(whole: Path) -> None:
    before = contents(whole)
    with pytest.raises(CheckpointError, match=r"expected the model [0-9a-f]{16} it was started with, got model"):
        run(run_config(whole), Remembering(300.0, reach=0.1), resume=True)
    assert contents(whole) == before


def test_other_beads_are_refused(whole: Path, model: Harmonic) -> None:
    plan = run_plan(run_config(whole), model)
    plan.system.masses[0] = 13.0
    text = r"expected the beads of its checkpoint, got other beads or bonds\. To fix it, put back the structure file"
    with pytest.raises(CheckpointError, match=text):
        simulate(plan, resume=True, console=Console(file=io.StringIO()))
    bonded = dataclasses.replace(beads(6), interactions={"bonds": torch.tensor([[0, 1]])})
    other = dataclasses.replace(run_plan(run_config(whole), model), system=bonded)
    with pytest.raises(CheckpointError, match=text):
        simulate(other, resume=True, console=Console(file=io.StringIO()))


def test_files_may_move(tmp_path: Path, whole: Path, model: Harmonic) -> None:
    shutil.copytree(whole, tmp_path / "moved")
    moved = run_config(tmp_path / "moved", model="elsewhere", structure="/elsewhere.pdb", n_steps=130)
    assert run(moved, model, resume=True).step == 130


def test_a_shortened_trajectory_is_refused(tmp_path: Path, model: Harmonic) -> None:
    folder = tmp_path / "run"
    run(run_config(folder), model)
    file = folder / "T_330.0K_walker_1.xtc"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    text = rf"T_330\.0K_walker_1\.xtc: expected {size} bytes or more, got {size - 1}\. To fix it, put the file back"
    with pytest.raises(CheckpointError, match=text):
        run(run_config(folder), model, resume=True)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, r"checkpoint .*: expected a readable file, got No such file.*reached its first checkpoint"),
        (b"", r"checkpoint .*: expected a checkpoint of a run"),
        (b"\x00" * 100, r"checkpoint .*: expected a checkpoint of a run"),
        (b"PK\x03\x04" + b"pickle" * 50, r"checkpoint .*: expected a checkpoint of a run"),
    ],
)
def test_damaged_checkpoints_are_refused(tmp_path: Path, model: Harmonic, content: bytes | None, text: str) -> None:
    if content is not None:
        (tmp_path / "checkpoint.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=text):
        run(run_config(tmp_path), model, resume=True)


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path, whole: Path, model: Harmonic) -> None:
    data = (whole / "checkpoint.safetensors").read_bytes()
    found = b'\\"version\\": 1'
    assert data.count(found) == 1
    (tmp_path / "checkpoint.safetensors").write_bytes(data.replace(found, b'\\"version\\": 9'))
    with pytest.raises(CheckpointError, match=r"expected flashmd-restart 1, got flashmd-restart 9"):
        run(run_config(tmp_path), model, resume=True)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path, whole: Path, model: Harmonic) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes((whole / "checkpoint.safetensors").read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"expected a checkpoint of a run"):
        run(run_config(tmp_path), model, resume=True)


def config_with(checkpoint_interval: int) -> RunConfig:
    return run_config(Path("run"), n_steps=5000, checkpoint_interval=checkpoint_interval)


def test_chunks_end_at_checkpoints_and_at_the_end() -> None:
    assert [next_boundary(step, config_with(1500)) for step in (0, 999, 1000, 1500, 1700, 4600)] == [
        1000,
        1000,
        1500,
        2000,
        2000,
        5000,
    ]


def test_plain_lines_are_written_without_a_terminal(tmp_path: Path, model: Harmonic) -> None:
    spoken = io.StringIO()
    simulate(run_plan(run_config(tmp_path / "run"), model), console=Console(file=spoken))
    text = spoken.getvalue()
    assert text.startswith("step 120/120: 0.000 ns x 6, ")
    assert text.endswith(" ns/day\n")
    assert text.count("\n") == 1


def test_a_bar_is_shown_on_a_terminal(tmp_path: Path, model: Harmonic) -> None:
    spoken = io.StringIO()
    console = Console(file=spoken, force_terminal=True, width=120)
    simulate(run_plan(run_config(tmp_path / "run"), model), console=console)
    assert "step 120/120" in spoken.getvalue()
    assert "ns/day" in spoken.getvalue()
