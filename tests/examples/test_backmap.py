"""The examples of backmapping run, with a small network that has learned nothing, and do what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import mdtraj
import numpy as np
import pytest
import torch

from flashmd.backmap.model import BackmapModel
from flashmd.backmap.network import NetworkConfig
from flashmd.md.reporters import bead_topology, write_pdb
from flashmd.xtc import encode_xtc
from tests.backmap.files import SEQUENCE, helix

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def model(tmp_path: Path) -> str:
    torch.manual_seed(1)
    path = tmp_path / "model.safetensors"
    BackmapModel(NetworkConfig(width=8, edge_width=8, n_layers=1, n_neighbors=3)).save(path)
    return str(path)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_trace(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "all_atom.pdb"
    words = ["backmap_trace.py", "--samples", "2", "--output", str(output), "--model", model]
    monkeypatch.setattr(sys, "argv", words)
    assert load("backmap_trace").main() == 0
    assert "A:TYR1: side chain spreads by" in capsys.readouterr().out
    assert mdtraj.load(str(output)).n_frames == 2


def test_run(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [(name, number, 0) for number, name in enumerate(SEQUENCE, start=1)]
    topology = bead_topology(["CA"] * len(labels), labels)
    write_pdb(tmp_path / "topology.pdb", topology, helix(6) / 10.0)
    frames = np.stack([helix(6) / 10.0] * 4)[:, None]
    (tmp_path / "T_300.0K.xtc").write_bytes(encode_xtc(frames, range(4), [0.0, 1.0, 2.0, 3.0])[0])
    monkeypatch.setattr(sys, "argv", ["backmap_run.py", str(tmp_path), "--frames", "3", "--model", model])
    assert load("backmap_run").main() == 0
    printed = capsys.readouterr().out
    assert "noise shared: side chains move by 0.0000 nm" in printed
    assert "wrote 3 structures" in printed
