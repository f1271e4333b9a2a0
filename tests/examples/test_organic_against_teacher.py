"""The comparison of the all-atom model with its teacher at tiny size."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("tblite")

ROOT = Path(__file__).parents[2]


def test_comparison_with_the_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "analysis"))
    module = importlib.import_module("organic_against_teacher")
    monkeypatch.delitem(sys.modules, "organic_against_teacher")
    monkeypatch.setattr(module, "MOLECULES", ("H2O", "HCN"))
    monkeypatch.setattr(
        sys, "argv", ["compare", "organic-gfn2", str(ROOT / "data"), str(tmp_path), "--picoseconds", "0.02"]
    )
    assert module.main() == 0
    results = json.loads((tmp_path / "comparison.json").read_text())
    assert [len(results["vibrations"][name]["teacher"]) for name in ("H2O", "HCN")] == [3, 4]
    for pair in results["vibrations"].values():
        np.testing.assert_allclose(pair["student"], pair["teacher"], rtol=0.1)
    assert len(results["errors"]) == 9
    assert len(results["conservation"]["student"]["energy"]) == 5
    text = (tmp_path / "tables.md").read_text()
    assert "| H2O | 3 |" in text
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
