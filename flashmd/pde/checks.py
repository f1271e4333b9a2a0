"""Checks of arguments that many functions share."""

from __future__ import annotations

from collections.abc import Collection
from operator import index
from typing import SupportsIndex

from torch import Tensor

from flashmd.errors import message


def check_whole(what: str, value: object, *, at_least: int | None = None) -> None:
    """Raise TypeError unless `value` is a whole number, and ValueError unless it is large enough."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(message(f"`{what}`", "a whole number", repr(value), "leave out the fraction"))
    if at_least is not None and index(value) < at_least:
        fix = "raise it" if at_least < 2 else "one has no standard error: raise it"
        raise ValueError(message(f"`{what}`", f"at least {at_least}", str(value), fix))


def check_instance(what: str, value: object, kind: type) -> None:
    """Raise TypeError unless `value` is a `kind`."""
    if not isinstance(value, kind):
        fix = f"make one with `flashmd.pde.{kind.__name__}`"
        raise TypeError(message(what, f"a {kind.__name__}", type(value).__name__, fix))


def check_choice(what: str, name: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `name` is one of `choices`."""
    if name not in choices:
        raise ValueError(message(f"`{what}`", f"one of {', '.join(choices)}", repr(name), "choose one of these"))


def check_names(what: str, names: object, choices: tuple[str, ...]) -> None:
    """Raise TypeError unless `names` is a collection, and ValueError unless all are choices."""
    if isinstance(names, str) or not isinstance(names, Collection):
        raise TypeError(message(f"`{what}`", "a tuple of names", repr(names), f"pass ({names!r},)"))
    for name in names:
        check_choice(what, name, choices)


def check_function(what: str, value: object, fix: str) -> None:
    """Raise TypeError unless `value` can be called."""
    if not callable(value):
        raise TypeError(message(what, "a function", type(value).__name__, fix))


def check_tensor(what: str, value: object, fix: str) -> None:
    """Raise TypeError unless `value` is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(message(what, "a tensor", type(value).__name__, fix))
