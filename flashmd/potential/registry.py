"""Names of the classes a checkpoint may hold: nothing else is ever built from a file."""

from __future__ import annotations

from typing import TypeVar

from flashmd.errors import CheckpointError, message
from flashmd.potential.base import Potential

_CLASSES: dict[str, type[Potential]] = {}
_Class = TypeVar("_Class", bound=type[Potential])


def register(potential_class: _Class) -> _Class:
    """Make a class loadable under its own name; use as a decorator.

    Raises:
        ValueError: another class of this name is registered.
    """
    name = potential_class.__name__
    if _CLASSES.setdefault(name, potential_class) is not potential_class:
        raise ValueError(message(f"class name {name!r}", "a name not yet registered", "a second class", "rename it"))
    return potential_class


def registered(name: str) -> type[Potential]:
    """Return the class registered as `name`.

    Raises:
        CheckpointError: there is none.
    """
    if name not in _CLASSES:
        expected = f"one of {', '.join(sorted(_CLASSES))}"
        fix = "import the module that registers it, or update flashmd"
        raise CheckpointError(message("the potential class", expected, repr(name), fix))
    return _CLASSES[name]
