"""The examples and benchmarks with ASE, made short."""

from __future__ import annotations

import csv
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from ase.io import read

ROOT = Path(__file__).parents[2]
STRUCTURES = ROOT / "data" / "structures"
NAMES = (
    "ase_md",
    "ase_neb",
    "ase_overhead",
    "nve_engines",
    "machine",
    "options",
    "results",
    "timing",
    "workloads",
    "contestants",
)
DOUBLE = 1e-4
"""kJ/mol, between engines after some femtoseconds: the energies of ASE's units differ by 1e-8 of a large number."""
SINGLE = 0.05


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Make the scripts importable, fresh, and forget them afterwards; threads are put back."""
    threads = torch.get_num_threads()
    for folder in (ROOT / "examples", ROOT / "examples" / "benchmarks"):
        monkeypatch.syspath_prepend(str(folder))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield monkeypatch
    for name in NAMES:
        sys.modules.pop(name, None)
    torch.set_num_threads(threads)


def run(scripts: pytest.MonkeyPatch, name: str, *arguments: object) -> ModuleType:
    """Call `main` as `python NAME.py ARGUMENTS` would."""
    module = importlib.import_module(name)
    scripts.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    assert module.main() == 0
    return module


@pytest.mark.parametrize(
    "structure, model, n_atoms",
    [("chignolin_native_ca", "chignolin-ca", 10), ("alanine_dipeptide", "organic-gfn2", 22)],
)
def test_dynamics(
    structure: str,
    model: str,
    n_atoms: int,
    tmp_path: Path,
    scripts: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    short = ["--steps", 20, "--frames", 4, "--relax", 5, "--time-step", 0.5, "--output", tmp_path]
    run(scripts, "ase_md", STRUCTURES / f"{structure}.pdb", "--model", model, *short)
    frames = read(tmp_path / "trajectory.extxyz", ":")
    assert [len(frame) for frame in frames] == [n_atoms] * 5
    assert frames[0].get_forces().shape == (n_atoms, 3)
    assert np.abs(frames[-1].positions - frames[0].positions).max() > 0.0
    assert len((tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()) == 6
    assert f"20 steps of {n_atoms} particles" in capsys.readouterr().out


def test_band(tmp_path: Path, scripts: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(
        scripts,
        "ase_neb",
        "--structure",
        STRUCTURES / "alanine_dipeptide.pdb",
        "--images",
        3,
        "--steps",
        10,
        "--output",
        tmp_path,
    )
    assert len(read(tmp_path / "path.extxyz", ":")) == 5
    with (tmp_path / "path.csv").open(newline="", encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    energies = [row["energy_kj_per_mol"] for row in rows]
    assert energies[0] == 0.0
    assert max(energies[1:-1]) > max(energies[0], energies[-1])
    # The ends are near the conformations that they are named after, the path leads from one to the other.
    for row, (phi, psi) in zip((rows[0], rows[-1]), ((-80.0, 70.0), (70.0, -65.0)), strict=True):
        assert abs(row["phi_degrees"] - phi) < 30.0
        assert abs(row["psi_degrees"] - psi) < 30.0
    captured = capsys.readouterr()
    assert re.search(r"From C7eq to C7ax: barrier \d+\.\d kJ/mol, difference -?\d+\.\d kJ/mol", captured.out)
    assert "The band moved after 10 steps still; raise --steps" in captured.err


def test_overhead(tmp_path: Path, scripts: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "overhead.csv"
    module = run(scripts, "ase_overhead", "--beads", 30, "--rounds", 2, "--steps", 10, "--csv", table)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["calculator"] for row in rows[::2]] == ["minimal", "flashmd", "ASE's cache", "flashmd, springs"]
    assert all(1.0 < float(row["step"]) < 1e5 for row in rows)
    assert [float(row["ratio"]) for row in rows[:2]] == [1.0, 1.0]
    assert "microseconds per step of 30 beads" in capsys.readouterr().out
    # Atoms that stand still would be served from the cache.
    calculator = module._calculators(30)["flashmd"]
    module._integrators()["VelocityVerlet"](module._atoms(30, calculator)).run(10)
    assert calculator.n_evaluations == 11
    with pytest.raises(SystemExit):
        run(scripts, "ase_overhead", "--rounds", 0)
    assert "`--beads`, `--rounds` and `--steps`: expected at least 1, got less" in capsys.readouterr().err


def test_engines_conserve_energy_equally(
    tmp_path: Path, scripts: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openmm")
    module = importlib.import_module("nve_engines")
    results, measure = {}, module.run
    scripts.setattr(module, "run", lambda case, *rest: results.setdefault(case, measure(case, *rest)))
    figure = tmp_path / "figures" / "nve.png"
    run(scripts, "nve_engines", "--steps", 60, "--interval", 1, "--figure", figure)
    assert figure.stat().st_size > 10_000
    assert capsys.readouterr().out.count("OpenMM") == 4
    assert list(results) == list(module.CASES)
    for energies in results.values():
        assert len(energies) == 6
        for (dtype, _), values in energies.items():
            expected = energies[dtype, "flashmd"]
            assert values.shape == (61,)
            within = DOUBLE if dtype == "float64" else SINGLE
            np.testing.assert_allclose(values - values[0], expected - expected[0], rtol=0.0, atol=within)
            assert 0.0 < np.abs(values - values[0]).max() < 2.0
    with pytest.raises(SystemExit):
        run(scripts, "nve_engines", "--steps", 200)
    assert "`--interval`: expected 1 to 4, a fiftieth of the steps, got 10" in capsys.readouterr().err
