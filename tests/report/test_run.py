from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from flashmd.report import IncompleteRunError
from flashmd.report.run import frame_energies, read_frames, read_run

XTC_PRECISION = 0.0006  # nm; the format rounds to 0.001


@pytest.fixture
def copy(finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.path, tmp_path / "copy"))


def test_log_and_exchanges(finished) -> None:
    run = read_run(finished.path)
    assert run.temperatures == (300.0, 340.0, 380.0)
    np.testing.assert_array_equal(run.rung, finished.rung)
    np.testing.assert_array_equal(run.energy, finished.energy)
    np.testing.assert_allclose(run.acceptance, [0.2, 0.2])
    assert run.time[-1] == pytest.approx(120 * 500 * 4e-6)
    assert run.total_time == pytest.approx(6 * 120 * 500 * 4e-6)
    assert run.nanoseconds_per_day is None
    assert run.notes[2] == "model sha256 0123abcd"
    assert run.residues[:3] == ("TYR", "TYR", "ASP")


def test_frames_of_a_temperature_hold_both_walkers(finished) -> None:
    frames = read_frames(read_run(finished.path), 1)
    truth = finished.positions[:, 2:4].swapaxes(0, 1).reshape(-1, 10, 3)
    np.testing.assert_allclose(frames.positions, truth, atol=XTC_PRECISION)
    assert frames.walker.tolist() == [0] * 120 + [1] * 120
    assert frames.step[:3].tolist() == [500, 1000, 1500]


def test_discarded_frames_are_the_first(finished) -> None:
    frames = read_frames(read_run(finished.path), 0, discard=0.25)
    assert frames.step.min() == 500 * 31
    assert frames.step.size == 2 * 90


def test_energies_of_frames_follow_the_replica_that_holds_the_temperature(finished) -> None:
    run = read_run(finished.path)
    for rung in range(3):
        frames = read_frames(run, rung, discard=0.5)
        found = frame_energies(run, frames, rung)
        for step, walker, energy in zip(frames.step, frames.walker, found, strict=True):
            time = step // 500 - 1
            replica = next(r for r in range(6) if r % 2 == walker and finished.rung[time, r] == rung)
            assert energy == finished.energy[time, replica]


def test_half_written_end_of_the_log_is_left_out(copy: Path) -> None:
    text = (copy / "log.csv").read_text()
    (copy / "log.csv").write_text(text[: text.rstrip().rfind("\n") + 12])
    assert read_run(copy).step.size == 119


def test_speed_is_that_of_all_parts_of_the_run(copy: Path) -> None:
    (copy / "performance.csv").write_text("simulated_ns,wall_s\n1.0,60.0\n3.0,60.0\n")
    assert read_run(copy).nanoseconds_per_day == pytest.approx(4.0 / 120.0 * 86400.0)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(IncompleteRunError, match="expected a folder, got nothing of that name"):
        read_run(tmp_path / "absent")


@pytest.mark.parametrize("name", ["config.resolved.yaml", "topology.pdb", "log.csv", "exchanges.csv"])
def test_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(IncompleteRunError, match=f"expected {name}, got no such file. To fix it, pass the `output` fo"):
        read_run(copy)


def test_missing_and_empty_trajectories(copy: Path) -> None:
    run = read_run(copy)
    (copy / "T_300.0K_walker_0.xtc").write_bytes(b"")
    with pytest.raises(IncompleteRunError, match=r"expected frames in T_300.0K_walker_0.xtc, got an empty file"):
        read_frames(run, 0)
    (copy / "T_340.0K_walker_1.xtc").unlink()
    with pytest.raises(IncompleteRunError, match=r"expected frames in T_340.0K_walker_1.xtc, got no such file"):
        read_frames(run, 1)


def test_log_without_lines(copy: Path) -> None:
    first = (copy / "log.csv").read_text().splitlines()[0]
    (copy / "log.csv").write_text(first + "\n")
    with pytest.raises(IncompleteRunError, match=r"expected lines of 6 replicas, got 0\. To fix it, let the run reach"):
        read_run(copy)


def test_log_of_another_format(copy: Path) -> None:
    (copy / "log.csv").write_text("step,energy\n1,2\n")
    with pytest.raises(IncompleteRunError, match="got no kinetic_temperature_K, potential_energy_kJ_mol, replica"):
        read_run(copy)


def test_damaged_log(copy: Path) -> None:
    lines = (copy / "log.csv").read_text().splitlines()
    (copy / "log.csv").write_text("\n".join([*lines[:3], lines[3].replace("500", "x"), *lines[4:]]) + "\n")
    with pytest.raises(IncompleteRunError, match="expected numbers in every line"):
        read_run(copy)
    (copy / "log.csv").write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(IncompleteRunError, match="expected replicas 0 to 5 at each step, got another order"):
        read_run(copy)


def test_exchanges_of_another_ladder(copy: Path) -> None:
    text = (copy / "exchanges.csv").read_text().splitlines()
    (copy / "exchanges.csv").write_text("\n".join(text[:2]) + "\n")
    with pytest.raises(IncompleteRunError, match="expected 2 pairs, got 1"):
        read_run(copy)


def test_frames_without_energies(copy: Path) -> None:
    lines = (copy / "log.csv").read_text().splitlines()
    (copy / "log.csv").write_text("\n".join([lines[0], *lines[7:]]) + "\n")
    run = read_run(copy)
    with pytest.raises(IncompleteRunError, match="expected the energy of step 500, got no such line"):
        frame_energies(run, read_frames(run, 0), 0)


def test_everything_discarded(copy: Path) -> None:
    run = read_run(copy)
    with pytest.raises(IncompleteRunError, match="trajectories at 300 K: expected frames after step 60000, got none"):
        read_frames(run, 0, discard=1.0)


def test_trajectory_of_another_molecule(copy: Path) -> None:
    run = read_run(copy)
    from flashmd.xtc import encode_xtc

    (copy / "T_300.0K_walker_0.xtc").write_bytes(encode_xtc(np.zeros((1, 1, 4, 3)), [500], [2.0])[0])
    with pytest.raises(IncompleteRunError, match=r"expected 10 beads as in topology\.pdb, got 4"):
        read_frames(run, 0)
