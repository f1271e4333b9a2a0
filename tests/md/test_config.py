"""Configuration files: what is read, and what a mistake says."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from flashmd.errors import ConfigurationError
from flashmd.md import RunConfig, load_config, parse_config
from flashmd.md.config_file import apply_override

MINIMAL: dict[str, Any] = {
    "model": "chignolin-ca",
    "structure": "native.pdb",
    "output": "run",
    "temperatures": "300 K",
    "time_step": "4 fs",
    "n_steps": 10,
    "seed": 1,
}


def changed(**changes: Any) -> RunConfig:
    return parse_config({key: value for key, value in (MINIMAL | changes).items() if value is not None})


def test_quantities_become_internal_units() -> None:
    config = changed(time_step="4 fs", friction="0.002 / fs", n_steps=None, duration="20 ns")
    assert config.time_step == pytest.approx(0.004, rel=1e-15)
    assert config.friction == pytest.approx(2.0, rel=1e-15)
    assert config.n_steps == 5_000_000
    assert config.temperatures == (300.0,)
    assert config.dtype == torch.float32
    assert changed(precision="double").dtype == torch.float64


def test_a_ladder_is_geometric_or_even() -> None:
    ends = {"lowest": "280 K", "highest": "450 K", "count": 8}
    ladder = changed(temperatures=ends).temperatures
    ratios = [high / low for low, high in itertools.pairwise(ladder)]
    assert (len(ladder), ladder[0], ladder[-1]) == (8, 280.0, 450.0)
    assert ratios == pytest.approx([(450 / 280) ** (1 / 7)] * 7, rel=1e-12)
    even = changed(temperatures=ends | {"geometric": False, "count": 3}).temperatures
    assert even == pytest.approx((280.0, 365.0, 450.0), rel=1e-15)


def test_every_frame_has_its_energy_by_default() -> None:
    assert changed(save_interval=250).log_interval == 250
    assert changed(save_interval=250, log_interval=50).log_interval == 50
    assert changed().log_interval == changed().save_interval


def test_the_resolved_configuration_reads_back_equal() -> None:
    ladder = {"lowest": "280 K", "highest": "451 K", "count": 7}
    config = changed(temperatures=ladder, friction="0.3 / ps", time_step="3.3 fs", threads=2, initial=["a.pdb"])
    assert parse_config(yaml.safe_load(config.to_yaml())) == config


def test_the_number_of_replicas() -> None:
    assert changed(temperatures=["300 K", "310 K"], walkers=3).n_replicas == 6


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"temprature": "3 K"},
            r"key `temprature`: expected one of .*, got 'temprature'\. To fix it, write `temperatures`",
        ),
        ({"zzz": 1}, r"key `zzz`: .* To fix it, delete it"),
        ({"model": None}, r"key `model`: expected a value, got nothing\. To fix it, add the line `model: \.\.\.`"),
        ({"time_step": 4}, r"key `time_step`: expected a number with a unit, got 4\. To fix it, write .*`4 fs`"),
        ({"time_step": "4 nm"}, r"key `time_step`: quantity '4 nm': expected a number and one of ps, fs"),
        ({"time_step": "-4 fs"}, r"key `time_step`: expected a positive number, got -0\.004"),
        (
            {"friction": "-1 / ps"},
            r"key `friction`: expected input should be greater than or equal to 0, got '-1 / ps'",
        ),
        ({"temperatures": 300}, r"key `temperatures\.0`: expected a number with a unit, got 300"),
        ({"temperatures": ["300 K", "290 K"]}, r"expected `temperatures` to rise, got 300 K, 290 K"),
        (
            {"temperatures": {"lowst": "1 K", "highest": "2 K", "count": 2}},
            r"key `temperatures\.lowst`.*write `lowest`",
        ),
        ({"temperatures": []}, r"key `temperatures`: .*at least 1 item"),
        ({"duration": "1 ns"}, r"expected either `n_steps` or `duration`, got both"),
        ({"n_steps": None}, r"expected `n_steps` or `duration`, got neither.*`duration: 20 ns`"),
        ({"n_steps": None, "duration": 5}, r"expected `duration` with a unit"),
        (
            {"n_steps": None, "duration": "1 ns", "time_step": None},
            r"^the configuration: key `time_step`: expected a value",
        ),
        ({"n_steps": "many"}, r"key `n_steps`: expected input should be a valid integer.*got 'many'"),
        ({"walkers": 0}, r"key `walkers`: expected input should be greater than or equal to 1, got 0"),
        ({"walkers": 65537}, r"key `walkers`: expected input should be less than or equal to 65536, got 65537"),
        ({"precision": "half"}, r"key `precision`: expected input should be 'single' or 'double', got 'half'"),
    ],
)
def test_mistakes_are_explained(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        changed(**changes)


def write(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_paths_start_from_the_file_and_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, work = tmp_path / "inputs", tmp_path / "work"
    inputs.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    path = write(inputs, MINIMAL | {"initial": ["a.pdb", "/b.npz"], "model": "models/m.safetensors"})
    config = load_config(path)
    assert config.structure == inputs / "native.pdb"
    assert config.initial == (inputs / "a.pdb", Path("/b.npz"))
    assert config.model == str(inputs / "models/m.safetensors")
    assert config.output == work / "run"
    assert load_config(write(inputs, MINIMAL)).model == "chignolin-ca"
    (inputs / "chignolin-ca").touch()
    assert load_config(path, ["model=chignolin-ca"]).model == str(inputs / "chignolin-ca")


def test_a_folder_is_not_mistaken_for_a_model(tmp_path: Path) -> None:
    (tmp_path / "chignolin-ca").mkdir()
    assert load_config(write(tmp_path, MINIMAL | {"model": "chignolin-ca"})).model == "chignolin-ca"


def test_overrides_replace_values(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL | {"temperatures": {"lowest": "280 K", "highest": "450 K", "count": 2}})
    config = load_config(path, ["seed=7", "temperatures.count=3", "duration=8 ps", "initial=[a.pdb]"])
    assert (config.seed, len(config.temperatures), config.n_steps) == (7, 3, 2000)
    assert config.initial == (tmp_path / "a.pdb",)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("seed", r"`--set`: expected key=value, got 'seed'"),
        ("=3", r"`--set`: expected key=value, got '=3'"),
        (
            "seed.x=3",
            r"`--set seed\.x=3`: expected `seed` to be a mapping, got 1\. To fix it, override `seed` as a whole",
        ),
        ("seed=[1", r"`--set seed=\[1`: expected a YAML value"),
    ],
)
def test_malformed_overrides_are_explained(override: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        apply_override(dict(MINIMAL), override)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, r"configuration .*run\.yaml: expected a readable file, got .*No such file"),
        ("model: [", r"configuration .*: expected valid YAML, got .*line 1"),
        ("- 1", r"configuration .*: expected keys and values, got list"),
    ],
)
def test_unreadable_files_are_explained(tmp_path: Path, content: str | None, text: str) -> None:
    path = tmp_path / "run.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=text):
        load_config(path)
