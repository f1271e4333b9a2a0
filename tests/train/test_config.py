"""Every mistake in a training configuration gives one clear message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flashmd.errors import ConfigurationError
from flashmd.train import TrainConfig, load_config
from flashmd.train.config import parse_config

MINIMAL = {"dataset": "data.npz", "output": "out"}


def test_the_example_is_valid(root: Path) -> None:
    config = load_config(root / "examples" / "train_chignolin.yaml")
    assert config.network.cutoff == 1.5
    assert config.dataset.resolve() == (root / "data" / "datasets" / "chignolin_ca.npz").resolve()


def test_resolved_configuration_reads_back_equal() -> None:
    config = parse_config({**MINIMAL, "lowest_temperature": "0.3e3 K", "network": {"cutoff": "12 A", "readout": [8]}})
    assert config.network.cutoff == pytest.approx(1.2)
    assert config.lowest_temperature == 300.0
    assert TrainConfig.model_validate(yaml.safe_load(config.to_yaml())) == config


def test_settings_and_network_carry_the_values() -> None:
    config = parse_config({**MINIMAL, "seed": 5, "optimizer": {"batch_size": 32}, "network": {"n_filters": 24}})
    assert (config.settings().seed, config.settings().batch_size) == (5, 32)
    schnet = config.network.schnet(21)
    assert (schnet.n_types, schnet.n_filters, schnet.cutoff_upper) == (21, 24, 1.5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"optimiser": {}}, "key `optimiser`: expected one of .*got 'optimiser'. To fix it, write `optimizer`"),
        ({"network": {"n_channel": 3}}, "key `network.n_channel`: expected one of .*write `n_channels`"),
        ({"network": {"zzz": 3}}, "key `network.zzz`: .*delete it"),
        (
            {"network": {"cutoff": 1.5}},
            "key `network.cutoff`: expected a number with a unit, got 1.5.* write for example",
        ),
        ({"network": {"cutoff": "3 K"}}, "key `network.cutoff`: quantity '3 K': expected a number and one of nm"),
        ({"optimizer": {"epochs": 0}}, "key `optimizer.epochs`: expected input should be greater than 0, got 0"),
        ({"dataset": None}, "key `dataset`: expected"),
        (
            {"lowest_temperature": "400 K", "highest_temperature": "300 K"},
            "temperatures: expected lowest <= highest, got 400 K > 300 K",
        ),
        (
            {"energy_length": "0.01 nm", "priors": {"dihedral_degree": 3}},
            "`priors` with `energy_length`: expected one of them, got both. To fix it, delete the section `priors`",
        ),
    ],
)
def test_mistakes(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        parse_config({**MINIMAL, **change})


def test_missing_key() -> None:
    with pytest.raises(
        ConfigurationError, match=r"key `output`: expected a value, got nothing\. To fix it, add the line"
    ):
        parse_config({"dataset": "data.npz"})


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected a readable file, got .*No such file"):
        load_config(tmp_path / "absent.yaml")
    path = tmp_path / "bad.yaml"
    path.write_text("a: [1")
    with pytest.raises(ConfigurationError, match="expected valid YAML, got while parsing"):
        load_config(path)
    path.write_text("- 1")
    with pytest.raises(ConfigurationError, match="expected keys and values, got list"):
        load_config(path)
