"""OpenMM itself, in a version that calls Python in the thread of the caller."""

from __future__ import annotations

import re
from types import ModuleType

from flashmd.errors import MissingDependencyError, message, require

OLDEST = (8, 6, 1)
"""Before it, GPU platforms called Python from a thread of their own, which broke PyTorch on CUDA."""


def openmm_module() -> ModuleType:
    """Import OpenMM.

    Raises:
        MissingDependencyError: there is none, or it is too old.

    Example:
        >>> openmm_module().__name__
        'openmm'
    """
    try:
        import openmm
        import openmm.app
    except ImportError as error:
        raise require("openmm", "openmm") from error
    found = str(openmm.version.version)
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:3])
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        fix = "install it with `pip install --upgrade 'flashmd-cg[openmm]'`"
        raise MissingDependencyError(message("package `openmm`", f"version {oldest} or newer", found, fix))
    module: ModuleType = openmm
    return module
