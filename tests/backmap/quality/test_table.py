"""The table of all measures, and the files it is written to."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from flashmd.backmap import quality
from tests.backmap.peptides import peptide


def test_table_of_a_structure(tmp_path: Path) -> None:
    chains, native = peptide()
    rows = quality.rows_of(quality.assess(chains, native.expand(2, -1, -1, -1), native), ["first", "second"])
    text = quality.as_text(rows)
    assert len(text.splitlines()) == 1 + len(quality.COLUMNS)
    assert "cis_prolines              -         -  % of prolines" in text
    quality.write_table(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["structure"] for row in found] == ["first", "second"]
    assert (float(found[1]["bonds"]), found[1]["cis_prolines"]) == (100.0, "")
    quality.write_table(tmp_path / "table.json", rows)
    loaded = json.loads((tmp_path / "table.json").read_text())
    assert (loaded[0]["chi1"], loaded[0]["cis_prolines"]) == (100.0, None)


def test_medians_leave_out_what_is_unknown() -> None:
    rows = quality.rows_of({"omega": np.array([1.0, np.nan, 4.0]), "phi": np.full(3, np.nan)}, ["a", "b", "c"])
    median = quality.medians(rows)
    assert (median["structure"], median["omega"], np.isnan(float(median["phi"]))) == ("median", 2.5, True)


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected a file name in .csv or .json, got suffix '.txt'. To fix it, choose"
    ):
        quality.write_table(tmp_path / "table.txt", [])
