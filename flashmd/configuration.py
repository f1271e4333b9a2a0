"""What all configuration files share: reading YAML, and saying which key is wrong, what was expected, what to write."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from flashmd.errors import ConfigurationError, message


def read_yaml(path: Path, *, example: str) -> dict[str, Any]:
    """Return the keys and values of a file.

    Args:
        path: YAML file.
        example: a first line to suggest where the file holds no mapping.

    Raises:
        ConfigurationError: the file cannot be read, is no YAML or holds no keys and values.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        fix = "pass the path of a YAML file"
        raise ConfigurationError(message(f"configuration {path}", "a readable file", str(error), fix)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        fix = "correct the file at that place"
        raise ConfigurationError(message(f"configuration {path}", "valid YAML", detail, fix)) from None
    if not isinstance(data, dict):
        fix = f"start it with for example `{example}`"
        raise ConfigurationError(message(f"configuration {path}", "keys and values", type(data).__name__, fix))
    return data


_Schema = TypeVar("_Schema", bound=BaseModel)


def load_checked(path: str | Path, schema: type[_Schema], *, example: str, inputs: Sequence[str]) -> _Schema:
    """Read and check a configuration file.

    Args:
        path: YAML file.
        schema: what it must hold.
        example: a first line to suggest where the file holds no mapping.
        inputs: keys of paths that start from the folder of the file where they are relative.

    Raises:
        ConfigurationError: the file is absent or not YAML, a key is unknown, missing or malformed.
    """
    path = Path(path)
    data = read_yaml(path, example=example)
    try:
        config = schema.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {explain(error, schema)}") from None
    base = path.resolve().parent
    return config.model_copy(update={key: base / getattr(config, key) for key in inputs})


def explain(error: ValidationError, schema: type[BaseModel], *, also: Sequence[str] = (), prefix: str = "") -> str:
    """Return one message for all mistakes that pydantic found.

    Args:
        error: what pydantic raised.
        schema: model whose fields are the keys that exist.
        also: further keys that the configuration takes.
        prefix: put before the names of keys, such as "temperatures.".
    """
    return " ".join(_explain_one(each, schema, also, prefix) for each in error.errors())


def _keys(schema: Any, parents: Sequence[str]) -> list[str]:
    """Return the keys of the section that the parents lead to."""
    for part in parents:
        schema = schema.model_fields[part].annotation
    return list(schema.model_fields)


def _explain_one(detail: Any, schema: type[BaseModel], also: Sequence[str], prefix: str) -> str:
    location = [str(part) for part in detail["loc"]]
    key = prefix + ".".join(location)
    text: str = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        names = sorted([*_keys(schema, location[:-1]), *also])
        close = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.5)
        fix = f"write `{close[0]}`" if close else "delete it"
        return message(f"key `{key}`", f"one of {', '.join(names)}", repr(location[-1]), fix)
    if detail["type"] == "missing":
        return message(f"key `{key}`", "a value", "nothing", f"add the line `{location[-1]}: ...`")
    if not location or text.startswith("key `"):
        return text
    if "To fix it" in text:
        return f"key `{key}`: {text}"
    return message(f"key `{key}`", text[:1].lower() + text[1:], repr(detail["input"]), f"correct `{key}`")
