"""Structures from files: identity of residues, missing atoms, gaps, and the residues two files have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flashmd.backmap import quality
from flashmd.backmap.chains import Chains, ResidueLabel
from flashmd.backmap.residues import slot
from tests.backmap.peptides import SEQUENCE, peptide
from tests.backmap.structures import write_heavy

PDB_ROUNDING = 1e-4
"""nm, a unit in the last place of a PDB file."""


def test_models_of_a_file(tmp_path: Path) -> None:
    chains, native = peptide()
    frames = torch.stack([native, native + 0.1, native + 0.2])
    found = quality.read_structures(write_heavy(tmp_path / "models.pdb", chains, frames))
    assert found.chains.labels == chains.labels
    assert torch.equal(found.chains.joined, chains.joined)
    pieces = list(found.frames(size=2))
    assert [len(piece) for piece in pieces] == [2, 1]
    read = torch.cat(pieces)
    assert (read - frames)[:, chains.mask].abs().max() < PDB_ROUNDING
    assert read[:, ~chains.mask].isnan().all()


def test_missing_atoms_are_nan(tmp_path: Path) -> None:
    chains, native = peptide()
    lysine = SEQUENCE.index("K")
    native[lysine, slot("LYS", "CE") :] = torch.nan
    native[lysine, 2] = torch.nan
    found = quality.read_structures(write_heavy(tmp_path / "model.pdb", chains, native[None]))
    frame = next(found.frames())[0]
    assert torch.equal(frame.isnan().any(-1) & chains.mask, native.isnan().any(-1) & chains.mask)
    # Without C, the distance of the CA tells that the residues are joined.
    assert torch.equal(found.chains.joined, chains.joined)


def test_gaps_and_chains_are_not_joined(tmp_path: Path) -> None:
    chains, native = peptide("AAAAAA")
    native[2:] += 0.5
    labels = tuple(replace(label, chain="A" if label.number < 5 else "B") for label in chains.labels)
    named = Chains(chains.types, chains.joined, labels)
    found = quality.read_structures(write_heavy(tmp_path / "model.pdb", named, native[None]))
    assert found.chains.joined.tolist() == [True, False, True, False, True, False]


def test_reference_with_more_residues(tmp_path: Path) -> None:
    chains, native = peptide()
    labels = tuple(
        ResidueLabel("X", 7, code, name.name) for code, name in zip("ABCDEFGHIJKLMN", chains.labels, strict=True)
    )
    whole = Chains(chains.types, chains.joined, labels)
    part = Chains(chains.types[3:9], torch.tensor([True] * 5 + [False]), labels[3:9])
    reference = quality.read_structures(write_heavy(tmp_path / "whole.pdb", whole, native[None]))
    placed = quality.place_reference(part, reference)
    assert quality.deviations(part, native[3:9], placed).side_chain[0] < 2 * PDB_ROUNDING
    # The same sequence under other names corresponds in order.
    assert (
        quality.deviations(chains, native, quality.place_reference(chains, reference)).side_chain[0] < 2 * PDB_ROUNDING
    )
    other = Chains(part.types.flip(0), part.joined, part.labels)
    with pytest.raises(
        ValueError, match=r"reference `.*whole.pdb`: expected each residue of the model.*got none for X:"
    ):
        quality.place_reference(other, reference)


def test_trajectory_with_its_topology(tmp_path: Path) -> None:
    mdtraj = pytest.importorskip("mdtraj")
    chains, native = peptide()
    pdb = write_heavy(tmp_path / "model.pdb", chains, native[None])
    trajectory = mdtraj.load(str(pdb))
    trajectory = mdtraj.join([trajectory, trajectory])
    trajectory.xyz[1] += 0.3
    trajectory.save_dcd(str(tmp_path / "frames.dcd"))
    found = quality.read_structures(pdb, tmp_path / "frames.dcd")
    frames = next(found.frames())
    assert (frames[1] - native - 0.3)[chains.mask].abs().max() < PDB_ROUNDING
