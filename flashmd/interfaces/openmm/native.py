"""The native force of OpenMM: a plugin in C++ that evaluates a compiled potential without Python.

A force refers to a file of its own, which holds the compiled potential for the particles it acts on. It is kept in a
cache under the hash of its content, so that equal forces share one.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from flashmd.errors import ExtensionNotBuiltError, OutputError, message
from flashmd.files import write_atomically, writing
from flashmd.interfaces.model import LoadedModel
from flashmd.interfaces.openmm.engine import openmm_module
from flashmd.potential.compiled import CompiledPotential
from flashmd.potential.compiled.export import export_compiled
from flashmd.system import System

if TYPE_CHECKING:
    import openmm

PLUGIN = Path(__file__).resolve().parents[2] / "libOpenMMFlashMD.so"


def native_force(
    model: LoadedModel,
    system: System,
    *,
    particles: Sequence[int] | None = None,
    periodic: bool = False,
    force_group: int = 0,
    threads: int = 1,
    compiled_file: str | Path | None = None,
) -> openmm.Force:
    """Return a force for OpenMM whose step runs in C++.

    Energies and forces on OpenMM's Reference platform are those of `model`, bit for bit. The force is copied and
    written to XML as the path and the hash of the compiled file; a Context refuses a file of another content.

    Args:
        model: opened with ``backend="compiled"`` on the CPU.
        system: the particles as the model sees them, see :func:`flashmd.interfaces.molecule.system_of`.
        particles: which particles of the OpenMM system they are; all in order where left out.
        periodic: use the box of the OpenMM system.
        force_group: 0 to 31.
        threads: that evaluate the model; results do not depend on it.
        compiled_file: file to write; by default one in the cache folder.

    Raises:
        ExtensionNotBuiltError: the plugin was not built.
        MissingDependencyError: OpenMM 8.6.1 is not installed.
        OutputError: the compiled file cannot be written.
        ValueError: the engine cannot evaluate a term of the model.

    Example:
        >>> import mdtraj, torch
        >>> from flashmd.interfaces.model import open_model
        >>> from flashmd.interfaces.molecule import system_of
        >>> model = open_model("chignolin-ca")
        >>> topology = mdtraj.load("data/structures/chignolin_native_ca.pdb").topology
        >>> native_force(model, system_of(topology, model.potential, dtype=torch.float32)).getName()
        'FlashMDForce'
    """
    load_plugin()
    from openmm import XmlSerializer

    path, sha256 = write_compiled(model, system, compiled_file)
    attributes = {
        "type": "FlashMDForce",
        "version": "1",
        "forceGroup": str(force_group),
        "modelPath": str(path),
        "sha256": sha256,
        "usesPeriodic": str(int(periodic)),
        "numThreads": str(threads),
    }
    chosen = "".join(f'<Particle index="{index}"/>' for index in (() if particles is None else particles))
    begin = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
    return XmlSerializer.deserialize(f"<Force {begin}><Particles>{chosen}</Particles></Force>")


def write_compiled(model: LoadedModel, system: System, path: str | Path | None = None) -> tuple[Path, str]:
    """Write the compiled file of a model for a system, as `native_force` and C++ programs read it.

    Args:
        model: opened with ``backend="compiled"`` on the CPU.
        system: the particles as the model sees them.
        path: file to write; by default one in the cache folder, which is written once.

    Returns:
        The absolute path and the SHA-256 of the file.

    Raises:
        OutputError: the file cannot be written.
        ValueError: the engine cannot evaluate a term of the model.
    """
    evaluator = model.new_evaluator()
    if not isinstance(evaluator, CompiledPotential):
        fix = "open the model with `backend='compiled'`"
        raise ValueError(message("`model`", "a compiled model", f"backend {model.options.backend!r}", fix))
    data = export_compiled(evaluator, system, name=model.name)
    sha256 = hashlib.sha256(data).hexdigest()
    file = Path(path).resolve() if path is not None else cache_folder() / f"{sha256}.flashmd"
    if _holds(file, data):
        return file, sha256
    advice = "make the force again, or pass another `compiled_file`"
    with writing(file, advice=advice):
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(file, data, advice=advice)
    except OutputError:
        # Another process may have written the same file meanwhile.
        if not _holds(file, data):
            raise
    return file, sha256


def cache_folder() -> Path:
    """Return where compiled files are kept: ``$XDG_CACHE_HOME/flashmd`` or ``~/.cache/flashmd``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").resolve() / "flashmd"


@functools.cache
def load_plugin() -> None:
    """Make OpenMM know the force; must come before a system with such a force is read from XML.

    Raises:
        ExtensionNotBuiltError: the plugin was not built.
        MissingDependencyError: OpenMM 8.6.1 is not installed.
    """
    openmm = openmm_module()
    if not PLUGIN.is_file():
        fix = "build flashmd in an environment in which OpenMM is installed (`make setup`)"
        raise ExtensionNotBuiltError(message(f"`{PLUGIN.name}`", "the plugin for OpenMM", "no such file", fix))
    openmm.Platform.loadPluginLibrary(str(PLUGIN))


def _holds(file: Path, data: bytes) -> bool:
    return file.is_file() and file.stat().st_size == len(data) and file.read_bytes() == data
