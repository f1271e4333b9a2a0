"""Read a run configuration from a YAML file with overrides, and turn every mistake in it into one clear message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from flashmd.configuration import explain, read_yaml
from flashmd.errors import ConfigurationError, message
from flashmd.md.config import RunConfig

_INPUT_SUFFIXES = (".safetensors",)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check a configuration file.

    Args:
        path: YAML file. Relative paths of inputs in it start from its folder, `output` from the current directory.
        overrides: `key=value` pairs, values as in YAML; `temperatures.count=8` reaches into a mapping.

    Raises:
        ConfigurationError: the file is absent or not YAML, a key is unknown, missing or malformed.
    """
    path = Path(path)
    data = read_yaml(path, example="model: chignolin-ca")
    for override in overrides:
        apply_override(data, override)
    config = parse_config(data, source=str(path))
    return _with_paths_from(config, path.resolve().parent)


def parse_config(data: Mapping[str, Any], source: str = "the configuration") -> RunConfig:
    """Check a mapping of keys and values; paths are left as they are.

    Raises:
        ConfigurationError: as `load_config`.
    """
    try:
        return RunConfig.model_validate(dict(data))
    except ValidationError as error:
        text = explain(error, RunConfig, also=["duration"])
        raise ConfigurationError(f"{source}: {text}") from None


def apply_override(data: dict[str, Any], override: str) -> None:
    """Set one `key=value` in a configuration mapping, in place.

    Raises:
        ConfigurationError: it is not of that form, or reaches into a value that is no mapping.
    """
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigurationError(message("`--set`", "key=value", repr(override), "write for example `--set seed=2`"))
    *parents, last = key.strip().split(".")
    target = data
    for parent in parents:
        inner = target.setdefault(parent, {})
        if not isinstance(inner, dict):
            fix = f"override `{parent}` as a whole"
            raise ConfigurationError(message(f"`--set {override}`", f"`{parent}` to be a mapping", repr(inner), fix))
        target = inner
    try:
        target[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        fix = "quote it as in YAML"
        raise ConfigurationError(message(f"`--set {override}`", "a YAML value", repr(text), fix)) from None
    if not parents and last in ("duration", "n_steps"):
        data.pop("n_steps" if last == "duration" else "duration", None)


def _with_paths_from(config: RunConfig, folder: Path) -> RunConfig:
    model = config.model
    # A bare name is that of a shipped model; whatever looks like a path, or lies beside the file, is a file.
    if "/" in model or model.endswith(_INPUT_SUFFIXES) or (folder / model).is_file():
        model = str(folder / model)
    changes: dict[str, Any] = {
        "model": model,
        "structure": folder / config.structure,
        "initial": tuple(folder / each for each in config.initial),
        "output": Path.cwd() / config.output,
    }
    return config.model_copy(update=changes)
