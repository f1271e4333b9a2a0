"""From a file to potentials and systems: find the energies in the described objects and translate each of them."""

from __future__ import annotations

import hashlib
import reprlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flashmd.errors import CheckpointError, message
from flashmd.potential.base import Potential
from flashmd.potential.mlcg_import.archive import Archive
from flashmd.potential.mlcg_import.configurations import is_configuration, translate_configurations
from flashmd.potential.mlcg_import.priors import PRIOR_CLASSES, translate_prior
from flashmd.potential.mlcg_import.restart import RestartState, is_restart, translate_restart
from flashmd.potential.mlcg_import.schnet import SCHNET_CLASSES, translate_schnet
from flashmd.potential.mlcg_import.specialized import SPECIALIZED_CLASSES, translate_specialized
from flashmd.potential.mlcg_import.tensors import SparseTable
from flashmd.potential.mlcg_import.tree import Module, refuse
from flashmd.potential.mlcg_import.unpickle import Node, unpickle
from flashmd.potential.schnet_potential import SchNetPotential
from flashmd.potential.sum_potential import SumPotential
from flashmd.system import System

_MAX_DEPTH = 12
_WRAPPERS = frozenset({"GradientsOut", "EnergyOut"})


@dataclass(frozen=True)
class ImportedFile:
    """What a foreign file holds.

    Attributes:
        model: the potential in nm and kJ/mol, float64, or None.
        systems: the configurations in nm and Da, float64; empty where there are none.
        restart: the state of a simulation, or None; such a file holds nothing else.
    """

    model: Potential | None
    systems: list[System] = field(default_factory=list)
    restart: RestartState | None = None


