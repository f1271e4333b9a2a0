from __future__ import annotations

import re
import shutil
import struct
from html.parser import HTMLParser
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from typer.testing import CliRunner

from flashmd.report import write_report
from flashmd.report.results import analyze
from tests.report.conftest import write_run


def png_size(data: bytes) -> tuple[int, int]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


class Links(HTMLParser):
    """Collects everything a browser would load, and checks that tags are closed in order."""

    VOID = ("meta", "img", "link", "br", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object")
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(finished, tmp_path_factory: pytest.TempPathFactory):
    path = Path(shutil.copytree(finished.path, tmp_path_factory.mktemp("written") / "run"))
    reference = path.parent / "reference.npz"
    positions = finished.positions.reshape(-1, 10, 3)
    np.savez(reference, positions=positions, temperature=340.0, trajectory=np.arange(len(positions)) // 72)
    return write_report(path, None, reference_temperature=345.0, reference_npz=reference)


def test_picture_is_complete_and_not_blank(report) -> None:
    import matplotlib.image as image

    assert png_size(report.figure.read_bytes()) == (2080, 1376)
    pixels = image.imread(str(report.figure))[..., :3]
    # every third of the width and half of the panels' height holds something that is not white
    for row in (slice(250, 780), slice(800, 1330)):
        for column in (slice(0, 690), slice(690, 1380), slice(1380, 2080)):
            assert (pixels[row, column] < 0.7).any(axis=2).mean() > 0.005


def test_page_stands_alone(report) -> None:
    text = report.page.read_text(encoding="utf-8")
    parser = Links()
    parser.feed(text)
    assert parser.open == []
    assert len(parser.loads) == 1
    assert parser.loads[0].startswith("data:image/png;base64,")
    assert not re.search(r"https?://|@import|url\(", text)


def test_page_shows_the_numbers(report, finished) -> None:
    text = report.page.read_text(encoding="utf-8")
    kept = finished.folded[12:, 2:4]
    assert f"{100 * kept.mean():.1f} ±" in text
    assert "model sha256 0123abcd" in text
    assert "reference.npz, sha256" in text
    assert "<td>300.0 ↔ 340.0</td><td>50</td><td>10</td><td>20.0</td>" in text
    assert "friction" in text  # the configuration


def test_results_are_those_of_the_data(finished, native: Path) -> None:
    results = analyze(finished.path, native, reference_temperature=1000.0, discard=0.0)
    assert results.model.temperature == 380.0
    for index, rung in enumerate(results.rungs):
        assert rung.folded.value == finished.folded[:, 2 * index : 2 * index + 2].mean()
        assert rung.kinetic == pytest.approx(finished.temperatures[index])
        assert rung.energy == pytest.approx(finished.energy[finished.rung == index].mean())
    assert results.minimum_rmsd == min(rung.minimum_rmsd for rung in results.rungs)
    # each replica climbs one rung per line and falls from the top to the bottom
    assert results.round_trips.min() >= 38
    assert results.reference is None


def test_run_of_one_temperature(tmp_path: Path, native: Path) -> None:
    written = write_run(tmp_path / "one", n_temperatures=1, walkers=1)
    paths = write_report(written.path, native)
    text = paths.page.read_text(encoding="utf-8")
    assert "Langevin dynamics at 300 K" in text
    assert "round trips" not in text
    assert png_size(paths.figure.read_bytes()) == (2080, 1376)


def test_native_structure_with_all_atoms_will_do(finished, shared_data: Path) -> None:
    full = shared_data / "fast_folders" / "native" / "chignolin_cln025.pdb"
    results = analyze(finished.path, full)
    assert results.native.positions.shape == (10, 3)
    assert results.minimum_rmsd < 0.1


def test_native_structure_of_another_molecule(finished, tmp_path: Path, native: Path) -> None:
    mdtraj.load(str(native)).atom_slice(range(8)).save_pdb(str(tmp_path / "short.pdb"))
    with pytest.raises(
        ValueError, match=r"native structure .*short.pdb: expected 10 residues TYR .*, got 8 residues TYR"
    ):
        write_report(finished.path, tmp_path / "short.pdb")
    with pytest.raises(ValueError, match=r"native structure .*: expected a readable file"):
        write_report(finished.path, tmp_path / "absent.pdb")


def test_discard_must_be_a_fraction(finished, native: Path) -> None:
    with pytest.raises(ValueError, match=r"`discard`: expected a fraction from 0 to below 1, got 1\.5"):
        write_report(finished.path, native, discard=1.5)


def test_command(finished, tmp_path: Path, native: Path) -> None:
    import typer

    from flashmd.cli.report import register

    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    path = Path(shutil.copytree(finished.path, tmp_path / "run"))
    outcome = CliRunner().invoke(app, ["report", str(path), "--native", str(native), "--temperature", "340 K"])
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.startswith("wrote ")
    assert "folded at 340 K" in (path / "report.html").read_text(encoding="utf-8")
    failed = CliRunner().invoke(app, ["report", str(path), "--temperature", "340"])
    assert "quantity '340': expected a number and one of K" in str(failed.exception)
