"""`flashmd backmap` from files and from the folder of a run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flashmd.backmap import Structures, sample_structures
from flashmd.backmap.chains import Chains
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.network import NetworkConfig
from flashmd.cli.main import app
from flashmd.md.reporters import bead_topology, write_pdb
from flashmd.md.run_folder import trajectory_names
from flashmd.xtc import encode_xtc
from tests.backmap.files import SEQUENCE, helix, write_trace

MODELS = Path(__file__).parents[2] / "data" / "models"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file of a small network that has learned nothing."""
    torch.manual_seed(1)
    path = tmp_path / "model.safetensors"
    BackmapModel(NetworkConfig(width=8, edge_width=8, n_layers=1, n_neighbors=3)).save(path)
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(app, ["backmap", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words: object) -> str:
    result = CliRunner().invoke(app, ["backmap", *map(str, words)])
    assert result.exit_code == 1
    return result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files as a run of two temperatures and two walkers leaves them."""
    path = tmp_path / "run"
    path.mkdir()
    names = [("CA", (name, number, 0)) for number, name in enumerate(SEQUENCE, start=1)]
    topology = bead_topology([name for name, _ in names], [label for _, label in names])
    positions = helix(6) / 10.0
    write_pdb(path / "topology.pdb", topology, positions)
    for slot, name in enumerate(trajectory_names([300.0, 340.0], 2)):
        frames = np.stack([positions + 0.001 * slot] * 3)[:, None]
        (path / name).write_bytes(encode_xtc(frames, [0, 1, 2], [0.0, 1.0, 2.0])[0])
    return path


def test_a_trajectory_is_backmapped(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = helix(6) + rng.normal(0.0, 0.03, (4, 6, 3))
    top = write_trace(tmp_path / "cg.pdb")
    mdtraj.Trajectory(frames / 10.0, mdtraj.load(str(top)).topology).save(str(tmp_path / "cg.xtc"))
    words = (top, tmp_path / "cg.xtc", "-o", tmp_path / "aa.xtc", "--samples", 2, "--seed", 1, "--steps", 2)
    output = run(*words, "--model", model, "--without", "all", "--frames", "1:", "--coherence", "ou")
    assert "wrote 6 structures" in output
    assert mdtraj.load(str(tmp_path / "aa.xtc"), top=str(tmp_path / "aa.pdb")).n_frames == 6
    options = json.loads((tmp_path / "aa_quality.json").read_text())["options"]
    assert (options["samples"], options["seed"], options["steps"], options["physics"]) == (2, 1, 2, [])
    assert (options["coherence"], options["frames"]) == ("ou", [1, None, 1])


def test_the_lowest_temperature_of_a_run_is_taken(model: Path, folder: Path) -> None:
    output = run(folder, "--model", model, "--steps", 2, "--without", "all")
    assert "T_300.0K_walker_0.xtc" in output
    assert (folder / "backmap_300.0K.xtc").is_file()
    assert mdtraj.load(str(folder / "backmap_300.0K.xtc"), top=str(folder / "backmap_300.0K.pdb")).n_frames == 3


def test_the_nearest_temperature_of_a_run_is_taken(model: Path, folder: Path, tmp_path: Path) -> None:
    words = (folder, "--temperature", "333 K", "-o", tmp_path / "aa.dcd", "--model", model)
    assert "T_340.0K_walker_0.xtc" in run(*words, "--steps", 2, "--without", "all")
    assert (tmp_path / "aa.dcd").is_file()


def test_bad_frames_and_notes_are_told(model: Path, tmp_path: Path) -> None:
    frames = np.stack([helix(6)] * 3)
    frames[1, 3:] += 5.0
    cg = write_trace(tmp_path / "cg.pdb", frames, names=("GLY", "MSE", "TRP", "LYS", "PRO", "TYR"))
    words = (cg, "-o", tmp_path / "aa.pdb", "--model", model, "--steps", 2, "--without", "all")
    output = run(*words, "--on-bad-frame", "skip", "--replace", "common")
    assert "read 1 MSE as MET" in output
    assert "frame 1, left out: CA-CA distances that no peptide has: A:TRP3 to A:LYS4" in output
    assert "wrote 2 structures" in output


def test_physical_terms_can_be_left_out(model: Path, tmp_path: Path) -> None:
    cg = write_trace(tmp_path / "cg.pdb")
    run(cg, "-o", tmp_path / "aa.pdb", "--model", model, "--steps", 2, "--without", "rings", "--without", "bonds")
    options = json.loads((tmp_path / "aa_quality.json").read_text())["options"]
    assert "rings" not in options["physics"]
    assert "bonds" not in options["physics"]
    assert "angles" in options["physics"]


def test_a_run_without_frames_is_refused(model: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "T_300.0K_walker_0.xtc").write_bytes(b"")
    assert "T_300.0K_walker_0.xtc`: expected at least one frame, got an empty file" in refused(folder, "--model", model)
    (folder / "topology.pdb").unlink()
    assert "expected trajectories T_*K.xtc of a run, got no `topology.pdb`" in refused(folder, "--model", model)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "expected trajectories T_*K.xtc of a run, got none" in refused(empty, "--model", model)


def test_words_that_do_not_fit_are_refused(model: Path, folder: Path, tmp_path: Path) -> None:
    cg = write_trace(tmp_path / "cg.pdb")
    assert "`--output`: expected a file to write, got none" in refused(cg, "--model", model)
    words = (cg, "-o", tmp_path / "aa.pdb", "--model", model)
    assert "`--temperature`: expected the folder of a run" in refused(*words, "--temperature", "300 K")
    assert "expected one input, got a folder and" in refused(folder, cg, "--model", model)
    assert "`--without`: expected `all` or one of bonds" in refused(*words, "--without", "gravity")
    assert "`--frames`: expected START:STOP:STEP" in refused(*words, "--frames", "x")


def test_help_names_the_shipped_models() -> None:
    shipped = [path.stem.removeprefix("backmap_") for path in MODELS.glob("backmap_*.safetensors")]
    output = run("--help")
    assert shipped
    for name in shipped:
        assert name in output


def test_a_single_structure_is_counted_as_one(model: Path, tmp_path: Path) -> None:
    words = (write_trace(tmp_path / "cg.pdb"), "-o", tmp_path / "aa.pdb", "--model", model, "--steps", 2)
    assert "wrote 1 structure: " in run(*words, "--without", "all")


def test_ctrl_c_tells_what_there_is_and_how_to_go_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Iterator[Structures]:
        trace, options, sampler = arguments
        yield from itertools.islice(sample_structures(trace, replace(options, batch_atoms=1), sampler), stop)
        raise KeyboardInterrupt

    monkeypatch.setattr("flashmd.backmap.run.sample_structures", interrupted)
    cg = write_trace(tmp_path / "cg.pdb", np.stack([helix(6)] * 4))
    words = ["backmap", str(cg), "-o", str(tmp_path / "aa.xtc"), "--model", str(model), "--steps", "2"]
    stop = 0
    result = CliRunner().invoke(app, [*words, "--without", "all", "--samples", "2"])
    assert result.exit_code == 130
    assert "stopped before the first structure was written" in result.output
    stop = 5
    result = CliRunner().invoke(app, [*words, "--without", "all", "--samples", "2"])
    assert result.exit_code == 130
    assert "aa.xtc is complete up to sample 0 of frame 2; `--frames 2:`" in " ".join(result.output.split())
    assert mdtraj.load(str(tmp_path / "aa.xtc"), top=str(tmp_path / "aa.pdb")).n_frames == 5
    assert json.loads((tmp_path / "aa_quality.json").read_text())["structures"] == 5


def test_a_sequence_and_a_file_give_the_same_chains(tmp_path: Path) -> None:
    from flashmd.backmap import read_trace

    chains = read_trace(write_trace(tmp_path / "cg.pdb")).chains
    expected = Chains.from_sequence("GAWKPY")
    assert torch.equal(chains.types, expected.types)
    assert torch.equal(chains.joined, expected.joined)