def load_any(path: str | Path) -> ImportedFile:
    """Read a file of the CGSchNet family without running anything in it.

    Args:
        path: whole model, set of priors, Lightning checkpoint, list of configurations, model with configurations, or
            restart file of a simulation.

    Returns:
        The potential and the systems, in float64; lengths and energies are converted without loss.

    Raises:
        CheckpointError: the file is damaged, was made to mislead, or holds something that has no counterpart here.

    Example:
        >>> from flashmd.potential.mlcg_import import load_any
        >>> imported = load_any("model_with_configurations.pt")  # doctest: +SKIP
        >>> imported.model.evaluate(imported.systems[0]).energy  # doctest: +SKIP
    """
    file = Path(path)
    content = unpickle(Archive(file))
    if is_restart(content):
        return ImportedFile(None, restart=translate_restart(content, file.name))
    try:
        modules, configurations = _sort(content, file.name)
        systems = translate_configurations(configurations)
        if not modules:
            return ImportedFile(None, systems)
        model, systems = _translate_model(modules[0], systems)
    except RecursionError as error:
        raise CheckpointError(message(f"`{file.name}`", "a finite tree of modules", "endless nesting", _FIX)) from error
    model.metadata = {
        "source": file.name,
        "source_format": "mlcg",
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    return ImportedFile(model, systems)


def load_model(path: str | Path) -> Potential:
    """Return the potential of a foreign file, in float64; see :func:`load_any`."""
    model = load_any(path).model
    if model is None:
        fix = "pass the model file; configurations are read with `load_configurations`"
        raise CheckpointError(message(f"`{Path(path).name}`", "a model", "none", fix))
    return model


def load_configurations(path: str | Path) -> list[System]:
    """Return the configurations of a foreign file, in float64; see :func:`load_any`."""
    systems = load_any(path).systems
    if not systems:
        fix = "pass a file of configurations; models are read with `load_model`"
        raise CheckpointError(message(f"`{Path(path).name}`", "configurations", "none", fix))
    return systems


_FIX = "pass a model, a set of priors, a Lightning checkpoint or configurations"


def _sort(content: Any, name: str) -> tuple[list[Module], list[Node]]:
    """Return the one model, if any, and the configurations among the objects of a file."""
    modules, configurations = [], []
    for value in _flatten(content):
        if is_configuration(value):
            configurations.append(value)
        elif isinstance(value, dict) and "state_dict" in value:
            modules.append(_lightning_module(value))
        elif isinstance(value, Node):
            modules.append(Module.of("model", value))
        else:
            keys = reprlib.repr(sorted(map(str, value))) if isinstance(value, dict) else ""
            got = f"a table of {keys}" if keys else reprlib.repr(value)
            refuse(name, "a model or configurations", got, _FIX)
    if len(modules) > 1 or not (modules or configurations):
        refuse(name, "one model, configurations, or both", f"{len(modules)} models", _FIX)
    return modules, configurations


def _flatten(content: Any) -> list[Any]:
    """Return the objects of a file; lists and tuples may be nested twice, as in (model, [configurations])."""
    outer = list(content) if isinstance(content, (list, tuple)) else [content]
    return [value for part in outer for value in (part if isinstance(part, (list, tuple)) else [part])]


def _lightning_module(checkpoint: dict[Any, Any]) -> Module:
    """Return the module of a training checkpoint with the tensors of its state dictionary."""
    parameters, state = checkpoint.get("hyper_parameters"), checkpoint["state_dict"]
    if not isinstance(parameters, dict) or "model" not in parameters:
        fix = "export the whole model from the training software; cutoffs are not part of a state dictionary"
        refuse("hyper_parameters", "the described `model`", "none", fix)
    module = Module.of("hyper_parameters.model", parameters["model"])
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        refuse("state_dict", "a table of tensors", reprlib.repr(state))
    own = {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
    _replace_tensors(module, own, "", 0)
    if own:
        refuse("state_dict", "the entries of the described model", f"an entry `{min(own)}` more")
    return module


def _replace_tensors(module: Module, state: dict[str, Any], prefix: str, depth: int) -> None:
    """Put the trained tensors into the description, taking them out of `state`."""
    if depth > _MAX_DEPTH:
        refuse(module.path, f"at most {_MAX_DEPTH} levels of modules", "more")
    for kind in ("_parameters", "_buffers"):
        entries = module.table(kind)
        for name in entries:
            old = module.entry(name)
            if old is None:
                continue
            key = f"{prefix}{name}"
            if key not in state:
                refuse("state_dict", f"an entry `{key}`", "none")
            new = state.pop(key)
            if not isinstance(new, (Tensor, SparseTable)) or tuple(new.shape) != tuple(old.shape):
                refuse(f"state_dict.{key}", f"shape {tuple(old.shape)}", reprlib.repr(getattr(new, "shape", new)))
            entries[name] = new
    for name, child in module.children().items():
        _replace_tensors(child, state, f"{prefix}{name}.", depth + 1)


def _translate_model(module: Module, systems: list[System]) -> tuple[Potential, list[System]]:
    potentials: dict[str, Potential] = {}
    for name, term in _terms(module, None, 0).items():
        kind = term.model_class
        if kind in SCHNET_CLASSES:
            potentials[name] = SchNetPotential(translate_schnet(term), name=name)
        elif kind in PRIOR_CLASSES:
            potentials[name] = translate_prior(name, term)
        elif kind in SPECIALIZED_CLASSES:
            parts, systems = translate_specialized(name, term, systems)
            potentials |= parts
        else:
            refuse(term.path, "a known energy", f"an unknown module `{term.class_path}`")
    if not potentials:
        refuse(module.path, "at least one energy", "an empty module")
    model = next(iter(potentials.values())) if len(potentials) == 1 else SumPotential(potentials)
    return model.to(torch.float64), systems


def _terms(module: Module, name: str | None, depth: int) -> dict[str, Module]:
    """Return the energies of a tree by name, looking through sums, dictionaries and wrappers."""
    if depth > _MAX_DEPTH:
        refuse(module.path, f"at most {_MAX_DEPTH} levels of modules", "more")
    if module.model_class == "SumOut":
        return _terms(module.child("models"), None, depth + 1)
    if module.model_class in _WRAPPERS:
        own = module.attribute("name")
        return _terms(module.child("model"), name or (own if isinstance(own, str) else None), depth + 1)
    if not module.is_torch("ModuleDict"):
        return {name or str(module.attribute("name") or "SchNet"): module}
    terms: dict[str, Module] = {}
    for key, child in module.children().items():
        for term_name, term in _terms(child, key, depth + 1).items():
            if term_name in terms:
                refuse(term.path, "a name of its own", f"a second `{term_name}`")
            terms[term_name] = term
    return terms
