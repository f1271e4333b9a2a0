"""Files that are complete or not there: one way to write them, whoever writes."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from flashmd.errors import OutputError, message

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def writing(file: Path, *, advice: str) -> Iterator[None]:
    """Turn a failure of the disk into an OutputError.

    Args:
        file: named in the error.
        advice: how to go on once there is room, an infinitive clause.
    """
    try:
        yield
    except OSError as error:
        remedy = "free some space" if error.errno in _FULL else "make it writable"
        got, fix = error.strerror or str(error), f"{remedy}, then {advice}"
        raise OutputError(message(f"writing {file}", "a disk with room to write to", got, fix)) from error


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write all bytes to an open file."""
    file.write(data)


def write_atomically(path: Path, data: bytes, *, advice: str) -> None:
    """Replace a file so that at any moment, even after a crash, either the old or the new content is there.

    Args:
        path: file to replace.
        data: its new content.
        advice: see `writing`.

    Raises:
        OutputError: the disk is full or not writable; the old content stays and nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path, advice=advice):
        try:
            with temporary.open("wb") as file:
                write_all(file, data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
