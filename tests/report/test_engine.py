"""The engine and the report agree on the files of a run."""

from __future__ import annotations

import io
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch
from rich.console import Console

from flashmd.cg import build_system, map_structure
from flashmd.md import RunPlan, parse_config, simulate
from flashmd.md.reporters import bead_topology
from flashmd.protocols import Evaluation
from flashmd.report import write_report
from flashmd.report.run import frame_energies, read_frames, read_run
from flashmd.system import System
from flashmd.units import BOLTZMANN

STIFFNESS = 2000.0  # kJ/mol/nm^2


class Tethers:
    """Every bead is tied to its native place by a spring."""

    def __init__(self, native: torch.Tensor) -> None:
        self.native = native

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        shift = system.positions - self.native.repeat(system.n_systems, 1)
        energy = torch.zeros(system.n_systems, dtype=torch.float64)
        energy = energy.index_add(0, system.batch, 0.5 * STIFFNESS * shift.square().sum(1).double())
        return Evaluation(energy, -STIFFNESS * shift)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    native = Path(__file__).parents[2] / "data" / "structures" / "chignolin_native_ca.pdb"
    structure = map_structure(native, "ca")
    values = {
        "model": "tethers",
        "structure": str(native),
        "output": str(tmp_path_factory.mktemp("engine") / "run"),
        "temperatures": ["300 K", "310 K"],
        "walkers": 2,
        "time_step": "5 fs",
        "friction": "10 / ps",
        "n_steps": 750,
        "exchange_interval": 10,
        "save_interval": 10,
        "checkpoint_interval": 375,
        "recentre_interval": 0,
        "seed": 3,
    }
    one = build_system(structure, dtype=torch.float32)
    topology = bead_topology(structure.bead_names, [(name, i + 1, 0) for i, name in enumerate(structure.sequence)])
    for n_steps, resume in ((750, False), (1500, True)):
        config = parse_config(values | {"n_steps": n_steps})
        plan = RunPlan(config, Tethers(one.positions), "0" * 64, one.replicate(4), topology, backend="reference")
        simulate(plan, resume=resume, console=Console(file=io.StringIO()))
    return Path(config.output)


def test_files_are_understood(folder: Path) -> None:
    run = read_run(folder)
    assert run.step.tolist() == list(range(10, 1501, 10))
    assert run.proposed.sum() > 0
    for rung in range(2):
        frames = read_frames(run, rung)
        assert frames.step.size == 300
        native = mdtraj.load(str(folder / "topology.pdb")).xyz[0]
        energy = 0.5 * STIFFNESS * ((frames.positions - native) ** 2).sum(axis=(1, 2))
        # topology and XTC both round to 0.001 nm or better
        np.testing.assert_allclose(frame_energies(run, frames, rung), energy, rtol=0.03, atol=0.5)
        kept = energy[frames.step > 300]
        assert kept.mean() == pytest.approx(15 * BOLTZMANN * run.temperatures[rung], rel=0.1)


def test_speed_covers_both_calls(folder: Path) -> None:
    lines = (folder / "performance.csv").read_text().splitlines()
    assert lines[0] == "simulated_ns,wall_s"
    parts = [[float(value) for value in line.split(",")] for line in lines[1:]]
    assert [part[0] for part in parts] == pytest.approx([4 * 750 * 5e-6] * 2)
    expected = sum(part[0] for part in parts) / sum(part[1] for part in parts) * 86400.0
    assert read_run(folder).nanoseconds_per_day == pytest.approx(expected)


def test_report_of_a_real_run(folder: Path) -> None:
    text = write_report(folder, None).page.read_text(encoding="utf-8")
    assert "100.0 ± 0.0 %" in text
    assert "speed, all replicas" in text
