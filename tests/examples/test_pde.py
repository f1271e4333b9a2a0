"""The examples of flashmd.pde run, in few dimensions, and do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_hamilton_jacobi(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = load("pde_hjb").main(8, 4)
    assert after < 0.3 * before
    assert "95% interval" in capsys.readouterr().out


def test_burgers(capsys: pytest.CaptureFixture[str]) -> None:
    network, corrected, refitted = load("pde_burgers").main(5, 60)
    assert corrected < 0.3 * network
    assert refitted < 0.5 * network
    assert "in their 95% intervals" in capsys.readouterr().out


def test_speed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "benchmarks"))
    threads = torch.get_num_threads()
    results = load("benchmarks/pde_speed").main(200, 8, 64, [1], 2)
    torch.set_num_threads(threads)
    assert results["seconds_1"] > 0.0
    assert results["step"] > 0.0
    assert "8 points, d = 200, 64 evaluations each" in capsys.readouterr().out
