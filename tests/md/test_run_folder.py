"""Files of a run: names, atomic writes, a full disk, earlier runs."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from flashmd import files
from flashmd.errors import ConfigurationError, OutputError
from flashmd.md.run_folder import GrowingFile, RunFolder, trajectory_names, write_atomically


def fail_with(number: int, written: int = 3) -> object:
    def write(file: BinaryIO, data: bytes) -> None:
        file.write(data[:written])
        file.flush()
        raise OSError(number, os.strerror(number))

    return write


def test_every_slot_has_its_own_file() -> None:
    assert trajectory_names([280.0, 354.96478], 1) == ["T_280.0K.xtc", "T_355.0K.xtc"]
    assert trajectory_names([300.0, 310.0], 2) == [
        "T_300.0K_walker_0.xtc",
        "T_300.0K_walker_1.xtc",
        "T_310.0K_walker_0.xtc",
        "T_310.0K_walker_1.xtc",
    ]
    assert trajectory_names([300.0, 300.04, 301.0], 1) == ["T_300.00K.xtc", "T_300.04K.xtc", "T_301.00K.xtc"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_atomically(path, b"old")
    monkeypatch.setattr(files, "write_all", fail_with(errno.ENOSPC))
    text = (
        r"writing .*checkpoint\.safetensors: .* got No space left on device\. To fix it, free some space, then continue"
    )
    with pytest.raises(OutputError, match=text):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_content_is_on_the_disk_before_the_old_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        calls.append("sync")
        sync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        calls.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_atomically(tmp_path / "file", b"new")
    assert calls == ["sync", "replace", "sync"]
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_growing_file_forgets_what_no_checkpoint_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = GrowingFile(tmp_path / "log.csv")
    file.truncate()
    file.append(b"first")
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", fail_with(errno.EACCES))
        with pytest.raises(OutputError, match=r"got Permission denied\. To fix it, make it writable"):
            file.append(b"second")
    assert file.path.read_bytes() == b"firstsec"
    assert file.size == 5
    again = GrowingFile(file.path, file.size)
    again.truncate()
    again.append(b"third")
    assert file.path.read_bytes() == b"firstthird"


def test_an_earlier_run_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.create(overwrite=False)
    for name in ("log.csv", "T_300.0K.xtc", "T_310.0K_walker_1.xtc", "notes.txt"):
        (folder.path / name).write_text("old", encoding="utf-8")
    text = r"run folder .*run: expected no run in it, got .* `flashmd simulate --resume .*run`, pass `--overwrite`"
    with pytest.raises(ConfigurationError, match=text):
        folder.create(overwrite=False)
    folder.create(overwrite=True)
    assert [each.name for each in folder.path.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"writing .*run: .* got Not a directory"):
        RunFolder(tmp_path / "file" / "run").create(overwrite=False)
