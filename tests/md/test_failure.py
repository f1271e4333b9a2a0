"""Trajectories that explode, and disks that fill up."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import BinaryIO

import mdtraj
import numpy as np
import pytest
import torch

from flashmd import files
from flashmd.errors import NeighborOverflowError, NonFiniteForceError, OutputError
from flashmd.md import LangevinBAOAB
from flashmd.md.failure import is_sound
from flashmd.md.random_streams import replica_identities
from flashmd.md.restart import read_checkpoint
from flashmd.protocols import EnergyModel, Evaluation
from flashmd.system import System
from tests.md.analytic import BACKEND, Dying, Harmonic, Killed, Pole, Remembering, contents, run, run_config, run_plan

WALL = 0.22


def first_failure(folder: Path, model: EnergyModel) -> tuple[int, int, int]:
    """Step, replica and bead at which a model first returns a NaN, without exchanges, looking at every step."""
    config = run_config(folder, **QUIET)
    integrator = LangevinBAOAB(config.time_step, config.friction, config.seed, backend=BACKEND)
    names = replica_identities(1, 2)
    state = integrator.init(run_plan(config, model).system, model, temperature=300.0, identities=names)
    while bool(state.forces.isfinite().all()):
        state = integrator.step(state, model)
    atom = int(torch.nonzero(~state.forces.isfinite().all(1))[0])
    return state.step, *divmod(atom, 3)


QUIET = {"temperatures": "300 K", "n_steps": 2000, "checkpoint_interval": 40}


def test_the_step_the_replica_and_the_bead_are_named(tmp_path: Path) -> None:
    model = Pole(300.0, WALL)
    step, replica, bead = first_failure(tmp_path, model)
    assert step > 40, "the failure must come after the first checkpoint"
    with pytest.raises(NonFiniteForceError) as caught:
        run(run_config(tmp_path / "run", **QUIET), model)
    error, folder = caught.value, tmp_path / "run"
    assert (error.step, error.system, error.atom) == (step, replica, bead)
    text = f"force at step {step}, system {replica}, atom {bead}: expected finite numbers"
    files = f"failure.npz and failure.pdb of {folder}"
    detail = f"The replica is at 300.0 K; its last finite state (step {step - 1}) is in {files}."
    assert str(error).startswith(text)
    assert detail in str(error)
    with np.load(folder / "failure.npz") as file:
        kept = dict(file)
    assert (int(kept["step"]), int(kept["replica"]), int(kept["bead"])) == (step - 1, replica, bead)
    assert np.isfinite(kept["positions"]).all()
    assert WALL * 0.7 < abs(kept["positions"][bead]).max() <= WALL
    np.testing.assert_allclose(mdtraj.load(folder / "failure.pdb").xyz[0], kept["positions"], atol=1e-4)
    frames = mdtraj.load(folder / "T_300.0K_walker_0.xtc", top=folder / "topology.pdb")
    assert frames.n_frames == (step - 1) // 15, "frames before the failure are kept"
    assert read_checkpoint(folder / "checkpoint.safetensors").metadata["step"] == (step - 1) // 40 * 40


def test_a_failure_in_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    model = Pole(300.0, WALL)
    step = first_failure(tmp_path, model)[0]
    run(run_config(tmp_path / "run", **(QUIET | {"n_steps": 20})), model)
    with pytest.raises(NonFiniteForceError) as caught:
        run(run_config(tmp_path / "run", **QUIET), model, resume=True)
    assert caught.value.step == step


def test_flying_apart_is_found_before_numbers_overflow(tmp_path: Path) -> None:
    """An inverted parabola: all numbers stay finite for long, but no molecule is a tenth of a millimetre large."""
    with pytest.raises(NonFiniteForceError) as caught:
        run(run_config(tmp_path / "run", **QUIET), Harmonic(-2e4))
    assert 50 < caught.value.step < 2000
    assert "failure.npz of" in str(caught.value), "the state is too large for the PDB format"
    with np.load(tmp_path / "run" / "failure.npz") as kept:
        assert np.abs(kept["positions"]).max() < 1e5


class Picky(Pole):
    """Refuses what is not finite, as a neighbour list does, so that the chunk ends by an exception."""

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        if not bool(system.positions.isfinite().all()):
            raise ValueError("positions of atom 0: expected finite numbers")
        return super().evaluate(system)


def test_a_refusal_of_bad_positions_becomes_the_failure_behind_it(tmp_path: Path) -> None:
    step = first_failure(tmp_path, Pole(300.0, WALL))[0]
    with pytest.raises(NonFiniteForceError) as caught:
        run(run_config(tmp_path / "run", **QUIET), Picky(300.0, WALL))
    assert caught.value.step == step


@pytest.mark.parametrize("error", [NeighborOverflowError(10, 5), ValueError("of the model")])
def test_other_errors_of_a_model_pass_unchanged(tmp_path: Path, error: Exception) -> None:
    model = Dying(Remembering(300.0, reach=0.05), 30, error)
    with pytest.raises(type(error), match=re.escape(str(error))):
        run(run_config(tmp_path / "run"), model)


def test_a_start_that_is_not_finite_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    text = r"force at step 0, system 0, atom 0: .* The start structure is at fault"
    with pytest.raises(NonFiniteForceError, match=text):
        run(run_config(tmp_path / "run"), Pole(300.0, 0.01))
    assert not (tmp_path / "run").exists()


def test_soundness_sees_every_part_of_a_state() -> None:
    model = Harmonic(1.0)
    system = run_plan(run_config(Path("run")), model).system
    state = LangevinBAOAB(0.004, 1.0, seed=1, backend=BACKEND).init(system, model, temperature=300.0)
    assert bool(is_sound(state))
    for tensor in (state.positions, state.velocities, state.forces, state.energy):
        saved = tensor[1].clone()
        tensor[1] = torch.nan
        assert not bool(is_sound(state))
        tensor[1] = saved


class FullDisk:
    """A disk that takes a number of bytes for files whose name ends so, half of the last write included."""

    def __init__(self, suffix: str, room: int) -> None:
        self.suffix, self.room = suffix, room

    def write(self, file: BinaryIO, data: bytes) -> None:
        if not file.name.endswith(self.suffix):
            file.write(data)
            return
        file.write(data[: self.room])
        self.room -= len(data)
        if self.room < 0:
            file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("suffix", "room"), [("K_walker_1.xtc", 1000), ("log.csv", 1300), (".checkpoint.safetensors.tmp", 9000)]
)
def test_a_full_disk_leaves_the_last_checkpoint_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, room: int
) -> None:
    model, folder = Harmonic(300.0), tmp_path / "run"
    run(run_config(tmp_path / "whole"), model)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", FullDisk(suffix, room).write)
        text = rf"got No space left on device\. To fix it, free some space, then continue .*--resume {folder}`"
        with pytest.raises(OutputError, match=text):
            run(run_config(folder), model)
    assert 0 < read_checkpoint(folder / "checkpoint.safetensors").metadata["step"] < 120
    run(run_config(folder), model, resume=True)
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.parametrize("suffix", [".topology.pdb.tmp", "log.csv", ".config.resolved.yaml.tmp", "safetensors.tmp"])
def test_a_run_that_cannot_begin_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(files, "write_all", FullDisk(suffix, 10).write)
    text = r"room for the first files of a run, got .*No space left on device\. To fix it, free .* then start again"
    with pytest.raises(OutputError, match=text):
        run(run_config(tmp_path / "run"), Harmonic(300.0))
    assert list((tmp_path / "run").iterdir()) == []


def test_a_failure_on_a_full_disk_is_still_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "write_all", FullDisk(".failure.npz.tmp", 10).write)
    with pytest.raises(NonFiniteForceError, match=r"its state was not kept: writing .*failure\.npz"):
        run(run_config(tmp_path / "run", **QUIET), Pole(300.0, WALL))


def test_sudden_death_is_not_mistaken_for_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(run_config(tmp_path / "run"), Dying(Harmonic(300.0), 5, Killed()))
    assert not (tmp_path / "run" / "failure.npz").exists()
