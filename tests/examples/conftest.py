"""The all-atom runs of the examples, made once for all tests of this folder."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from .scripts import CYCLES_PER_CHUNK, FRAMES_PER_CYCLE, SMALL, STEPS_PER_FRAME, Made, call, import_scripts


@pytest.fixture(scope="session")
def made(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Both all-atom runs, each one chunk and then continued by another."""
    pytest.importorskip("openmm")
    pdb = shared_data / "fast_folders" / "native" / "chignolin_cln025.pdb"
    if not pdb.is_file():
        pytest.skip(f"{pdb.name} is not there")
    folder = tmp_path_factory.mktemp("allatom")
    state = random.getstate()
    random.seed(1)  # OpenMM places hydrogens with Python's global generator
    with pytest.MonkeyPatch.context() as patch:
        modules = import_scripts(patch)
        for name, constants in SMALL.items():
            for constant, value in constants.items():
                patch.setattr(modules[name], constant, value)
        result = Made(modules, folder / "ladder", folder / "umbrella", pdb, {})
        for name, output in (("chignolin_allatom", result.ladder), ("chignolin_umbrella", result.umbrella)):
            n_replicas = len(modules[name].TEMPERATURES if output == result.ladder else modules[name].CENTERS)
            chunk = n_replicas * CYCLES_PER_CHUNK * FRAMES_PER_CYCLE * STEPS_PER_FRAME * 0.004e-3  # ns
            for n_chunks in (1, 2):
                length = ["--nanoseconds", (n_chunks - 0.5) * chunk]
                call(modules[name], [pdb, output, *length, "--platform", "Reference"], patch)
                result.first.setdefault(output.name, (output / "chunk_00001.npz").read_bytes())
        yield result
    random.setstate(state)
