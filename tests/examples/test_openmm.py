"""The examples with OpenMM, made short."""

from __future__ import annotations

import csv
import importlib.util
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mdtraj
import pytest
import torch

pytest.importorskip("openmm")

ROOT = Path(__file__).parents[2]
STRUCTURES = ROOT / "data" / "structures"
NATIVE = STRUCTURES / "chignolin_native_ca.pdb"


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own, and Python's random numbers, of which OpenMM's exchanges take theirs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    state = random.getstate()
    random.seed(1)
    yield
    random.setstate(state)


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    """Call `main` as `python examples/NAME.py ARGUMENTS` would."""
    path = ROOT / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [path.name, *map(str, arguments)])
    assert module.main() == 0


def test_dynamics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "openmm_md", NATIVE, "--steps", 200, "--frames", 10, "--output", tmp_path / "run")
    frames = mdtraj.load(str(tmp_path / "run" / "trajectory.dcd"), top=str(tmp_path / "run" / "topology.pdb"))
    assert (frames.n_frames, frames.n_atoms) == (10, 10)
    log = (tmp_path / "run" / "log.csv").read_text(encoding="utf-8").splitlines()
    assert len(log) == 11
    assert re.search(r"200 steps of 10 beads, potential energy at the end -?\d", capsys.readouterr().out)


def test_replica_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "rex"
    short = ["--replicas", 3, "--iterations", 6, "--steps", 20, "--equilibration", 50, "--interval", 2]
    run(monkeypatch, "openmm_replica_exchange", NATIVE, *short, "--output", folder)
    assert "iterations so far: 6" in capsys.readouterr().out
    run(monkeypatch, "openmm_replica_exchange", NATIVE, *short, "--resume", "--output", folder)
    assert "iterations so far: 12" in capsys.readouterr().out
    frames = mdtraj.load(str(folder / "state_0.xtc"), top=str(folder / "topology.pdb"))
    assert frames.n_frames == 6


@pytest.mark.skipif(importlib.util.find_spec("openmmtools") is None, reason="openmmtools is not installed")
def test_sampler_of_openmmtools(tmp_path: Path) -> None:
    """In a process of its own: the package warns while it is imported."""
    script, file = ROOT / "examples" / "openmm_openmmtools.py", tmp_path / "run.nc"
    short = ["--replicas", "3", "--iterations", "4", "--steps", "20", "--output", str(file)]
    done = subprocess.run([sys.executable, script, NATIVE, *short], capture_output=True, text=True, check=True)
    assert "iterations: 4; temperatures that each replica visited:" in done.stdout
    assert file.is_file()


@pytest.mark.parametrize("interpolate", [False, True])
def test_mixed_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interpolate: bool
) -> None:
    pytest.importorskip("openmmml")
    short = ["--steps", 4, "--frames", 2, "--padding", 0.6, "--minimize", 5]
    chosen = ["--interpolate"] if interpolate else []
    structure = STRUCTURES / "alanine_dipeptide.pdb"
    run(monkeypatch, "openmm_mixed", structure, *short, *chosen, "--output", tmp_path / "mixed")
    text = capsys.readouterr().out
    assert re.search(r"4 steps of 22 atoms of the model and \d+ of the force field", text)
    if interpolate:
        energies = [float(found) for found in re.findall(r"lambda_interpolate [\d.]+: (-?[\d.]+)", text)]
        assert energies[1] == pytest.approx(0.5 * (energies[0] + energies[2]), rel=1e-6)
    else:
        # The energy of a model that was trained on total energies is that of 22 atoms, whatever the water.
        assert float(re.search(r"energy of the model (-?[\d.]+)", text)[1]) < -1e4
    frames = mdtraj.load(str(tmp_path / "mixed" / "trajectory.dcd"), top=str(tmp_path / "mixed" / "topology.pdb"))
    assert frames.n_frames == 2


def test_overhead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "benchmarks"))
    threads, shared = torch.get_num_threads(), ("machine", "options", "results", "timing", "workloads", "contestants")
    for name in shared:
        monkeypatch.delitem(sys.modules, name, raising=False)
    written = tmp_path / "overhead.csv"
    short = ["--beads", 12, "--rounds", 2, "--steps", 5, "--platforms", "Reference", "--csv", written]
    try:
        run(monkeypatch, "benchmarks/openmm_overhead", *short)
    finally:
        torch.set_num_threads(threads)
        for name in shared:
            sys.modules.pop(name, None)
    with written.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = [(row["way"], row["model"]) for row in rows]
    ways = [(way, model) for way in ("native", "python") for model in ("constant", "springs")]
    assert kinds == [("empty", ""), *ways]
    empty = float(rows[0]["step"])
    for row in rows[1:]:
        assert float(row["added"]) == pytest.approx(float(row["step"]) - empty, abs=0.01 * float(row["step"]))
        assert (row["evaluator"] == "") == (row["way"] == "native")
        expected = float(row["added"]) - float(row["evaluator"] or 0.0)
        assert float(row["overhead"]) == pytest.approx(expected, abs=0.01 * float(row["step"]))
        assert (row["beads"], row["threads"]) == ("12", "1")
    assert "12 beads, Langevin; microseconds" in capsys.readouterr().out
