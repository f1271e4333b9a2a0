"""The kernels compile for every architecture without a warning where nvcc is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"
ARCHITECTURES = ("arch=compute_80,code=sm_80", "arch=compute_90,code=[sm_90,compute_90]")


@pytest.mark.parametrize("source", sorted((CSRC / "cuda").glob("*.cu")), ids=lambda path: path.stem)
def test_no_warnings(source, tmp_path):
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    command = [nvcc, "-std=c++20", "-O3", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Wno-unknown-pragmas"]
    for architecture in ARCHITECTURES:
        command += ["-gencode", architecture]
    run = subprocess.run(
        [*command, "-c", str(source), "-o", str(tmp_path / "kernels.o")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
