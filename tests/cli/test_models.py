"""`flashmd convert`, `info` and `energy` on files of every kind, and the one line that an error takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mdtraj
import pytest
import torch
from typer.testing import CliRunner

import flashmd
from flashmd.cg import CA_TYPES, build_system, map_structure
from flashmd.cli.main import app
from flashmd.nn import SchNetConfig
from flashmd.potential import SchNetPotential, SumPotential, checkpoint
from flashmd.potential.priors import HarmonicBonds
from tests import mlcg_models as models
from tests.mlcg_files import write

GOLDEN = Path(__file__).parents[1] / "continuity" / "data"
SEQUENCE = ("ALA", "GLY", "SER", "TYR", "ALA")


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def _error(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def golden() -> dict[str, Any]:
    """Golden numbers of the released model."""
    content: dict[str, Any] = json.loads((GOLDEN / "golden_v1.json").read_text())
    return content


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """PDB with two frames of a short C-alpha chain."""
    topology = mdtraj.Topology()
    segment = topology.add_chain()
    for number, name in enumerate(SEQUENCE, start=1):
        residue = topology.add_residue(name, segment, resSeq=number)
        topology.add_atom("CA", mdtraj.element.carbon, residue)
    x = 0.38 * torch.arange(5)[:, None] * torch.tensor([0.8, 0.6, 0.0])
    trajectory = mdtraj.Trajectory(torch.stack([x, 1.1 * x]).numpy(), topology)
    trajectory.save_pdb(str(tmp_path / "chain.pdb"))
    trajectory.save_xtc(str(tmp_path / "chain.xtc"))
    return tmp_path / "chain.pdb"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Model file for C-alpha beads."""
    config = SchNetConfig(n_types=21, n_channels=6, n_filters=5, n_basis=4, n_blocks=1, readout=(4,))
    types = torch.cartesian_prod(torch.arange(1, 21), torch.arange(1, 21))
    table = (types, {"k": torch.full((400,), 900.0), "x0": torch.full((400,), 0.37)})
    potential = SumPotential({"SchNet": SchNetPotential(config), "bonds": HarmonicBonds("bonds", table)})
    potential.bead_types = dict(CA_TYPES)
    checkpoint.save(potential, tmp_path / "model.safetensors", {"purpose": "test"})
    return tmp_path / "model.safetensors"


