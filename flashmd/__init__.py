"""flashmd: molecular simulation with learned coarse-grained potentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashmd.system import System

__all__ = ["System"]
__version__ = "0.1.0"


def __getattr__(name: str) -> type[System]:
    """Import `System` when it is asked for; who only looks for plugins shall not wait for PyTorch."""
    if name == "System":
        from flashmd.system import System

        return System
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
