"""The table of accuracies on a short run of the shipped model."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

from flashmd.potential.compiled import network

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "data" / "structures" / "chignolin_native_ca.pdb"


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples" / "benchmarks"))
        patch.delitem(sys.modules, "accuracy", raising=False)
        patch.setattr(sys, "argv", ["accuracy.py", *map(str, arguments)])
        try:
            assert importlib.import_module("accuracy").main() == 0
        finally:
            sys.modules.pop("accuracy", None)
            torch.set_num_threads(threads)
    return capsys.readouterr().out


def test_every_mode_has_a_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "CALIBRATION_ATOMS", 256)
    short = ("--steps", 20, "--interval", 5, "--replicas", 2)
    text = printed(capsys, *short, "--case", "model", "chignolin-ca", NATIVE)
    assert "### model" in text
    assert "10 beads; 64 channels, 64 filters" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| table", "| network"))]
    assert len(rows) == 10
    for mode, _, error, *_, drift in rows:
        allowed = 2e-3 if "16" in mode else 1e-5
        assert float(error) <= allowed
        assert re.fullmatch(r"[+-]\d+\.\d\d ± \d+\.\d\d \|", drift)


def test_modes_that_are_refused_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashmd.potential.compiled.options.STORED_TOLERANCE", 1e-9)
    monkeypatch.setattr(network, "CALIBRATION_ATOMS", 16)
    short = ("--steps", 2, "--interval", 1, "--replicas", 2)
    text = printed(capsys, *short, "--case", "model", "chignolin-ca", NATIVE)
    assert len(re.findall(r"refused: \S+, allowed 1.0e-09", text)) == 6
