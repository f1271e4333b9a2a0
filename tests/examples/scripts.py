"""Examples as modules, made small before they run, and what they wrote."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from flashmd.cg import map_structure

FOLDER = Path(__file__).parents[2] / "examples" / "data_generation"
NAMES = ("chignolin_allatom", "chignolin_umbrella", "map_chignolin", "chignolin_mean_forces", "chignolin_structures")
FRAMES_PER_CYCLE = 2
CYCLES_PER_CHUNK = 2
STEPS_PER_FRAME = 5
SMALL: dict[str, dict[str, Any]] = {
    "chignolin_allatom": {
        "STEPS_PER_FRAME": STEPS_PER_FRAME,
        "FRAMES_PER_CYCLE": FRAMES_PER_CYCLE,
        "CYCLES_PER_CHUNK": CYCLES_PER_CHUNK,
        "UNFOLDING_STEPS": 10,
    },
    "chignolin_umbrella": {"PULL_STEPS": 3},
    "map_chignolin": {"CYCLES_PER_CHUNK": CYCLES_PER_CHUNK, "FIT_STRIDE": 1},
    "chignolin_mean_forces": {"EQUILIBRATION_STEPS": 10, "N_SAMPLES": 20, "STEPS_PER_SAMPLE": 2, "N_BLOCKS": 5},
}


@dataclass(frozen=True)
class Made:
    """Folders of the two runs, the state of each before its continuation, and the modules that made them."""

    modules: dict[str, ModuleType]
    ladder: Path
    umbrella: Path
    pdb: Path
    first: dict[str, bytes]


def import_scripts(patch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Import the scripts that make data, fresh; the end of `patch` forgets them."""
    patch.syspath_prepend(str(FOLDER))
    for name in NAMES:
        patch.delitem(sys.modules, name, raising=False)
    modules = {name: importlib.import_module(name) for name in NAMES}
    for name in NAMES:
        del sys.modules[name]
    return modules


def call(module: ModuleType, arguments: list[object], patch: pytest.MonkeyPatch) -> None:
    """Call `main` as `python MODULE.py ARGUMENTS` would."""
    patch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])
    assert module.main() == 0


def chunks(folder: Path) -> list[dict[str, np.ndarray]]:
    found = []
    for path in sorted(folder.glob("chunk_*.npz")):
        with np.load(path) as file:
            found.append({key: file[key] for key in file.files})
    return found


def bead_atoms(folder: Path) -> np.ndarray:
    return map_structure(folder / "topology.pdb", "ca").atom_indices.numpy()
