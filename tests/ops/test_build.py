"""The build of the extension: what the environment variable accepts, and that nothing is compiled twice."""

from __future__ import annotations

import os
import subprocess
import sys


def build(root, folder, **environment):
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(folder / "lib")]
    command += ["--build-temp", str(folder / "temp")]
    run = subprocess.run(
        command, cwd=root, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=900
    )
    return run.returncode, run.stderr


def test_unknown_choice_of_cuda(root, tmp_path):
    code, text = build(root, tmp_path, FLASHMD_CUDA="MAYBE")
    assert code == 1
    assert "FLASHMD_CUDA: expected AUTO, ON or OFF, got 'MAYBE'. To fix it, set one of them." in text


def test_cuda_is_wanted_and_missing(root, tmp_path):
    code, text = build(root, tmp_path, FLASHMD_CUDA="ON", PATH=str(tmp_path), CUDA_HOME=str(tmp_path))
    assert code == 1
    assert "FLASHMD_CUDA=ON: expected nvcc, got none. To fix it, install it or set CUDA_HOME." in text


def test_second_build_compiles_nothing(root, tmp_path):
    assert build(root, tmp_path, FLASHMD_CUDA="OFF") == (0, "")
    objects = sorted((root / "build" / "kernels").glob("*.o"))
    before = [path.stat().st_mtime_ns for path in objects]
    assert build(root, tmp_path, FLASHMD_CUDA="OFF") == (0, "")
    assert [path.stat().st_mtime_ns for path in objects] == before
    assert len(objects) >= 7
    assert (tmp_path / "lib" / "flashmd" / "_kernels.so").stat().st_size > 10_000
    assert (tmp_path / "lib" / "flashmd" / "libOpenMMFlashMD.so").stat().st_size > 10_000


def test_without_openmm_its_plugin_is_left_out(root, tmp_path):
    hidden = "import importlib.util as u, runpy, sys; find = u.find_spec; sys.argv = sys.argv[1:]; "
    hidden += "u.find_spec = lambda name: None if name == 'openmm' else find(name); runpy.run_path('setup.py')"
    command = [sys.executable, "-c", hidden, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path)]
    run = subprocess.run(
        command, cwd=root, env={**os.environ, "FLASHMD_CUDA": "OFF"}, capture_output=True, text=True, check=True
    )
    assert run.stderr == "OpenMM is not installed: its plugin libOpenMMFlashMD is left out\n"
    assert [path.name for path in (tmp_path / "flashmd").iterdir()] == ["_kernels.so"]
