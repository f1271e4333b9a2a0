"""Tensors with a header in a safetensors file: one way to read them, and one error where that fails."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from flashmd.errors import CheckpointError, message


def read_tensors(
    path: str | Path, *, what: str, fix: str, expected: str = "a readable file"
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the header and all tensors of a file.

    Args:
        path: safetensors file.
        what: how the error calls it.
        fix: what the error advises.
        expected: what the error says should be there.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(message(f"{what} {path}", expected, str(error), fix)) from None
    return header, tensors
