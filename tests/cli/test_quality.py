"""`flashmd quality` prints measures of all-atom structures and writes them as tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from flashmd.cli.main import app
from tests.backmap.peptides import SEQUENCE, peptide
from tests.backmap.structures import write_heavy


def invoke(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["quality", *map(str, words)])
    return result.exit_code, " ".join(result.output.split())


def test_models_against_a_reference(tmp_path: Path) -> None:
    chains, native = peptide()
    noise = torch.randn(8, *native.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise[:, :, 1] = 0.0
    mirrored = native * torch.tensor([1.0, 1.0, -1.0])
    model = write_heavy(tmp_path / "model.pdb", chains, torch.cat([native + 0.02 * noise, mirrored[None]]))
    reference = write_heavy(tmp_path / "native.pdb", chains, native[None])
    tables = [tmp_path / "table.csv", tmp_path / "table.json"]
    code, output = invoke(model, "--reference", reference, "-o", tables[0], "-o", tables[1])
    assert code == 0, output
    assert "measure 0 1 2 3 4 5 median reference unit" in output
    assert "frames 0 to 5 of 9, and the median of all" in output
    assert "rmsd_ca 0.0000 0.0000" in output
    with tables[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["structure"] for row in rows] == [str(frame) for frame in range(9)]
    assert [float(row["d_residues"]) for row in rows] == [0.0] * 8 + [len(SEQUENCE) - 1]
    assert json.loads(tables[1].read_text())[8]["mirrored"] == 2.0


def test_energies_and_dynamics(tmp_path: Path) -> None:
    pytest.importorskip("openmm", reason="OpenMM is not installed")
    chains, native = peptide("GAG")
    model = write_heavy(tmp_path / "model.pdb", chains, native[None])
    code, output = invoke(model, "--md-check", "-o", tmp_path / "table.json")
    assert code == 0, output
    (row,) = json.loads((tmp_path / "table.json").read_text())
    assert row["md_peak"] > 300.0
    assert row["amber14_gbn2"] < 0.0
    assert "bonds" not in row


def test_missing_atoms_have_no_energy(tmp_path: Path) -> None:
    pytest.importorskip("openmm", reason="OpenMM is not installed")
    chains, native = peptide("GAG")
    native[1, 4] = torch.nan
    code, output = invoke(write_heavy(tmp_path / "model.pdb", chains, native[None]), "--energies")
    assert code == 1
    assert "`positions`: expected all heavy atoms, got none of some in residue A:ALA2. To fix it, complete" in output


def test_tables_are_checked_before_anything_is_measured(tmp_path: Path) -> None:
    chains, native = peptide()
    model = write_heavy(tmp_path / "model.pdb", chains, native[None])
    code, output = invoke(model, "-o", tmp_path / "table.txt")
    assert code == 1
    assert "expected a file name in .csv or .json, got suffix '.txt'" in output
    (tmp_path / "table.csv").touch()
    code, output = invoke(model, "-o", tmp_path / "table.csv")
    assert code == 1
    assert "expected a new file, got one that exists. To fix it, choose another name, or pass `--overwrite`" in output
    code, output = invoke(model, "-o", tmp_path / "table.csv", "--overwrite")
    assert code == 0, output
    assert (tmp_path / "table.csv").read_text().startswith("structure,clashes,")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    code, output = invoke(tmp_path / "none.pdb")
    assert code == 1
    assert "expected a file, got nothing of that name" in output
