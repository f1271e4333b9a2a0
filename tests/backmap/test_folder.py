"""Folders of structure files as training data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flashmd.backmap.chains import Chains
from flashmd.backmap.dataset import Structure
from flashmd.backmap.layout import heavy_layout
from flashmd.backmap.structure_text import CifText, PdbText
from flashmd.backmap.training.folder import read_data


def write(structure: Structure, path: Path) -> None:
    """Write a structure without the last oxygens of its chains."""
    layout = heavy_layout(structure.chains)
    flat = structure.chains.flatten(structure.positions)
    atoms = torch.zeros(len(layout.names), 3)
    atoms[torch.tensor([name != "OXT" for name in layout.names])] = flat
    text = (PdbText if path.suffix == ".pdb" else CifText)(layout)
    path.write_text(text.head + text.model(atoms.numpy()))


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_files_give_the_structures_they_hold(structures: list[Structure], tmp_path: Path, suffix: str) -> None:
    (tmp_path / "more").mkdir()
    for index, structure in enumerate(structures[:2]):
        write(structure, tmp_path / "more" / f"{index}{suffix}")
    data = read_data(tmp_path)
    assert data.left_out == []
    assert data.used == [f"more/{index}{suffix}:A" for index in range(2)]
    for found, structure in zip(data.structures, structures, strict=False):
        assert torch.equal(found.chains.types, structure.chains.types)
        assert torch.allclose(found.positions, structure.positions, atol=1e-4)
        assert torch.equal(found.chains.joined, structure.chains.joined)


def test_incomplete_residues_leave_a_gap(structures: list[Structure], tmp_path: Path) -> None:
    chains = Chains.from_sequence("A" * 30)
    ca = torch.arange(30.0)[:, None] * torch.tensor([0.35, 0.0, 0.0])
    offsets = 0.1 * torch.randn(30, 14, 3, generator=torch.Generator().manual_seed(0)) * chains.mask[:, :, None]
    offsets[:, 1] = 0.0
    write(Structure("made", chains, ca[:, None] + offsets), tmp_path / "a.pdb")
    lines = (tmp_path / "a.pdb").read_text().splitlines()
    kept = [line for line in lines if not (line[12:16].strip() == "CB" and line[22:26].strip() == "7")]
    (tmp_path / "a.pdb").write_text("\n".join(kept))
    (found,) = read_data(tmp_path).structures
    assert found.chains.n_residues == 29
    assert found.chains.joined.tolist() == [index not in (5, 28) for index in range(29)]


def test_files_without_use_are_named(structures: list[Structure], tmp_path: Path) -> None:
    write(structures[0], tmp_path / "good.pdb")
    write(Structure("short", Chains.from_sequence("GA"), torch.rand(2, 14, 3)), tmp_path / "short.pdb")
    (tmp_path / "water.pdb").write_text(
        "HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O\n"
    )
    data = read_data(tmp_path)
    assert data.used == ["good.pdb:A"]
    assert [line.split(":")[0] for line in data.left_out] == ["short.pdb", "water.pdb"]
    assert "no chain of 20 complete residues" in data.left_out[0]
    with pytest.raises(ValueError, match=r"data .*expected files of kind .*\.pdb.*got nothing of that name"):
        read_data(tmp_path / "absent")
    (tmp_path / "good.pdb").unlink()
    with pytest.raises(ValueError, match="expected chains of 20 complete residues, got 2 files without"):
        read_data(tmp_path)


@pytest.mark.parametrize("name", ["a.pdb", "a.npz", "a.npy"])
def test_files_of_another_kind_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK\x03\x04 half an archive" if name == "a.npz" else b"ATOM")
    if name == "a.npy":
        np.save(path, np.zeros(3))
    with pytest.raises(
        ValueError, match=r"data `.*`: expected an archive of NumPy, got another kind .*a folder of PDB"
    ):
        read_data(path)


def test_an_archive_of_other_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", xyz_milli_angstrom=np.zeros(3))
    with pytest.raises(ValueError, match=r"expected arrays of structures, got none called atom_name, atom_names"):
        read_data(tmp_path / "a.npz")
