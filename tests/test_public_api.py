"""The names that packages export are the names that docs/api/public.md lists."""

from __future__ import annotations

import importlib
import pkgutil
import re
import types
from pathlib import Path

import pytest

import flashmd

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api" / "public.md"


def documented() -> dict[str, set[str]]:
    """Package name to the names listed under its heading."""
    lists: dict[str, set[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## (flashmd\S*)", line):
            lists[heading[1]] = set()
        elif item := re.match(r"   (flashmd[\w.]*)\.(\w+)$", line):
            lists[item[1]].add(item[2])
        elif item := re.match(r"- `(\w+)`", line):
            lists[list(lists)[-1]].add(item[1])
    return lists


def exported(name: str) -> set[str]:
    """`__all__` of a package or, without one, its public names that are not modules."""
    package = importlib.import_module(name)
    if hasattr(package, "__all__"):
        return set(package.__all__)
    public = {key: value for key, value in vars(package).items() if not key.startswith("_") and key != "annotations"}
    return {key for key, value in public.items() if not isinstance(value, types.ModuleType)}


def packages() -> list[str]:
    found = pkgutil.walk_packages(flashmd.__path__, "flashmd.")
    return ["flashmd", *(module.name for module in found if module.ispkg)]


@pytest.mark.parametrize("name", packages())
def test_exports_are_documented(name: str) -> None:
    assert exported(name) == documented().get(name, set())


def test_documented_packages_exist() -> None:
    assert set(documented()) <= set(packages())


@pytest.mark.parametrize("name", packages())
def test_exports_exist_and_have_docstrings(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__doc__
    for each in exported(name):
        value = getattr(package, each)
        if isinstance(value, type | types.FunctionType):
            assert value.__doc__, f"{name}.{each} has no docstring"