def test_version() -> None:
    command = [sys.executable, "-m", "flashmd.cli", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == f"flashmd {flashmd.__version__}\n"


def test_every_subcommand_is_registered() -> None:
    names = {command.name for command in app.registered_commands}
    assert names >= {"convert", "info", "energy", "simulate", "train", "report"}


def test_energy_of_a_file_with_model_and_configurations(golden: dict[str, Any]) -> None:
    for structures in ([], [GOLDEN / "foreign_v1.pt"]):
        frames = json.loads(_run("energy", GOLDEN / "foreign_v1.pt", *structures, "--json"))["frames"]
        assert len(frames) == len(golden["frames"])
        for frame, expected in zip(frames, golden["frames"], strict=True):
            assert frame["terms"] == pytest.approx(expected["terms"], rel=1e-11)
            assert frame["energy"] == pytest.approx(sum(expected["terms"].values()), rel=1e-11)


def test_converted_model_gives_the_same_energies(tmp_path: Path, golden: dict[str, Any]) -> None:
    out = tmp_path / "converted.safetensors"
    text = _run("convert", GOLDEN / "foreign_v1.pt", out)
    assert checkpoint.model_hash(out) in text
    frames = json.loads(_run("energy", out, GOLDEN / "foreign_v1.pt", "--json"))["frames"]
    for frame, expected in zip(frames, golden["frames"], strict=True):
        assert frame["terms"] == pytest.approx(expected["terms"], rel=1e-11)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_energy_of_structures(dtype: str, tolerance: float, model: Path, chain: Path) -> None:
    content = json.loads(_run("energy", model, chain, "--dtype", dtype, "--json"))
    assert content["units"] == {"energy": "kJ/mol", "force_rms": "kJ/mol/nm"}
    potential = checkpoint.load(model, dtype=torch.float64)
    structure = map_structure(str(chain), "ca")
    assert len(content["frames"]) == structure.n_frames == 2
    for index, frame in enumerate(content["frames"]):
        system = build_system(structure, dtype=torch.float64, frame=index)
        expected = potential.evaluate(system)
        assert frame["energy"] == pytest.approx(expected.energy.item(), rel=tolerance)
        assert frame["force_rms"] == pytest.approx(float(expected.forces.square().mean().sqrt()), rel=tolerance)
        assert frame["terms"]["SchNet"] + frame["terms"]["bonds"] == pytest.approx(frame["energy"], rel=1e-6)


def test_energy_of_a_trajectory(model: Path, chain: Path) -> None:
    trajectory = chain.with_suffix(".xtc")
    frames = json.loads(_run("energy", model, trajectory, "--topology", chain, "--json"))["frames"]
    direct = json.loads(_run("energy", model, chain, "--json"))["frames"]
    for frame, expected in zip(frames, direct, strict=True):
        assert frame["energy"] == pytest.approx(expected["energy"], rel=1e-2)
    assert "`--topology`" in _error("energy", model, trajectory)


def test_table_for_people(model: Path, chain: Path) -> None:
    lines = _run("energy", model, chain).splitlines()
    assert lines[0].split() == ["frame", "energy", "force_rms", "SchNet", "bonds"]
    frames = json.loads(_run("energy", model, chain, "--json"))["frames"]
    for index, line in enumerate(lines[1:3]):
        values = [float(each) for each in line.split()]
        expected = [index, frames[index]["energy"], frames[index]["force_rms"], *frames[index]["terms"].values()]
        assert values == pytest.approx(expected, abs=1e-6)


def test_info_of_a_model(model: Path) -> None:
    content = json.loads(_run("info", model, "--json"))
    assert content["sha256"] == checkpoint.model_hash(model)
    assert content["bytes"] == model.stat().st_size
    assert content["cutoff_nm"] == 1.5
    assert content["bead_types"] == CA_TYPES
    assert content["metadata"]["purpose"] == "test"
    network, bonds = content["terms"]
    assert (network["name"], network["class"], network["config"]["n_types"]) == ("SchNet", "SchNetPotential", 21)
    # Two parameters for each of 400 pairs of types.
    assert (bonds["name"], bonds["class"], bonds["n_parameters"]) == ("bonds", "HarmonicBonds", 800)
    assert content["n_parameters"] == network["n_parameters"] + 800
    text = _run("info", model)
    for word in ("SchNetPotential", "HarmonicBonds", "n_filters=5", "purpose", "ALA=1"):
        assert word in text


def test_info_of_foreign_files(tmp_path: Path) -> None:
    frames = write(tmp_path / "frames.pt", models.configurations({}))
    content = json.loads(_run("info", frames, "--json"))
    assert content["configurations"] == {"n_systems": 2, "n_beads": [8]}
    assert "terms" not in content
    assert "2 of 8 beads" in _run("info", frames)
    content = json.loads(_run("info", GOLDEN / "foreign_v1.pt", "--json"))
    assert [term["name"] for term in content["terms"]] == ["SchNet", "bonds", "angles", "dihedrals", "non_bonded"]
    assert content["metadata"]["source_sha256"] == content["sha256"]


def test_errors(model: Path, chain: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("nothing of interest")
    frames = write(tmp_path / "frames.pt", models.configurations({}))
    network = write(tmp_path / "network.pt", models.schnet())
    assert "expected a flashmd model or a torch archive" in _error("info", text)
    assert "a file or one of" in _error("info", tmp_path / "absent.pt")
    assert "expected a configuration file (.pt) or one of .pdb" in _error("energy", model, text)
    assert "expected a file, got nothing of that name" in _error("energy", model, tmp_path / "absent.pdb")
    assert "expected a model, got a file without one" in _error("energy", frames, frames)
    assert "expected a model, got configurations alone" in _error("convert", frames, tmp_path / "o.safetensors")
    assert "the model file holds no configurations" in _error("energy", model)
    assert "expected configurations, got a file with none" in _error("energy", model, network)
    assert "expected a `.safetensors` file" in _error("convert", network, tmp_path / "out.pt")
    assert "expected float32 or float64, got 'half'" in _error("energy", model, chain, "--dtype", "half")
    assert "expected ca or five_bead, got 'all'" in _error("energy", model, chain, "--resolution", "all")
    assert "pass `--resolution ca`" in _error("energy", network, chain)
    assert "residue ALA 1" in _error("energy", model, chain, "--resolution", "five_bead")
    assert "integers from 0 to 5" in _error("energy", network, chain, "--resolution", "ca")


def test_refused_file_is_named(tmp_path: Path) -> None:
    network = models.schnet()
    network.state["_modules"]["rbf_layer"].state["alpha"] = 9.0
    message = _error("convert", write(tmp_path / "wrong.pt", network), tmp_path / "out.safetensors")
    assert "`model.rbf_layer.alpha`" in message
    assert not (tmp_path / "out.safetensors").exists()


def test_published_five_bead_prior_on_a_structure(shared_data: Path) -> None:
    folder = shared_data / "mlcg"
    direct = json.loads(_run("energy", folder / "prior.pt", folder / "cln_5beads.pdb", "--json"))["frames"]
    assert len(direct) == 1
    assert len(direct[0]["terms"]) == 51
    assert direct[0]["energy"] == pytest.approx(sum(direct[0]["terms"].values()), rel=1e-12)
