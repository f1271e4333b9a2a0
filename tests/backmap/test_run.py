"""The whole way: files beside one another, the table, what stays after an error, memory."""

from __future__ import annotations

import csv
import io
import json
import resource
from dataclasses import replace
from pathlib import Path

import gemmi
import mdtraj
import numpy as np
import pytest
import torch
from rich.console import Console

from flashmd.backmap import BackmapOptions, BackmapResult, backmap, open_model, read_trace, trace_from_positions
from flashmd.backmap.finishing import Finisher
from flashmd.backmap.sampling import sample_structures
from flashmd.errors import BadFrameError, CheckpointError, OutputError
from tests.backmap.files import SEQUENCE, TWO_CHAINS, helix, write_trace
from tests.backmap.peptides import peptide
from tests.backmap.stand_in import Scatter
from tests.backmap.structures import write_heavy

PLAIN = BackmapOptions(samples=2, seed=3, physics=())
ONE = replace(PLAIN, samples=1)
PDB_ROUNDING = 6e-5


@pytest.fixture
def models(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    return write_trace(tmp_path / "cg.pdb", helix(6) + rng.normal(0.0, 0.05, (5, 6, 3)))


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_a_trajectory_gets_a_topology_a_table_and_a_summary(models: Path, tmp_path: Path) -> None:
    result = backmap(models, output=tmp_path / "aa.xtc", options=PLAIN, model=Scatter())
    assert result.files is not None
    assert {path.name for path in result.files.all} == {"aa.xtc", "aa.pdb", "aa_quality.csv", "aa_quality.json"}
    loaded = mdtraj.load(str(tmp_path / "aa.xtc"), top=str(tmp_path / "aa.pdb"))
    assert (loaded.n_frames, loaded.time.tolist()) == (10, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    assert [residue.name for residue in loaded.topology.residues] == list(SEQUENCE)
    rows = rows_of(tmp_path / "aa_quality.csv")
    assert [(row["frame"], row["sample"]) for row in rows] == [(str(f), str(s)) for f in range(5) for s in range(2)]
    assert {row["raw_moved"] for row in rows} == {"0"}
    summary = json.loads((tmp_path / "aa_quality.json").read_text(encoding="utf-8"))
    assert summary["structures"] == result.n_structures == 10
    assert summary["options"]["seed"] == 3
    assert summary["medians"]["raw_moved"] == 0.0


def test_the_ca_atoms_written_are_those_read(models: Path, tmp_path: Path) -> None:
    backmap(models, output=tmp_path / "aa.pdb", options=ONE, model=Scatter())
    loaded, given = mdtraj.load(str(tmp_path / "aa.pdb")), mdtraj.load(str(models))
    assert np.abs(loaded.xyz[:, loaded.topology.select("name CA")] - given.xyz).max() < PDB_ROUNDING


def test_all_atoms_that_there_are_are_held_and_the_missing_ones_made(tmp_path: Path) -> None:
    chains, whole = peptide("GAEKL")
    partial = whole.float()[None].clone()
    partial[:, 2, 7:], partial[:, 3, [0, *range(2, 9)]] = torch.nan, torch.nan
    trace = read_trace(write_heavy(tmp_path / "partial.pdb", chains, partial), beads="all")
    assert trace.beads == "all"
    assert torch.equal(trace.known, chains.mask & partial[0].isfinite().all(-1))
    (batch,) = sample_structures(trace, ONE, Scatter())
    assert torch.allclose(batch.raw[0, trace.known], whole.float()[trace.known], atol=PDB_ROUNDING)
    made = (batch.raw[0] - whole)[chains.mask & ~trace.known].norm(dim=-1)
    assert bool((made > PDB_ROUNDING).all())


def test_without_an_output_structures_are_returned(models: Path) -> None:
    result = backmap(models, options=PLAIN, model=Scatter())
    assert result.structures is not None
    assert result.structures.shape == (10, 6, 14, 3)
    assert result.frames is not None
    assert result.frames.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert result.samples is not None
    assert result.samples.tolist() == [0, 1] * 5


def test_a_trace_in_memory_is_taken() -> None:
    ca = torch.tensor(helix(6) / 10.0).float()
    assert backmap(trace_from_positions("GAWKPY", ca), options=ONE, model=Scatter()).n_structures == 1


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_two_chains_with_insertion_codes_keep_their_identity(tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"aa{suffix}"
    backmap(TWO_CHAINS, output=output, options=replace(ONE, beads="ca"), model=Scatter())

    def identity(path: Path) -> list[tuple[str, str, str]]:
        model = gemmi.read_structure(str(path))[0]
        return [(chain.name, str(residue.seqid), residue.name) for chain in model for residue in chain]

    assert identity(output) == identity(TWO_CHAINS)
    again = read_trace(output, beads="ca").chains
    assert torch.equal(again.joined, read_trace(TWO_CHAINS, beads="ca").chains.joined)


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_chains_of_one_identifier_stay_apart(tmp_path: Path, suffix: str) -> None:
    """Only a TER record, or the label of mmCIF, tells two copies of a molecule apart."""
    copies = [write_trace(tmp_path / f"{shift}.pdb", helix(6) + shift).read_text() for shift in (0.0, 30.0)]
    atoms = [[line for line in text.splitlines() if line.startswith("ATOM")] for text in copies]
    both, output = tmp_path / "both.pdb", tmp_path / f"aa{suffix}"
    both.write_text("\n".join([*atoms[0], "TER", *atoms[1], "TER", "END", ""]))
    backmap(both, output=output, options=ONE, model=Scatter())
    chains = read_trace(output, beads="ca").chains
    assert chains.labels == 2 * read_trace(tmp_path / "0.0.pdb").chains.labels
    assert chains.joined.tolist() == 2 * [*[True] * 5, False]


def test_outputs_that_exist_are_refused_before_anything_is_read(models: Path, tmp_path: Path) -> None:
    model = Scatter()
    (tmp_path / "aa.pdb").write_text("mine")
    with pytest.raises(ValueError, match=r"output .*aa\.pdb`: expected no file of that name, got one.*--overwrite"):
        backmap(models, output=tmp_path / "aa.xtc", options=PLAIN, model=model)
    assert model.sizes == []
    assert (tmp_path / "aa.pdb").read_text() == "mine"
    backmap(models, output=tmp_path / "aa.xtc", options=PLAIN, model=model, overwrite=True)
    assert (tmp_path / "aa.pdb").read_text() != "mine"


@pytest.mark.parametrize("output", ["cg.pdb", "cg.xtc"])
def test_the_input_is_never_overwritten(models: Path, tmp_path: Path, output: str) -> None:
    before = models.read_bytes()
    with pytest.raises(ValueError, match=r"output .*cg\.pdb`: expected a file that is not read, got an input"):
        backmap(models, output=tmp_path / output, options=PLAIN, model=Scatter(), overwrite=True)
    assert models.read_bytes() == before


def test_an_output_of_another_kind_is_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one of \.pdb, \.cif, \.xtc, \.dcd, \.h5, got suffix '\.txt'"):
        backmap(models, output=tmp_path / "aa.txt", options=PLAIN, model=Scatter())


@pytest.mark.parametrize("choice", ["hydrogens", "md_check"])
def test_a_piece_of_one_residue_is_refused_before_work_where_a_force_field_is_needed(
    tmp_path: Path, choice: str
) -> None:
    pytest.importorskip("openmm")
    trace = trace_from_positions(["GAWKP", "Y"], torch.tensor(helix(6) / 10.0).float())
    model, options = Scatter(), replace(ONE, **{choice: True})
    with pytest.raises(ValueError, match=r"pieces of chain: expected two residues or more, got single ones: B:TYR1"):
        backmap(trace, output=tmp_path / "aa.pdb", options=options, model=model)
    assert model.sizes == []
    assert list(tmp_path.iterdir()) == []
    assert backmap(trace, options=ONE, model=model).n_structures == 1


@pytest.mark.parametrize("in_memory", [True, False])
def test_frames_beyond_the_end_are_refused(models: Path, tmp_path: Path, in_memory: bool) -> None:
    source = mdtraj.load(str(models)) if in_memory else models
    options, there = replace(ONE, frames=(5, 9, 2)), " of 5" if in_memory else ""
    with pytest.raises(ValueError, match=rf"expected frames among 5:9:2, got none{there}\. .*`--frames`"):
        backmap(source, output=tmp_path / "aa.pdb", options=options, model=Scatter())
    assert [path.name for path in tmp_path.iterdir()] == ["cg.pdb"]


@pytest.mark.parametrize("device", ["teapot", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=rf"`device`: expected a device that torch can use, got '{device}'"):
        open_model("default", device)


def test_a_bad_frame_leaves_what_was_written_readable(tmp_path: Path) -> None:
    frames = np.stack([helix(6)] * 4)
    frames[2, 3:] += 5.0
    cg = write_trace(tmp_path / "cg.pdb", frames)
    options = replace(ONE, batch_atoms=1)
    with pytest.raises(BadFrameError, match=r"frame 2 of .*A:TRP3 to A:LYS4"):
        backmap(cg, output=tmp_path / "aa.xtc", options=options, model=Scatter())
    assert mdtraj.load(str(tmp_path / "aa.xtc"), top=str(tmp_path / "aa.pdb")).n_frames == 2
    assert len(rows_of(tmp_path / "aa_quality.csv")) == 2
    assert json.loads((tmp_path / "aa_quality.json").read_text())["structures"] == 2


def test_bad_frames_are_in_the_table(tmp_path: Path) -> None:
    frames = np.stack([helix(6)] * 4)
    frames[1, 3:] += 5.0
    frames[3, 2] = np.nan
    cg = write_trace(tmp_path / "cg.pdb", frames)
    options = replace(ONE, on_bad_frame="report")
    result = backmap(cg, output=tmp_path / "aa.xtc", options=options, model=Scatter())
    rows = rows_of(tmp_path / "aa_quality.csv")
    assert sorted((row["frame"], row["sample"], row["fault"][:9]) for row in rows) == [
        ("0", "0", ""),
        ("1", "0", "CA-CA dis"),
        ("2", "0", ""),
        ("3", "", "positions"),
    ]
    assert [(bad.frame, bad.written) for bad in result.bad] == [(1, True), (3, False)]
    summary = json.loads((tmp_path / "aa_quality.json").read_text())
    assert [bad["frame"] for bad in summary["bad_frames"]] == [1, 3]


def test_a_table_may_begin_with_bad_frames(tmp_path: Path) -> None:
    frames = np.stack([helix(6)] * 70)
    frames[1:66, 3:] += 5.0
    cg = write_trace(tmp_path / "cg.pdb", frames)
    options = replace(ONE, on_bad_frame="skip", frames=(1, None, 1))
    backmap(cg, output=tmp_path / "aa.xtc", options=options, model=Scatter())
    rows = rows_of(tmp_path / "aa_quality.csv")
    assert [row["frame"] for row in rows] == [str(frame) for frame in range(1, 70)]
    assert rows[-1]["raw_moved"] == "0"


def test_a_full_disk_leaves_what_was_written_readable(tmp_path: Path) -> None:
    cg = write_trace(tmp_path / "cg.pdb", np.stack([helix(6)] * 200))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"writing .*aa\.xtc: .*got File too large"):
            backmap(cg, output=tmp_path / "aa.xtc", options=replace(ONE, batch_atoms=500), model=Scatter())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    loaded = mdtraj.load(str(tmp_path / "aa.xtc"), top=str(tmp_path / "aa.pdb"))
    assert 1 < loaded.n_frames < 200
    assert len(rows_of(tmp_path / "aa_quality.csv")) == loaded.n_frames


def test_a_model_that_does_not_exist_is_named(models: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the backmapping model: expected a file or one of: .*got 'nothing'"):
        backmap(models, options=replace(ONE, model="nothing"))


def test_progress_is_shown_on_a_terminal(models: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    backmap(models, options=PLAIN, model=Scatter(), console=console)
    assert "10/" in text.getvalue()
    backmap(models, options=PLAIN, model=Scatter(), console=Console(file=(quiet := io.StringIO())))
    assert quiet.getvalue() == ""


def test_a_part_of_the_frames_is_taken(models: Path, tmp_path: Path) -> None:
    options = replace(ONE, frames=(1, None, 2))
    result = backmap(models, output=tmp_path / "aa.dcd", options=options, model=Scatter())
    assert result.n_structures == 2
    assert [row["frame"] for row in rows_of(tmp_path / "aa_quality.csv")] == ["1", "3"]


class Ideal:
    """Draws the same good structure for every row."""

    def __init__(self, structure: torch.Tensor) -> None:
        self.structure = structure

    def sample(self, chains: object, positions: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
        return self.structure.expand(positions.shape[0], -1, -1, -1).clone()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BackmapResult]:
    """A helix with hydrogens, relaxed, after short dynamics."""
    pytest.importorskip("openmm")
    chains, structure = peptide("GASVG")
    trace = trace_from_positions(chains, structure[:, 1].float())
    options = BackmapOptions(relax=True, hydrogens=True, md_check=True, physics=())
    output = tmp_path_factory.mktemp("finished") / "aa.xtc"
    return output, backmap(trace, output=output, options=options, model=Ideal(structure.float()))


def test_hydrogens_are_written(finished: tuple[Path, BackmapResult]) -> None:
    output, _ = finished
    loaded = mdtraj.load(str(output), top=str(output.with_suffix(".pdb")))
    elements = [atom.element.symbol for atom in loaded.topology.atoms]
    assert elements.count("H") == 5 + 5 + 5 + 9 + 3
    app = pytest.importorskip("openmm.app")
    topology = app.PDBFile(str(output.with_suffix(".pdb"))).topology
    assert app.ForceField("amber14-all.xml").createSystem(topology).getNumParticles() == loaded.n_atoms


def test_energies_and_dynamics_are_in_the_table(finished: tuple[Path, BackmapResult]) -> None:
    output, result = finished
    (row,) = rows_of(output.with_name("aa_quality.csv"))
    assert float(row["relaxed_amber14_gbn2"]) < float(row["raw_amber14_gbn2"])
    assert row["relaxed_moved"] == "0"
    cool = float(row["md_peak_K"]) <= 500.0
    assert row["md_passed"] == str(cool)
    assert result.medians["md_passed"] == float(cool)
    assert result.faults.get("md_fault", 0) == int(not cool)


def test_failures_of_force_fields_are_counted_and_named(tmp_path: Path) -> None:
    pytest.importorskip("openmm")
    chains, structure = peptide("GAG")
    broken = structure.float().clone()
    broken[1, 4] = broken[1, 2]
    trace = trace_from_positions(chains, structure[:, 1].float())
    options = BackmapOptions(md_check=True, physics=())
    result = backmap(trace, output=tmp_path / "aa.pdb", options=options, model=Ideal(broken))
    assert result.faults["md_fault"] == 1
    (row,) = rows_of(tmp_path / "aa_quality.csv")
    assert row["md_passed"] == "False"
    assert row["md_fault"] != ""
    assert json.loads((tmp_path / "aa_quality.json").read_text())["faults"] == result.faults


@pytest.mark.parametrize("name, form", [("HSD", "HD1"), ("HSE", "HE2"), ("HIP", "HD1 HE2"), ("HIS", "HE2")])
def test_names_of_histidines_say_where_hydrogens_are(tmp_path: Path, name: str, form: str) -> None:
    pytest.importorskip("openmm")
    cg = write_trace(tmp_path / "cg.pdb", names=("GLY", name, "TRP", "LYS", "PRO", "TYR"))
    layout = Finisher(read_trace(cg), BackmapOptions(hydrogens=True), ()).layout
    own = {atom for atom, residue in zip(layout.names, layout.residues, strict=True) if residue == 1}
    assert own & {"HD1", "HE2"} == set(form.split())
    assert layout.labels[1].name == name
