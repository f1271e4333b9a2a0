"""Models and platforms for the tests with OpenMM."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("openmm", reason="OpenMM is not installed")

import openmm

from flashmd.interfaces.model import LoadedModel, open_model
from flashmd.potential import save

from .build import network


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the files of native forces in a folder of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(params=["Reference", "CPU", "OpenCL"])
def platform(request: pytest.FixtureRequest) -> str:
    """Each platform of OpenMM that runs on a processor; OpenCL on one needs an implementation such as pocl."""
    name: str = request.param
    if name not in {openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())}:
        pytest.skip(f"OpenMM finds no platform {name} on this machine (for OpenCL, install pocl-opencl-icd)")
    return name


@pytest.fixture(scope="session")
def organic(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A random network of H, C, N and O in a file, in double precision."""
    path = tmp_path_factory.mktemp("models") / "organic.safetensors"
    save(network(), path)
    return open_model(path, dtype="float64")


@pytest.fixture(scope="session")
def chignolin() -> LoadedModel:
    """The shipped coarse-grained model, in double precision."""
    return open_model("chignolin-ca", dtype="float64")


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A file of its own for a test that changes it."""
    save(network(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"
