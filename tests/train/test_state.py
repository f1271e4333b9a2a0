"""The state between two epochs survives a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from flashmd import files
from flashmd.errors import OutputError
from flashmd.nn import SchNet, SchNetConfig
from flashmd.train.state import new_state, save_state


def test_a_full_disk_keeps_the_state_and_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = new_state(
        SchNet(SchNetConfig(n_types=3, n_channels=8, n_filters=4, n_basis=5, n_blocks=1, readout=(4,))),
        learning_rate=1e-3,
        weight_decay=0.0,
    )
    path = tmp_path / "training.safetensors"
    save_state(state, path, fingerprint="a")
    before = path.read_bytes()

    def full(stream: BinaryIO, data: bytes) -> None:
        stream.write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_all", full)
    text = r"No space left on device\. To fix it, free some space, then start the training again"
    with pytest.raises(OutputError, match=text):
        save_state(state, path, fingerprint="b")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
