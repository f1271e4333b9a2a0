"""Loading of the compiled operators.

The library is loaded once, at import, if it is there. A missing library is no error until an operator is called with
``backend="kernel"``: the package imports and the reference backend works without a compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from flashmd.errors import ExtensionNotBuiltError, message


def _load() -> str:
    """Load the library and return what went wrong, or nothing."""
    folder = Path(__file__).resolve().parent.parent
    found = sorted(folder.glob("_kernels*.so"))
    if not found:
        return f"no file `_kernels*.so` in {folder}"
    try:
        torch.ops.load_library(str(found[0]))
    except OSError as error:
        return f"{found[0].name}, which cannot be loaded ({error})"
    return ""


_PROBLEM = _load()
AVAILABLE = not _PROBLEM
"""True where the compiled operators are loaded."""


def require_kernels() -> None:
    """Raise where the compiled operators are missing."""
    if _PROBLEM:
        fix = 'build it with `python setup.py build_ext --inplace`, or pass `backend="reference"`'
        raise ExtensionNotBuiltError(message("the compiled operators", "a built extension", _PROBLEM, fix))


def use_kernels(backend: str) -> bool:
    """Return True for the kernel backend and False for the reference.

    Raises:
        ValueError: the name is neither.
        ExtensionNotBuiltError: kernels are wanted and missing.
    """
    if backend == "kernel":
        if _PROBLEM:
            require_kernels()
        return True
    if backend == "reference":
        return False
    raise ValueError(message("`backend`", "'kernel' or 'reference'", repr(backend), "choose one of them"))


def register_operator(
    name: str,
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
) -> None:
    """Register what a compiled operator needs beside its kernels: shapes for tracing, and its derivative.

    Args:
        name: operator in the namespace `flashmd`.
        fake: function of the operator's arguments that returns empty results.
        backward: derivative, itself made of differentiable operators; None for integer results.
        setup_context: saves what `backward` needs.
    """
    torch.library.register_fake(f"flashmd::{name}")(fake)
    if backward is not None:
        torch.library.register_autograd(f"flashmd::{name}", backward, setup_context=setup_context)
