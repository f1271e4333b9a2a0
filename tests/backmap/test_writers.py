"""Output files as other programs read them, and what a full disk leaves of them."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gemmi
import mdtraj
import numpy as np
import pytest
import torch

from flashmd.backmap import writers
from flashmd.backmap.chains import Chains, ResidueLabel
from flashmd.backmap.layout import AtomLayout, heavy_layout, heavy_positions
from flashmd.backmap.structure_text import CifText, PdbText
from flashmd.backmap.trace import read_trace
from flashmd.backmap.writers import SUFFIXES, open_writer
from flashmd.errors import MissingDependencyError, OutputError
from tests.backmap.files import TWO_CHAINS

ROUNDING = {".pdb": 6e-5, ".cif": 6e-6, ".xtc": 6e-4, ".dcd": 1e-6, ".h5": 0.0}
"""nm."""


def molecule() -> tuple[AtomLayout, np.ndarray]:
    """Two chains with insertion codes and a gap, and five frames of scattered atoms."""
    chains = read_trace(TWO_CHAINS, beads="ca").chains
    generator = torch.Generator().manual_seed(1)
    positions = torch.randn(5, chains.n_residues, 14, 3, generator=generator)
    oxt = torch.randn(5, chains.n_residues, 3, generator=generator)
    return heavy_layout(chains), heavy_positions(chains, positions, oxt).numpy()


def load(path: Path, layout: AtomLayout) -> Any:
    if path.suffix == ".cif":  # mdtraj takes residues with insertion codes for one
        models = gemmi.read_structure(str(path))
        rows = [[a.atom.pos.tolist() for a in model.all()] for model in models]
        return SimpleNamespace(xyz=np.array(rows) / 10.0, n_frames=len(models))
    if path.suffix in (".pdb", ".h5"):
        return mdtraj.load(str(path))
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(layout.n_atoms):
        topology.add_atom("X", None, residue)
    return mdtraj.load(str(path), top=topology)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_come_back(tmp_path: Path, suffix: str) -> None:
    layout, frames = molecule()
    path = tmp_path / "deep" / f"out{suffix}"
    writer = open_writer(path, layout)
    writer.append(frames[:2], [0.0, 2.0])
    writer.append(frames[2:], [4.0, 6.0, 8.0])
    writer.close()
    loaded = load(path, layout)
    assert np.abs(loaded.xyz - frames).max() <= ROUNDING[suffix]
    if suffix in (".xtc", ".h5"):
        assert loaded.time.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]


@pytest.mark.parametrize("text", [PdbText, CifText])
def test_structures_keep_the_identity_of_the_input(tmp_path: Path, text: type) -> None:
    layout, frames = molecule()
    made = text(layout)
    path = tmp_path / ("out.pdb" if text is PdbText else "out.cif")
    path.write_text(made.head + made.model(frames[0]) + made.model(frames[1]))
    read = gemmi.read_structure(str(path))
    assert len(read) == 2
    for model, frame in zip(read, frames, strict=False):
        found = [
            (chain.name, str(residue.seqid), residue.name, atom.name, atom.element.name)
            for chain in model
            for residue in chain
            for atom in residue
        ]
        labels = [layout.labels[residue] for residue in layout.residues]
        rows = zip(labels, layout.names, layout.elements, strict=True)
        assert found == [(a.chain, f"{a.number}{a.insertion_code}", a.name, name, symbol) for a, name, symbol in rows]
        positions = np.array([atom.pos.tolist() for chain in model for residue in chain for atom in residue])
        assert np.abs(positions / 10.0 - frame).max() <= ROUNDING[".pdb"]


@pytest.mark.parametrize("suffix", [".pdb", ".cif", ".h5"])
def test_readers_bond_nothing_over_a_gap(tmp_path: Path, suffix: str) -> None:
    chains = Chains.from_sequence(["GAS", "GAG"])
    labels = tuple(
        ResidueLabel("A", number, "", each.name)
        for number, each in zip((1, 2, 3, 8, 9, 10), chains.labels, strict=True)
    )
    layout = heavy_layout(Chains(chains.types, chains.joined, labels))
    path = tmp_path / f"gap{suffix}"
    writer = open_writer(path, layout)
    writer.append(np.zeros((1, layout.n_atoms, 3), dtype=np.float32), [0.0])
    writer.close()
    topology = mdtraj.load(str(path)).topology
    assert [residue.resSeq for residue in topology.residues] == [1, 2, 3, 8, 9, 10]
    assert [chain.chain_id for chain in topology.chains] == ["A", "A2" if suffix == ".cif" else "A"]
    peptide = [
        sorted(a.residue.resSeq for a in bond) for bond in topology.bonds if {a.name for a in bond} == {"C", "N"}
    ]
    assert peptide == [[1, 2], [2, 3], [8, 9], [9, 10]]


def test_openmm_takes_what_was_written(tmp_path: Path) -> None:
    app = pytest.importorskip("openmm.app")
    layout, frames = molecule()
    for suffix, reader in ((".pdb", app.PDBFile), (".cif", app.PDBxFile)):
        path = tmp_path / f"out{suffix}"
        writer = open_writer(path, layout)
        writer.append(frames[:1], [0.0])
        writer.close()
        topology = reader(str(path)).topology
        assert topology.getNumAtoms() == layout.n_atoms
        codes = [f"{r.chain.id[0]}{r.id}{r.insertionCode.strip()}" for r in topology.residues()]
        assert codes == [f"{a.chain}{a.number}{a.insertion_code}" for a in layout.labels]


@pytest.mark.parametrize(
    "label, reason",
    [
        (ResidueLabel("AB", 1, "", "GLY"), r"the chain identifier 'AB'"),
        (ResidueLabel("A", 10000, "", "GLY"), r"the residue number 10000"),
        (ResidueLabel("A", 1, "", "HISD"), r"the residue name 'HISD'"),
    ],
)
def test_identities_that_pdb_cannot_hold_are_refused(tmp_path: Path, label: ResidueLabel, reason: str) -> None:
    one = Chains.from_sequence("G")
    layout = heavy_layout(Chains(one.types, one.joined, (label,)))
    with pytest.raises(ValueError, match=rf"an output in the PDB format: .* got {reason}\. .*write mmCIF"):
        open_writer(tmp_path / "out.pdb", layout)
    open_writer(tmp_path / "out.cif", layout).append(np.zeros((1, layout.n_atoms, 3), np.float32), [0.0])
    assert gemmi.read_structure(str(tmp_path / "out.cif"))[0][0].name == label.chain


def test_coordinates_that_pdb_cannot_hold_are_refused() -> None:
    layout, frames = molecule()
    with pytest.raises(ValueError, match=r"a coordinate of a PDB file: expected less than 9999 Å"):
        PdbText(layout).model(frames[0] + 1000.0)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one of \.pdb, \.cif, \.xtc, \.dcd, \.h5, got suffix '\.trr'"):
        open_writer(tmp_path / "out.trr", molecule()[0])


def test_hdf5_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tables", None)
    with pytest.raises(MissingDependencyError, match=r"flashmd-cg\[h5\]"):
        open_writer(tmp_path / "out.h5", molecule()[0])


@pytest.mark.parametrize("suffix", [".pdb", ".cif", ".xtc", ".dcd"])
def test_a_full_disk_leaves_complete_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    layout, frames = molecule()
    path = tmp_path / f"out{suffix}"
    writer = open_writer(path, layout)
    writer.append(frames[:2], [0.0, 1.0])

    def half(file: Any, data: bytes) -> None:
        file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writers, "write_all", half)
        with pytest.raises(OutputError, match=r"No space left on device.*free some space, then go on behind"):
            writer.append(frames[2:], [2.0, 3.0, 4.0])
    assert np.abs(load(path, layout).xyz - frames[:2]).max() <= ROUNDING[suffix]
    writer.append(frames[2:3], [2.0])
    assert load(path, layout).n_frames == 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"writing .*out\.xtc: expected a disk with room to write to"):
        open_writer(tmp_path / "file" / "out.xtc", molecule()[0])
