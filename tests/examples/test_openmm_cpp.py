"""The C++ program: the commands of its README build it, and it evaluates the model as Python does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mdtraj
import pytest
import torch

from flashmd.interfaces.model import open_model
from flashmd.interfaces.molecule import system_of
from flashmd.interfaces.openmm.native import PLUGIN

ROOT = Path(__file__).parents[2]
PROGRAM = Path("runs/openmm_cpp/simulate")
INPUT = ["runs/openmm_cpp/model.flashmd", "runs/openmm_cpp/positions.txt"]

pytest.importorskip("openmm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of README.md have run."""
    if shutil.which("g++") is None or not PLUGIN.is_file():
        pytest.skip("needs a C++ compiler and the plugin")
    folder = tmp_path_factory.mktemp("cpp")
    for name in ("examples", "data", "flashmd"):
        (folder / name).symlink_to(ROOT / name)
    text = (ROOT / "examples" / "openmm_cpp" / "README.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        ["bash", "-euc", commands], cwd=folder, env=os.environ | paths, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert re.search(r"^potential energy after 20 ps: -?\d[\d.]+ kJ/mol$", run.stdout, re.MULTILINE)
    return folder


def simulate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_energy_is_that_of_python(folder: Path) -> None:
    run = simulate(folder, *INPUT, "0")
    model = open_model("chignolin-ca")
    trajectory = mdtraj.load(str(ROOT / "data" / "structures" / "chignolin_native_ca.pdb"))
    system = system_of(trajectory.topology, model.potential, dtype=torch.float32)
    energy = float(model.evaluate(system.with_positions(torch.tensor(trajectory.xyz[0]))).energy)
    assert run.stdout == f"potential energy after 0 ps: {energy:.6g} kJ/mol\n"


def test_wrong_input_is_refused(folder: Path) -> None:
    assert simulate(folder).stderr == "usage: simulate MODEL.flashmd POSITIONS.txt N_STEPS\n"
    run = simulate(folder, "absent.flashmd", INPUT[1], "1")
    assert run.returncode == 1
    assert run.stderr.startswith("FlashMDForce: compiled model 'absent.flashmd': expected a readable file, got No such")
    run = simulate(folder, INPUT[0], "absent.txt", "1")
    assert run.stderr == "absent.txt: expected three numbers for each particle\n"
