"""The examples and the benchmark of flashmd.kinetics run, with few paths, and do what they say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

from flashmd.kinetics import MuellerBrownTable

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kT", [10.0, 20.0])
def test_mueller_brown(kT: float, capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand paths for each point leave a fifth of the network's error, and the rates of the table."""
    table = MuellerBrownTable.at(kT)
    before, after, rates = load("kinetics_muller_brown").main(table, 800, 300, 1000, 600, 1e-4)
    assert after < 0.2 * before
    for found, error, exact in (
        (rates.forward, rates.forward_standard_error, table.forward),
        (rates.backward, rates.backward_standard_error, table.backward),
    ):
        assert abs(found - exact) < 3.0 * error
        assert error < 0.7 * exact
    corrected = re.search(r"corrected: .*chi\^2 per point ([0-9.]+)", capsys.readouterr().out)
    assert corrected is not None
    assert float(corrected[1]) < 2.5  # the mean of 11 squares; one in 300 is larger


def test_table_of_mueller_brown() -> None:
    """Coarse grids give the table, too."""
    found, _ = load("data_generation/mueller_brown").extrapolate(15.0, 0.04)
    table = MuellerBrownTable.at(15.0)
    assert found.committor == pytest.approx(table.committor.numpy(), abs=1e-5)
    assert found.rates == pytest.approx((table.forward, table.backward), rel=1e-4)


def test_chignolin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Sets so close together that paths are short."""
    module = load("kinetics_chignolin")
    monkeypatch.setattr(module, "FOLDED", 0.16)
    monkeypatch.setattr(module, "UNFOLDED", 0.24)
    corrected, plain = module.main(10, 2, 32, 32, 20)
    error = (corrected.standard_error.square() + plain.standard_error.square()).sqrt()
    assert ((corrected.value - plain.value).abs() < 5.0 * error + 0.1).all()
    assert "chi^2 per point" in capsys.readouterr().out


def test_butane(capsys: pytest.CaptureFixture[str]) -> None:
    corrected, plain = load("kinetics_butane").main(16, 4, 32, 32, 100)
    error = (corrected.standard_error.square() + plain.standard_error.square()).sqrt()
    assert ((corrected.value - plain.value).abs() < 5.0 * error).all()
    assert (corrected.surrogate > 0.0).all()
    assert corrected.surrogate[-1] > corrected.surrogate[0]
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
