"""Backmapping models that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from flashmd.backmap.model import BackmapModel
from flashmd.devices import open_device
from flashmd.errors import CheckpointError, message

_PREFIX = "backmap_"


def find_model(name: str) -> Path:
    """Return the path of a model given by path or by the name of a shipped model.

    Raises:
        CheckpointError: there is neither such a file nor such a model.
    """
    if Path(name).is_file():
        return Path(name)
    package = Path(__file__).parents[1]
    pattern = f"data/models/{_PREFIX}*.safetensors"
    shipped = {
        path.stem.removeprefix(_PREFIX): path for path in [*package.glob(pattern), *package.parent.glob(pattern)]
    }
    if name in shipped:
        return shipped[name]
    names = ", ".join(sorted(shipped)) or "none shipped"
    fix = "check the path, or train a model with `flashmd train-backmap`"
    raise CheckpointError(message("the backmapping model", f"a file or one of: {names}", repr(name), fix))


def open_model(name: str, device: str = "cpu") -> BackmapModel:
    """Read a model given by path or by the name of a shipped one.

    Raises:
        CheckpointError: there is no such model, or it cannot be read.
        ValueError: torch does not find the device.
    """
    chosen = open_device(device)
    return BackmapModel.load(find_model(name)).to(chosen)
