"""Model files: exact round trips, and every way in which a file can be wrong."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import BinaryIO

import pytest
import safetensors.torch
import torch

from flashmd import files
from flashmd.errors import CheckpointError, OutputError
from flashmd.potential import Potential, SumPotential, load, model_hash, register, save
from flashmd.potential.checkpoint import read_metadata, resolve
from tests.potential.build import chain, every_prior, schnet


def everything(dtype: torch.dtype) -> SumPotential:
    network = schnet(dtype=dtype, basis_alpha=4.0, cutoff_lower=0.05, activation="silu", skin=0.25)
    network.bead_types = {"ALA": 1, "GLY": 2}
    return SumPotential({"SchNet": network, **every_prior(dtype=dtype)}, name="all")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save(everything(torch.float32), path, {"origin": "a test", "temperature": 300.0})
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_is_bitwise(tmp_path: Path, dtype: torch.dtype) -> None:
    path, system, potential = tmp_path / "m.safetensors", chain(9, dtype=dtype), everything(dtype)
    save(potential, path, {"origin": "a test"})
    loaded = load(path, dtype=dtype)
    assert loaded.state_dict().keys() == potential.state_dict().keys()
    for name, tensor in potential.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    before, after = potential.evaluate(system, virial=True), loaded.evaluate(system, virial=True)
    assert torch.equal(before.energy, after.energy)
    assert torch.equal(before.forces, after.forces)
    assert torch.equal(before.virial, after.virial)
    assert loaded.cutoff == potential.cutoff
    assert loaded.bead_types == {"ALA": 1, "GLY": 2}
    assert loaded.name == "all"
    assert loaded.potentials["SchNet"].verlet_list.skin == 0.25
    again = tmp_path / "again.safetensors"
    save(loaded, again)
    assert again.read_bytes() == path.read_bytes()


def test_metadata(file: Path) -> None:
    loaded = load(file)
    assert loaded.metadata["origin"] == "a test"
    assert loaded.metadata["temperature"] == 300.0
    assert loaded.metadata["units"] == {"length": "nm", "energy": "kJ/mol", "time": "ps", "mass": "Da"}
    assert loaded.metadata["cutoff"] == pytest.approx(0.9)
    assert loaded.metadata["sha256"] == model_hash(file)
    assert read_metadata(file)["potential"]["class"] == "SumPotential"
    assert not loaded.training


def test_precision_on_request(file: Path) -> None:
    double = load(file, dtype=torch.float64)
    assert {t.dtype for t in double.state_dict().values()} == {torch.float64, torch.int64}
    assert double.evaluate(chain(9)).forces.dtype == torch.float64


def test_hash_follows_the_content(file: Path, tmp_path: Path) -> None:
    first = model_hash(file)
    save(everything(torch.float32), tmp_path / "other.safetensors", {"origin": "another"})
    assert model_hash(tmp_path / "other.safetensors") != first
    assert len(first) == 64


def test_missing_file() -> None:
    with pytest.raises(CheckpointError, match=r"the model: expected a file or one of: .*, got 'no-such-model'"):
        load("no-such-model")


@pytest.mark.parametrize("keep", [0, 5, 40, 4000, -1])
def test_truncated_file(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model file 'model.safetensors': expected .* truncated"):
        load(file)


def test_file_with_something_appended(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(CheckpointError, match=r"expected \d+ bytes, got \d+ bytes, so it is followed by other data"):
        load(file)


def test_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for content in (
        b"x" * 200,
        (20).to_bytes(8, "little") + b"not json at all!!!!!",
        (4).to_bytes(8, "little") + b"[{}]",
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model file 'm.safetensors': expected a safetensors file, got"):
            load(path)
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"expected a safetensors file"):
        load(path)


def rewrite(path: Path, change: dict[str, object], drop: tuple[str, ...] = ()) -> None:
    """Replace entries of the document, tensors unchanged."""
    document = {**read_metadata(path), **change}
    for key in drop:
        document.pop(key)
    tensors = safetensors.torch.load_file(str(path))
    safetensors.torch.save_file(tensors, str(path), metadata={"flashmd": json.dumps(document)})


def test_foreign_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, str(path), metadata={"origin": "elsewhere"})
    with pytest.raises(CheckpointError, match=r"expected the entry `flashmd` in its metadata, got \['origin'\]"):
        load(path)
    for text, found in (
        ("{", r"expected JSON in its metadata"),
        ("[]", r"expected format 'flashmd-potential', got 'list'"),
    ):
        safetensors.torch.save_file({"a": torch.zeros(1)}, str(path), metadata={"flashmd": text})
        with pytest.raises(CheckpointError, match=found):
            load(path)


def test_other_format_and_version(file: Path) -> None:
    rewrite(file, {"version": 2, "flashmd_version": "9.0"})
    with pytest.raises(CheckpointError, match=r"expected version 1 of the format, got version 2 of flashmd 9.0"):
        load(file)
    document = json.loads(safetensors.safe_open(str(file), "pt").metadata()["flashmd"])
    safetensors.torch.save_file({}, str(file), metadata={"flashmd": json.dumps({**document, "format": "other"})})
    with pytest.raises(CheckpointError, match=r"expected format 'flashmd-potential', got 'other'"):
        load(file)


def test_unknown_class_is_named(file: Path) -> None:
    document = read_metadata(file)
    spec = document["potential"]
    spec["terms"]["SchNet"]["class"] = "os.system"
    rewrite(file, {"potential": spec})
    with pytest.raises(
        CheckpointError, match=r"the potential class: expected one of .*SchNetPotential.*, got 'os.system'"
    ):
        load(file)
    rewrite(file, {"potential": None})
    with pytest.raises(CheckpointError, match=r"expected a description of the potential, got None"):
        load(file)


@pytest.mark.parametrize(
    ("key", "value"), [("colour", 3), ("n_blocks", "many"), ("n_blocks", -1), ("activation", "relu"), ("n_basis", 1)]
)
def test_wrong_description(file: Path, key: str, value: object) -> None:
    spec = read_metadata(file)["potential"]
    spec["terms"]["SchNet"]["config"][key] = value
    rewrite(file, {"potential": spec})
    with pytest.raises(
        CheckpointError, match=r"expected a valid description of the potential, got one that does not fit"
    ):
        load(file)


def retensor(path: Path, change: dict[str, torch.Tensor], drop: tuple[str, ...] = ()) -> None:
    document = read_metadata(path)
    tensors = {k: v for k, v in safetensors.torch.load_file(str(path)).items() if k not in drop} | change
    safetensors.torch.save_file(tensors, str(path), metadata={"flashmd": json.dumps(document)})


@pytest.mark.parametrize(
    ("change", "drop", "text"),
    [
        ({}, ("potentials.bonds.values",), r"missing \['potentials.bonds.values'\], unknown \[\]"),
        ({"extra": torch.zeros(2)}, (), r"missing \[\], unknown \['extra'\]"),
        (
            {"potentials.bonds.values": torch.zeros(3, 2)},
            (),
            r"'potentials.bonds.values' of shape \(9, 2\), got \(3, 2\)",
        ),
        ({"potentials.bonds.values": torch.zeros(9, 2).long()}, (), r"of a type like torch.float32, got torch.int64"),
        ({"potentials.bonds.values": torch.full((9, 2), torch.nan)}, (), r"finite values of 'potentials.bonds.values'"),
    ],
)
def test_wrong_tensors(file: Path, change: dict[str, torch.Tensor], drop: tuple[str, ...], text: str) -> None:
    retensor(file, change, drop)
    with pytest.raises(CheckpointError, match=text):
        load(file)


def test_unregistered_classes_cannot_be_saved(tmp_path: Path) -> None:
    class Own(Potential):
        def energy(self, system: object) -> torch.Tensor:
            return torch.zeros(1)

    with pytest.raises(TypeError, match=r"`Own`: expected a class that can be saved, got one that cannot"):
        save(Own("own"), tmp_path / "m.safetensors")
    with pytest.raises(TypeError, match=r"`Own`: expected a class that can be loaded"):
        Own.from_spec({})


def test_names_of_classes_are_unique() -> None:
    with pytest.raises(ValueError, match=r"class name 'SumPotential': expected a name not yet registered"):
        register(type("SumPotential", (Potential,), {}))


def test_path_or_name(file: Path) -> None:
    assert resolve(file) == file
    assert resolve(str(file)) == file


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = file.read_bytes()

    def full(stream: BinaryIO, data: bytes) -> None:
        stream.write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_all", full)
    text = (
        r"writing .*model.safetensors: expected a disk with room to write to, got No space left on device\. To fix it"
    )
    with pytest.raises(OutputError, match=text):
        save(everything(torch.float32), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
