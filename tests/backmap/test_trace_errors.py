"""What input that cannot be backmapped is told, before anything is written."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch

from flashmd.backmap.trace import read_trace, trace_from_positions
from tests.backmap.files import MODIFIED, TWO_CHAINS, atom_line, helix, write_trace


def test_unknown_residues_are_named_with_the_replacement(tmp_path: Path) -> None:
    names = ("GLY", "XYZ", "TRP", "LYS", "PRO", "TYR")
    path = write_trace(tmp_path / "unknown.pdb", names=names)
    with pytest.raises(ValueError, match=r"A:XYZ2 of .*got the name XYZ\. .*--replace XYZ=STANDARD"):
        read_trace(path)
    assert read_trace(path, replace=("XYZ=ALA",)).chains.labels[1].name == "ALA"
    with pytest.raises(ValueError, match=r"A:MSE185.*--replace common.*reads MSE as MET"):
        read_trace(MODIFIED, beads="ca")


@pytest.mark.parametrize("entry", ["MSE", "MSE=XYZ", "=MET"])
def test_a_replacement_of_another_form_is_refused(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ValueError, match=r"a replaced residue: expected `common` or NAME=STANDARD"):
        read_trace(write_trace(tmp_path / "x.pdb"), replace=(entry,))


def test_a_residue_without_ca_is_named(tmp_path: Path) -> None:
    ca = helix(3)
    lines = [atom_line(i + 1, "CB" if i == 1 else "CA", "ALA", "A", str(i + 1), ca[i]) for i in range(3)]
    path = tmp_path / "bare.pdb"
    path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=r"A:ALA2 of .*expected a CA atom in each residue, got none"):
        read_trace(path)


def test_beads_that_are_not_at_ca_are_named(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "martini.pdb", atom="BB")
    with pytest.raises(
        ValueError, match=r"martini\.pdb`: expected a CA atom .*got atoms named BB\. .*C-alpha positions"
    ):
        read_trace(path)


def test_a_file_without_protein_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "water.pdb"
    path.write_text(atom_line(1, "O", "HOH", "A", "1", (0, 0, 0)), encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected amino acids with CA atoms, got none"):
        read_trace(path)


def test_all_atoms_need_a_word(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"all atoms, such as \w+ of U:\w+\d+.*--from ca"):
        read_trace(TWO_CHAINS)
    with pytest.raises(ValueError, match=r"expected those of 'backbone', got those of 'ca'"):
        read_trace(write_trace(tmp_path / "ca.pdb"), beads="backbone")
    with pytest.raises(
        ValueError, match=r"`beads`: expected one of auto, ca, backbone, five_bead, centroid, all, got 'cb'"
    ):
        read_trace(TWO_CHAINS, beads="cb")
    with pytest.raises(ValueError, match=r"`gaps`: expected one of numbering, distance, got 'none'"):
        read_trace(write_trace(tmp_path / "ca.pdb"), gaps="none")


def test_positions_that_are_not_finite_are_named(tmp_path: Path) -> None:
    ca = helix(6)
    ca[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"the first frame of .*numbers that are not finite at A:TRP3"):
        read_trace(write_trace(tmp_path / "nan.pdb", ca))


def test_distances_that_no_peptide_has_are_listed(tmp_path: Path) -> None:
    line = np.arange(6)[:, None] * np.array([3.8, 0.0, 0.0])
    line[2] += [2.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"got A:ALA2 to A:TRP3 0\.580 nm, A:TRP3 to A:LYS4 0\.180 nm"):
        read_trace(write_trace(tmp_path / "far.pdb", line))
    with pytest.raises(ValueError, match=r"got A:GLY1 to A:ALA2 0\.038 nm.*check units"):
        read_trace(write_trace(tmp_path / "nm.pdb", helix(6) / 10.0))


def test_a_chain_of_one_residue_is_named(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "single.pdb", chains="AAAAAB")
    with pytest.raises(ValueError, match=r"B:TYR6 of .*expected a chain of two residues or more, got one residue"):
        read_trace(path)


def test_a_single_residue_with_its_backbone_is_fine(tmp_path: Path) -> None:
    rows = [("N", (0.0, 1.4, 0.0)), ("CA", (0.0, 0.0, 0.0)), ("C", (1.4, -0.5, 0.0)), ("O", (2.4, 0.2, 0.0))]
    path = tmp_path / "one.pdb"
    path.write_text("".join(atom_line(i, name, "SER", "A", "1", x) for i, (name, x) in enumerate(rows, 1)))
    assert read_trace(path).chains.n_residues == 1


def test_residues_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "zero.pdb", names=["GLY"] * 3, numbers=["0"] * 3)
    with pytest.raises(ValueError, match=r"residue A:GLY0: expected one CA atom, got several.*number the residues"):
        read_trace(path)


def test_a_trajectory_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    topology = write_trace(tmp_path / "top.pdb")
    mdtraj.load(str(topology)).atom_slice(range(5)).save(str(tmp_path / "five.xtc"))
    with pytest.raises(ValueError, match=r"five\.xtc`: expected the 6 atoms of the structure, got 5"):
        read_trace(topology, tmp_path / "five.xtc")
    five = write_trace(tmp_path / "five.pdb", names=("GLY",) * 5)
    with pytest.raises(ValueError, match=r"five\.pdb`: expected the 6 atoms of the structure, got 5"):
        read_trace(topology, five)


def test_models_of_different_molecules_are_refused(tmp_path: Path) -> None:
    one, two = write_trace(tmp_path / "1.pdb"), write_trace(tmp_path / "2.pdb", names=("GLY",) * 5)
    both = tmp_path / "both.pdb"
    both.write_text(one.read_text().removesuffix("END\n") + two.read_text())
    trace = read_trace(both)
    with pytest.raises(ValueError, match=r"model 2 of .*expected 6 atoms, as in the first model, got 5"):
        list(trace.frames())


@pytest.mark.parametrize("name", ["absent.pdb", "absent.xtc"])
def test_files_that_do_not_exist_are_named(tmp_path: Path, name: str) -> None:
    topology = write_trace(tmp_path / "top.pdb")
    arguments = (tmp_path / name,) if name.endswith(".pdb") else (topology, tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}`: expected a file, got nothing of that name"):
        read_trace(*arguments)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "frames.xyz"
    other.write_text("1\n\nC 0 0 0\n")
    with pytest.raises(ValueError, match=r"structure .*expected one of \.pdb, \.cif.*got suffix '\.xyz'"):
        read_trace(other)
    with pytest.raises(ValueError, match=r"trajectory .*expected one of \.xtc, \.dcd.*got suffix '\.xyz'"):
        read_trace(write_trace(tmp_path / "top.pdb"), other)


@pytest.mark.parametrize("name", ["bad.cif", "bad.pdb", "bad.gro", "bad.h5", "bad.pdb.gz"])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("nothing of use\n")
    with pytest.raises(ValueError, match=rf"{name}`: expected a readable file of its kind"):
        read_trace(path)


def test_a_damaged_trajectory_is_named(tmp_path: Path) -> None:
    topology = write_trace(tmp_path / "top.pdb")
    path = tmp_path / "cut.xtc"
    frames = np.stack([helix(6)] * 4) / 10.0
    mdtraj.Trajectory(frames, mdtraj.load(str(topology)).topology).save(str(path))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"cut\.xtc`: expected a readable file of its kind"):
        list(read_trace(topology, path).frames())


def test_names_without_positions_need_a_trajectory(tmp_path: Path) -> None:
    topology = write_trace(tmp_path / "top.pdb")
    mdtraj.Trajectory(np.empty((0, 6, 3)), mdtraj.load(str(topology)).topology)
    path = tmp_path / "x.psf"
    path.write_text(_PSF)
    with pytest.raises(ValueError, match=r"x\.psf`: expected positions, got names of atoms alone"):
        read_trace(path)


@pytest.mark.parametrize("ca", [torch.zeros(3, 3), torch.zeros(2, 1, 3), torch.zeros(0, 2, 3)])
def test_positions_of_another_shape_are_refused(ca: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"`ca`: expected shape \(n_frames, 2, 3\) for 2 residues"):
        trace_from_positions("GA", ca)


def test_positions_in_other_units_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the first frame of `ca`.*A:GLY1 to A:ALA2 3\.800 nm.*in nm"):
        trace_from_positions("GA", torch.tensor([[0.0, 0.0, 0.0], [3.8, 0.0, 0.0]]))


_PSF = """PSF

       1 !NTITLE
 REMARKS two residues

       2 !NATOM
       1 A    1    GLY  CA   CT1    0.000000       12.0110           0
       2 A    2    ALA  CA   CT1    0.000000       12.0110           0

       0 !NBOND: bonds

"""
