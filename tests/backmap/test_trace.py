"""Traces of real entries and small files: identity, bonds, known atoms, frames."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch

from flashmd.backmap.chains import Chains
from flashmd.backmap.residues import SLOT_C, SLOT_CA, SLOT_CB, SLOT_N, SLOT_O
from flashmd.backmap.trace import Trace, read_trace, trace_from_positions
from tests.backmap.files import GAP, MODIFIED, TWO_CHAINS, atom_line, helix, write_trace

PDB_ROUNDING = 1e-4
XTC_ROUNDING = 6e-4
FIVE = ("N", "CA", "CB", "C", "O")


def places(trace: Trace) -> list[str]:
    return [f"{label.chain}{label.number}{label.insertion_code}" for label in trace.chains.labels]


def positions_of(trace: Trace, size: int = 64) -> torch.Tensor:
    return torch.cat([piece.positions for piece in trace.frames(size)])


def test_two_chains_keep_identifiers_numbers_and_insertion_codes() -> None:
    trace = read_trace(TWO_CHAINS, beads="ca")
    names = places(trace)
    assert names[4:11] == ["U37", "U37A", "U37B", "U37C", "U37D", "U38", "U39"]
    assert "U60A" in names
    assert names[-10:] == [f"P{number}" for number in range(1, 11)]
    joined = dict(zip(names, trace.chains.joined.tolist(), strict=True))
    assert joined["U37"]
    assert joined["U37D"]
    assert joined["U217"], "the next number is 219, but the residues are bonded"
    assert not joined["U62A"]
    assert not joined["U222"]
    assert not joined["P10"]
    assert sum(not each for each in joined.values()) == 3
    assert trace.notes == ("gap between U:GLU62A and U:SER214, 2.37 nm",)


def test_mdtraj_alone_would_lose_insertion_codes() -> None:
    """Why structures are read with gemmi."""
    residues = [residue.resSeq for residue in mdtraj.load(str(TWO_CHAINS)).topology.residues]
    assert len(set(residues)) < len(residues)
    assert len(set(places(read_trace(TWO_CHAINS, beads="ca")))) == len(residues)


def test_gap_of_an_entry_is_not_bonded_in_mmcif() -> None:
    trace = read_trace(GAP, beads="ca")
    assert places(trace)[6:8] == ["B15", "B39"]
    assert not trace.chains.joined[6]
    assert int(trace.chains.joined.sum()) == 11
    assert trace.notes == ("gap between B:GLN15 and B:PRO39, 2.84 nm",)


def test_a_gap_of_the_numbers_that_a_peptide_could_not_span_is_one(tmp_path: Path) -> None:
    line = np.arange(6)[:, None] * np.array([3.8, 0.0, 0.0])
    line[3:] += [2.5, 0.0, 0.0]
    trace = read_trace(write_trace(tmp_path / "gap.pdb", line, numbers=["1", "2", "3", "7", "8", "9"]))
    assert trace.chains.joined.tolist() == [True, True, False, True, True, False]


def test_gaps_by_distance_need_no_numbers(tmp_path: Path) -> None:
    line = np.arange(6)[:, None] * np.array([3.8, 0.0, 0.0])
    line[3:] += [5.0, 0.0, 0.0]
    path = write_trace(tmp_path / "gap.pdb", line)
    with pytest.raises(ValueError, match=r"A:TRP3 to A:LYS4 0\.880 nm.*--gaps distance"):
        read_trace(path)
    assert not read_trace(path, gaps="distance").chains.joined[2]


def test_cis_peptide_is_noted(tmp_path: Path) -> None:
    line = np.arange(6)[:, None] * np.array([3.8, 0.0, 0.0])
    line[4:] -= [0.9, 0.0, 0.0]
    trace = read_trace(write_trace(tmp_path / "cis.pdb", line))
    assert bool(trace.chains.joined[:-1].all())
    assert trace.notes == ("cis peptide bond between A:LYS4 and A:PRO5",)


def test_cis_prolines_of_real_entries_are_noted(shared_data: Path, tmp_path: Path) -> None:
    with np.load(shared_data / "backmapping" / "validation_chains.npz") as data:
        index = data["chain_id"].tolist().index("1R0R_r_u:A")
        begin, end = data["chain_ptr"][index : index + 2]
        atoms = (data["atom_names"][data["atom_name"]] == "CA") & (data["residue_of_atom"] >= begin)
        atoms &= data["residue_of_atom"] < end
        ca = data["xyz_milli_angstrom"][atoms] / 1000.0
        names = data["residue_types"][data["residue_type"][begin:end]].tolist()
        numbers = [str(number) for number in data["residue_number"][begin:end]]
    trace = read_trace(write_trace(tmp_path / "1r0r.pdb", ca, names=names, chains="E" * len(names), numbers=numbers))
    assert [note for note in trace.notes if note.startswith("cis")] == [
        "cis peptide bond between E:TYR167 and E:PRO168",
        "cis peptide bond between E:PRO210 and E:THR211",
    ]
    assert int((~trace.chains.joined).sum()) == 1


def test_chains_of_one_identifier_are_told_apart_by_ter(tmp_path: Path) -> None:
    ca = helix(4)
    lines = [atom_line(i + 1, "CA", "ALA", "A", str(i % 2 + 1), ca[i]) for i in range(4)]
    path = tmp_path / "ter.pdb"
    path.write_text("".join([*lines[:2], "TER\n", *lines[2:], "TER\nEND\n"]), encoding="utf-8")
    assert read_trace(path).chains.joined.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    "beads, slots",
    [
        ("ca", {SLOT_CA}),
        ("backbone", {SLOT_N, SLOT_CA, SLOT_C, SLOT_O}),
        ("five_bead", {SLOT_N, SLOT_CA, SLOT_C, SLOT_O, SLOT_CB}),
    ],
)
def test_known_atoms_are_those_asked_for(beads: str, slots: set[int]) -> None:
    trace = read_trace(TWO_CHAINS, beads=beads)
    assert trace.beads == beads
    assert set(trace.known.any(0).nonzero().flatten().tolist()) == slots
    glycine = trace.chains.types == 7
    assert bool(glycine.any())
    assert not trace.known[glycine][:, SLOT_CB].any()
    native = mdtraj.load(str(TWO_CHAINS))
    oxygen = torch.from_numpy(native.xyz[0, native.topology.select("name O")])
    placed = positions_of(trace)[0]
    expected = oxygen if SLOT_O in slots else placed[:, SLOT_CA]
    assert torch.allclose(placed[:, SLOT_O], expected, atol=PDB_ROUNDING)


def test_centroids_are_means_of_side_chains() -> None:
    trace = read_trace(TWO_CHAINS, beads="centroid")
    assert trace.beads == "centroid"
    native = mdtraj.load(str(TWO_CHAINS))
    piece = next(iter(trace.frames()))
    for index, residue in enumerate(native.topology.residues):
        side = [atom.index for atom in residue.atoms if atom.name not in ("N", "CA", "C", "O", "OXT")]
        assert bool(trace.centroid_known[index]) == bool(side)
        if side:
            assert np.allclose(piece.centroids[0, index], native.xyz[0, side].mean(0), atol=PDB_ROUNDING)


def test_centroid_beads_are_found(tmp_path: Path) -> None:
    ca = helix(4)
    lines = []
    for index in range(4):
        lines.append(atom_line(2 * index + 1, "CA", "LEU", "A", str(index + 1), ca[index]))
        lines.append(atom_line(2 * index + 2, "SC", "LEU", "A", str(index + 1), ca[index] + [0.0, 2.0, 0.0]))
    path = tmp_path / "sc.pdb"
    path.write_text("".join(lines), encoding="utf-8")
    trace = read_trace(path)
    assert trace.beads == "centroid"
    assert bool(trace.centroid_known.all())
    piece = next(iter(trace.frames()))
    shift = piece.centroids[0] - piece.positions[0, :, SLOT_CA]
    assert torch.allclose(shift, torch.tensor([0.0, 0.2, 0.0]).expand(4, 3), atol=PDB_ROUNDING)


def test_residues_of_other_names_are_read() -> None:
    trace = read_trace(MODIFIED, beads="ca", replace=("common",))
    names = {label.name for label in trace.chains.labels}
    assert "MET" in names
    assert "MSE" not in names
    assert "read 3 MSE as MET" in trace.notes


def test_protonation_states_keep_their_names(tmp_path: Path) -> None:
    names = ("HIE", "HID", "HIP", "CYX", "ASH", "HSD")
    trace = read_trace(write_trace(tmp_path / "names.pdb", names=names))
    assert tuple(label.name for label in trace.chains.labels) == names
    assert len(set(trace.chains.types.tolist())) == 3


def test_water_ions_and_caps_are_left_out(tmp_path: Path) -> None:
    ca = helix(3)
    lines = [atom_line(i + 1, "CA", "ALA", "A", str(i + 1), ca[i]) for i in range(3)]
    lines += [atom_line(4, "O", "HOH", "A", "101", (9, 9, 9)), atom_line(5, "CH3", "ACE", "A", "0", (9, 0, 9))]
    lines += [f"HETATM    6 CA    CA A 102    {9.0:8.3f}{9.0:8.3f}{0.0:8.3f}  1.00  0.00          CA\n"]
    path = tmp_path / "water.pdb"
    path.write_text("".join(lines), encoding="utf-8")
    trace = read_trace(path)
    assert trace.chains.n_residues == 3
    assert trace.notes == ("left out what is no amino acid: 1 ACE, 1 CA, 1 HOH",)


def test_alternate_positions_with_the_highest_occupancy_count(tmp_path: Path) -> None:
    ca = helix(3)
    first = atom_line(1, "CA", "ALA", "A", "1", ca[0])
    low = (first[:16] + "A" + first[17:]).replace("  1.00  0.00", "  0.40  0.00")
    high = (atom_line(2, "CA", "ALA", "A", "1", ca[0] + 0.3)[:16] + "B" + first[17:30]) + "".join(
        f"{x:8.3f}" for x in ca[0] + 0.3
    )
    high += "  0.60  0.00           C\n"
    path = tmp_path / "alternate.pdb"
    path.write_text(
        low + high + "".join(atom_line(i + 2, "CA", "GLY", "A", str(i + 1), ca[i]) for i in (1, 2)), encoding="utf-8"
    )
    trace = read_trace(path)
    assert trace.chains.n_residues == 3
    assert torch.allclose(positions_of(trace)[0, 0, SLOT_CA], torch.tensor(ca[0] + 0.3).float() / 10, atol=PDB_ROUNDING)


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".trr", ".h5"])
def test_trajectories_are_streamed_in_order(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    frames = helix(6) + rng.normal(0.0, 0.05, (7, 6, 3))
    topology = write_trace(tmp_path / "top.pdb")
    trajectory = mdtraj.Trajectory(frames / 10.0, mdtraj.load(str(topology)).topology, time=np.arange(7) * 2.0)
    path = tmp_path / f"frames{suffix}"
    trajectory.save(str(path))
    trace = read_trace(topology, path)
    pieces = list(trace.frames(3))
    assert [piece.index.tolist() for piece in pieces] == [[0, 1, 2], [3, 4, 5], [6]]
    assert trace.n_frames == 7
    assert torch.allclose(positions_of(trace, 2)[:, :, SLOT_CA], torch.tensor(frames / 10.0).float(), atol=XTC_ROUNDING)
    times = torch.cat([piece.times for piece in pieces]).tolist()
    assert times == ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0] if suffix == ".dcd" else [2.0 * k for k in range(7)])


def test_an_hdf5_file_is_its_own_topology(tmp_path: Path) -> None:
    topology = mdtraj.load(str(write_trace(tmp_path / "top.pdb"))).topology
    mdtraj.Trajectory(np.stack([helix(6)] * 3) / 10.0, topology).save(str(tmp_path / "frames.h5"))
    trace = read_trace(tmp_path / "frames.h5")
    assert places(trace) == ["A1", "A2", "A3", "A4", "A5", "A6"]
    assert positions_of(trace).shape == (3, 6, 14, 3)


def test_models_of_a_pdb_file_are_frames(tmp_path: Path) -> None:
    frames = np.stack([helix(6) + 0.1 * k for k in range(5)])
    trace = read_trace(write_trace(tmp_path / "models.pdb", frames))
    assert [len(piece.index) for piece in trace.frames(2)] == [2, 2, 1]
    assert torch.allclose(positions_of(trace)[:, :, SLOT_CA], torch.tensor(frames / 10).float(), atol=PDB_ROUNDING)


def test_an_mdtraj_trajectory_is_read(tmp_path: Path) -> None:
    loaded = mdtraj.load(str(write_trace(tmp_path / "top.pdb", np.stack([helix(6)] * 2))))
    trace = read_trace(loaded)
    assert places(trace)[0] == "A1"
    assert positions_of(trace).shape[0] == 2


def test_positions_in_memory_are_a_trace() -> None:
    ca = torch.tensor(helix(6) / 10.0).float()
    trace = trace_from_positions(Chains.from_sequence(["GAW", "KPY"]), torch.stack([ca, ca]))
    assert trace.n_frames == 2
    assert trace.chains.joined.tolist() == [True, True, False, True, True, False]
    assert torch.equal(positions_of(trace)[1, :, SLOT_CA], ca)


def test_files_of_fast_folders_are_read(shared_data: Path) -> None:
    for path in sorted((shared_data / "fast_folders").glob("*_ca.pdb")):
        trace = read_trace(path, replace=("common",))
        pieces = list(trace.frames())
        assert sum(len(piece.index) for piece in pieces) == 32
        assert {fault for piece in pieces for fault in piece.faults} == {""}


def test_five_beads_of_the_published_files_are_read(shared_data: Path) -> None:
    trace = read_trace(shared_data / "mlcg" / "cln_5beads.pdb")
    assert trace.beads == "five_bead"
    assert int(trace.known.sum()) == 5 * 10 - 1
