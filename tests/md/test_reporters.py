"""Trajectories and tables as other programs read them."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest

from flashmd import xtc
from flashmd.errors import OutputError
from flashmd.md.reporters import bead_topology, write_pdb
from flashmd.xtc import encode_xtc

XTC_ROUNDING = 5.1e-4
"""The format keeps a thousandth of a nanometre."""


@pytest.mark.parametrize("n_beads", [1, 9, 10, 60])
def test_encoded_frames_read_back(tmp_path: Path, n_beads: int) -> None:
    positions = np.random.default_rng(2).normal(size=(4, 3, n_beads, 3)).astype(np.float32)
    slots = encode_xtc(positions, [10, 20, 30, 40], [0.1, 0.2, 0.3, 0.4])
    topology = bead_topology(["CA"] * n_beads, [("ALA", i + 1, 0) for i in range(n_beads)])
    for slot, data in enumerate(slots):
        path = tmp_path / f"{slot}.xtc"
        path.write_bytes(data)
        trajectory = mdtraj.load(path, top=topology)
        np.testing.assert_allclose(trajectory.xyz, positions[:, slot], atol=XTC_ROUNDING)
        np.testing.assert_allclose(trajectory.time, [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
        assert trajectory.unitcell_lengths is None


@pytest.mark.parametrize("n_beads", [5, 30])
def test_frames_do_not_depend_on_how_they_are_grouped(n_beads: int) -> None:
    positions = np.random.default_rng(3).normal(size=(5, 2, n_beads, 3)).astype(np.float32)
    steps, times = list(range(5)), [0.1 * step for step in range(5)]
    whole = encode_xtc(positions, steps, times)
    parts = [encode_xtc(positions[i : i + 1], steps[i : i + 1], times[i : i + 1]) for i in range(5)]
    assert whole == [b"".join(part[slot] for part in parts) for slot in range(2)]


def test_boxes_are_written(tmp_path: Path) -> None:
    positions = np.random.default_rng(4).normal(size=(2, 1, 12, 3)).astype(np.float32)
    cells = np.tile(np.array([[2.0, 0, 0], [0, 3.0, 0], [0.5, 0, 4.0]], dtype=np.float32), (2, 1, 1, 1))
    (data,) = encode_xtc(positions, [1, 2], [1.0, 2.0], cells=cells)
    (tmp_path / "a.xtc").write_bytes(data)
    topology = bead_topology(["CA"] * 12, [("ALA", i + 1, 0) for i in range(12)])
    np.testing.assert_allclose(mdtraj.load(tmp_path / "a.xtc", top=topology).unitcell_vectors, cells[:, 0], atol=1e-5)


def test_steps_beyond_32_bits_are_written() -> None:
    positions = np.zeros((1, 1, 2, 3), dtype=np.float32)
    assert len(encode_xtc(positions, [2**31 + 5], [1.0])[0]) > 0


def test_a_truncated_scratch_file_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = xtc._split_xtc
    monkeypatch.setattr(xtc, "_split_xtc", lambda data, n_beads: whole(data[:-8], n_beads))
    positions = np.random.default_rng(5).normal(size=(3, 2, 20, 3)).astype(np.float32)
    with pytest.raises(OutputError, match=r"encoding of frames: expected 6 frames, got 5\. To fix it, free space"):
        encode_xtc(positions, [1, 2, 3], [1.0, 2.0, 3.0])


def test_topology_keeps_residues_chains_and_names(tmp_path: Path) -> None:
    labels = [("GLY", 4, 0), ("GLY", 4, 0), ("PRO", 5, 0), ("TYR", 1, 1)]
    topology = bead_topology(["N", "CA", "CB", "CA"], labels)
    positions = np.arange(12, dtype=np.float32).reshape(4, 3) / 10
    write_pdb(tmp_path / "topology.pdb", topology, positions)
    read = mdtraj.load(tmp_path / "topology.pdb")
    assert [(a.name, a.residue.name, a.residue.resSeq, a.residue.chain.index) for a in read.topology.atoms] == [
        ("N", "GLY", 4, 0),
        ("CA", "GLY", 4, 0),
        ("CB", "PRO", 5, 0),
        ("CA", "TYR", 1, 1),
    ]
    np.testing.assert_allclose(read.xyz[0], positions, atol=1e-4)
