"""`flashmd pde bench` prints a table and writes numbers and a figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flashmd.cli.main import app
from flashmd.cli.pde import parse_case

SMALL = ["--points", "10", "--seeds", "3"]


def test_closed_approximations_need_no_training(tmp_path: Path) -> None:
    cases = ["burgers:4", "convection:3"]
    result = CliRunner().invoke(app, ["pde", "bench", *cases, "--iterations", "0", *SMALL, "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "reduced by" in lines[0]
    assert [line.split()[:2] for line in lines[1:]] == [["burgers", "4"], ["convection", "3"]]
    numbers = json.loads((tmp_path / "pde_bench.json").read_text(encoding="utf-8"))
    assert [entry["after"] < 0.3 * entry["before"] for entry in numbers] == [True, True]
    assert (tmp_path / "pde_bench.png").stat().st_size > 10_000


@pytest.mark.parametrize("method", ["newton", "mlp"])
def test_a_short_training(method: str) -> None:
    words = ["pde", "bench", "burgers:4", "--iterations", "30", "--method", method, *SMALL]
    result = CliRunner().invoke(app, [*words, "--evaluations", "900", "--no-hard"])
    assert result.exit_code == 0, result.output
    assert "burgers" in result.output


@pytest.mark.parametrize("text", ["burgers", "burgers:", "burgers:0", "burgers:x"])
def test_wrong_cases(text: str) -> None:
    with pytest.raises(ValueError, match=f"a case: expected `name:d` with a positive d, got '{text}'"):
        parse_case(text)
    result = CliRunner().invoke(app, ["pde", "bench", text])
    assert result.exit_code == 1
