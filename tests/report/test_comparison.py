from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import truncnorm

from flashmd.analysis import Basins, rmsd, summarize
from flashmd.report import write_comparison
from flashmd.report.ensembles import ensemble_at, lowest_rmsd, rung_ensemble
from flashmd.report.native import read_native, read_reference
from flashmd.report.run import read_run
from flashmd.units import BOLTZMANN
from tests.report.conftest import equilibrium, write_run

SCRIPTS = Path(__file__).parents[2] / "examples" / "analysis"


def run_script(name: str, arguments: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run an example as `python NAME ARGUMENTS` would."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def reference(finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "reference.npz"
    positions = finished.positions[:, 2:4].swapaxes(0, 1).reshape(-1, 10, 3)
    np.savez(path, positions=positions, temperature=340.0, trajectory=np.repeat([0, 1], 120))
    return path


def test_run_against_its_own_frames_differs_in_nothing(finished, native: Path, reference: Path, tmp_path: Path) -> None:
    paths = write_comparison(
        finished.path, reference, native_pdb=native, output=tmp_path / "new", temperature=340.0, discard=0.0
    )
    numbers = json.loads(paths.numbers.read_text())
    share = finished.folded[:, 2:4].mean()
    assert numbers["model"]["folded"]["value"] == pytest.approx(share)
    assert numbers["reference"]["folded"] == pytest.approx(numbers["model"]["folded"])
    # XTC rounds to 0.001 nm, which moves a frame now and then to the next bin
    assert numbers["difference"]["q"]["overlap"] > 0.95
    assert numbers["run"][2] == "model sha256 0123abcd"
    profile = numbers["model"]["rmsd_profile"]
    assert len(profile["center"]) == len(profile["value"]) == len(profile["error"]) == len(profile["count"])
    assert sum(profile["count"]) == 240
    table = paths.table.read_text(encoding="utf-8")
    assert f"| folded (RMSD < 0.2 nm) | {100 * share:.1f} ± " in table
    assert {line.count("|") for line in table.splitlines()} == {4}
    assert paths.figure.read_bytes()[:4] == b"\x89PNG"


def test_the_example_script(
    finished, native: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    arguments = [finished.path, reference, native, tmp_path / "out"]
    run_script("compare_chignolin.py", arguments, monkeypatch)
    assert capsys.readouterr().out == (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"comparison.{s}" for s in ("png", "json", "md")}


def test_a_rung_is_taken_as_it_is(finished, native: Path) -> None:
    run = read_run(finished.path)
    structure = read_native(native, run)
    found = ensemble_at(run, structure, 340.2, discard=0.0)
    assert found.weights is None
    assert found.label == "hairpin"
    np.testing.assert_array_equal(found.positions, rung_ensemble(run, structure, 1, discard=0.0).positions)


def test_between_rungs_frames_are_reweighted_in_the_order_of_time(tmp_path: Path, native: Path) -> None:
    # energies of a two-state system in equilibrium at each rung, so that the truth in between is known
    written = write_run(tmp_path / "run", n_times=4000, walkers=1, two_state_gap=20.0)
    run = read_run(written.path)
    structure = read_native(native, run)
    ensemble = ensemble_at(run, structure, 320.0, discard=0.0)
    summary = summarize(ensemble, structure.positions)
    assert summary.folded.value == pytest.approx(equilibrium(20.0, 320.0), abs=3 * summary.folded.error)
    assert summary.folded.error < 0.02
    assert abs(equilibrium(20.0, 300.0) - equilibrium(20.0, 340.0)) > 0.15
    assert ensemble.label == "hairpin (MBAR)"
    # rungs alternate: frames 0, 1, 2 are those of the first saved step
    first = written.positions[0]
    np.testing.assert_allclose(ensemble.positions[:3], first, atol=6e-4)


def test_temperature_outside_the_ladder(finished, native: Path) -> None:
    run = read_run(finished.path)
    with pytest.raises(ValueError, match="temperature: expected 300 K to 380 K, got 250 K"):
        ensemble_at(run, read_native(native, run), 250.0, discard=0.0)


def test_lowest_rmsd_of_replicas_that_start_unfolded(finished, native: Path) -> None:
    run = read_run(finished.path)
    structure = read_native(native, run)
    overall, reached = lowest_rmsd(run, structure, Basins())
    distance = np.array([rmsd(frames, structure.positions) for frames in finished.positions])
    continuous = np.empty_like(distance)
    for time in range(distance.shape[0]):
        for replica in range(6):
            slot = finished.rung[time, replica] * 2 + replica % 2
            continuous[time, replica] = distance[time, slot]
    started = continuous[0] > 0.4
    assert 0 < started.sum() < 6
    assert reached == pytest.approx(continuous[:, started].min(), abs=1e-3)
    assert overall == pytest.approx(distance.min(), abs=1e-3)


def test_umbrella_windows_become_a_reference(
    finished, native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # flat landscape: without the bias Q is uniform, so the weights have to give back its mean of one half
    spread = np.sqrt(BOLTZMANN * 340.0 / 450.0)
    center = np.tile(np.repeat(np.linspace(0.05, 0.95, 10), 40), 5)
    generator = np.random.default_rng(0)
    q = truncnorm.rvs(-center / spread, (1.0 - center) / spread, center, spread, random_state=generator)
    run = tmp_path / "umbrella"
    run.mkdir()
    (run / "topology.pdb").write_bytes(native.read_bytes())
    frames = finished.positions.reshape(-1, 10, 3)[generator.integers(0, 700, q.size)]
    for number, part in enumerate(np.split(np.arange(q.size), 5), start=1):
        arrays = {"positions": frames[part], "center": center[part], "q": q[part], "potential": np.zeros(part.size)}
        arrays |= {"temperature": np.full(part.size, 340.0), "replica": np.arange(part.size) // 40}
        np.savez(run / f"chunk_{number:05d}.npz", **arrays)
    target = tmp_path / "reference.npz"
    run_script("umbrella_reference.py", [run, target, "--skip", "10", "--resamples", "5"], monkeypatch)
    with np.load(target) as data:
        assert data["positions"].shape == (1600, 10, 3)
        assert data["resampled_weights"].shape == (5, 1600)
        assert data["weights"] @ q[400:] == pytest.approx(0.5, abs=0.06)
        assert np.unique(data["trajectory"]).size == 10
    structure = read_native(native, read_run(finished.path))
    ensemble = read_reference(target, structure, n_beads=10, temperature=340.0)
    assert np.shape(ensemble.resampled) == (5, 1600)
