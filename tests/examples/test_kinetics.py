"""The examples and the benchmark of flashmd.kinetics run, with few paths, and do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mueller_brown(capsys: pytest.CaptureFixture[str]) -> None:
    before, after, rates = load("kinetics_muller_brown").main(20.0, 800, 200, 100, 500, 2e-4)
    assert after < before
    assert abs(rates.forward - 0.735837) < 5.0 * rates.forward_standard_error
    assert "network alone" in capsys.readouterr().out


def test_chignolin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Sets so close together that paths are short."""
    module = load("kinetics_chignolin")
    monkeypatch.setattr(module, "FOLDED", 0.16)
    monkeypatch.setattr(module, "UNFOLDED", 0.24)
    corrected, plain = module.main(10, 2, 32, 32, 20)
    error = (corrected.standard_error.square() + plain.standard_error.square()).sqrt()
    assert ((corrected.value - plain.value).abs() < 5.0 * error + 0.1).all()
    assert "chi^2 per point" in capsys.readouterr().out


def test_references(capsys: pytest.CaptureFixture[str]) -> None:
    module = load("benchmarks/kinetics_references")
    problem = module.hidden_double_well(2, height=1.0)
    estimate = module.committor(
        problem.dynamics, problem.A, problem.B, x=problem.place(torch.zeros(1)),
        settings=module.PathSettings(time_step=1e-2, paths_per_point=50), surrogate=module.steep(problem),
    )  # fmt: skip
    module.show("double well", 2, estimate, 0.5)
    module.cost(32)
    output = capsys.readouterr().out
    assert "| double well | 2 | 0.0" in output
    assert "a step of 32 paths over force and gradient" in output
