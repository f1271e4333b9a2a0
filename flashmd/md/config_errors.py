"""Say what is wrong with a configuration: which key, what was expected, what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from flashmd.errors import message


def explain(error: ValidationError, known: Sequence[str], *, prefix: str = "") -> str:
    """Return one message for all mistakes that pydantic found.

    Args:
        error: what pydantic raised.
        known: names of the keys that exist.
        prefix: put before the names of keys, such as "temperatures.".
    """
    return " ".join(_explain_one(each, known, prefix) for each in error.errors())


def _explain_one(detail: Any, known: Sequence[str], prefix: str) -> str:
    location = [str(part) for part in detail["loc"]]
    key = prefix + ".".join(location)
    text: str = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        fix = f"write `{close[0]}`" if close else "delete it"
        return message(f"key `{key}`", f"one of {', '.join(sorted(known))}", repr(location[-1]), fix)
    if detail["type"] == "missing":
        return message(f"key `{key}`", "a value", "nothing", f"add the line `{location[-1]}: ...`")
    if not location or text.startswith("key `"):
        return text
    if "To fix it" in text:
        return f"key `{key}`: {text}"
    return message(f"key `{key}`", text[:1].lower() + text[1:], repr(detail["input"]), f"correct `{key}`")
