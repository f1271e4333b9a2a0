"""The model behind an interface: where it comes from, how it is evaluated, and that it is still the same file.

Engines serialise and copy their forces. A model that was read from a file travels as the path and the hash of the
file, never as weights; one that was given in memory travels by value.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from flashmd.devices import open_device
from flashmd.errors import CheckpointError, message
from flashmd.potential import Potential, SchNetPotential, load
from flashmd.potential.checkpoint import model_hash, resolve
from flashmd.potential.compiled import CompiledPotential
from flashmd.potential.priors.base import Prior
from flashmd.protocols import EnergyModel, Evaluation
from flashmd.system import System

_IN_USE: WeakValueDictionary[tuple[str, str, ModelOptions], LoadedModel] = WeakValueDictionary()
"""Models of files by path, hash and options: a copy of a force shares the model of the original."""
BACKENDS = ("compiled", "kernel", "reference")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class ModelOptions:
    """How a model is evaluated.

    Attributes:
        dtype: of positions and forces.
        device: as in torch.
        backend: "compiled" for :meth:`flashmd.potential.Potential.compile`, "kernel" for the exact network with
            compiled operators, "reference" for the exact network in plain PyTorch.
    """

    dtype: torch.dtype
    device: torch.device
    backend: str


class LoadedModel:
    """A potential, ready to be evaluated; made by `open_model`.

    Attributes:
        potential: parameters, types by name and metadata.
        name: of the file, or of the class of a potential without one.
        path: absolute path of the file, or None.
        sha256: of the file, or None.
        options: how it is evaluated.
    """

    def __init__(self, potential: Potential, options: ModelOptions, path: Path | None) -> None:
        self.potential = potential
        self.options = options
        self.path = path
        self.name = potential.name if path is None else path.name
        self.sha256: str | None = None if path is None else potential.metadata["sha256"]
        self._pristine = _evaluator_of(potential, options)
        self._evaluator = copy.deepcopy(self._pristine)
        self._lock = threading.Lock()

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Evaluate a batch; threads take turns. See :meth:`flashmd.potential.Potential.evaluate`."""
        with self._lock:
            return self._evaluator.evaluate(system, virial=virial)

    def atom_energies(self, system: System) -> Tensor:
        """Return the shares [n_atoms] of the atoms in the energy, kJ/mol, float64; threads take turns.

        Raises:
            TypeError: a term of the model does not say how its energy is shared.
        """
        with self._lock, torch.no_grad():
            return self._evaluator.atom_energies(system).to(torch.float64)

    def new_evaluator(self) -> EnergyModel:
        """Return an evaluator of the same numbers with neighbour lists of its own, for one thread."""
        return copy.deepcopy(self._pristine)

    def __deepcopy__(self, memo: dict[int, object]) -> LoadedModel:
        """Return a model with neighbour lists of its own; what never changes is shared."""
        twin: LoadedModel = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._evaluator, twin._lock = copy.deepcopy(self._pristine), threading.Lock()
        memo[id(self)] = twin
        return twin

    def __reduce__(self) -> tuple[Callable[..., LoadedModel], tuple[object, ...]]:
        """Travel by path and hash where there is a file."""
        if self.path is None:
            return LoadedModel, (self.potential, self.options, None)
        return _reopen, (str(self.path), self.sha256, self.options)


def open_model(
    model: str | Path | Potential,
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    backend: str = "compiled",
) -> LoadedModel:
    """Load a model for the use in another package.

    Args:
        model: model file, name of a shipped model such as ``"chignolin-ca"``, or a potential, of which a copy is made.
        dtype: "float32" or "float64".
        device: as in torch.
        backend: "compiled", "kernel" or "reference", see :class:`ModelOptions`.

    Raises:
        CheckpointError: the file cannot be read.
        TypeError: `model` is neither a path nor a potential.
        ValueError: an option is unknown or the device is not there.

    Example:
        >>> from flashmd.interfaces.model import open_model
        >>> open_model("chignolin-ca", dtype="float64").name
        'chignolin_ca.safetensors'
    """
    if backend not in BACKENDS:
        raise ValueError(message("`backend`", f"one of {', '.join(BACKENDS)}", repr(backend), "choose one of these"))
    options = ModelOptions(_dtype_of(dtype), open_device(device), backend)
    if isinstance(model, Potential):
        own = copy.deepcopy(model).to(device=options.device, dtype=options.dtype).eval()
        return LoadedModel(own, options, None)
    path = _path_of(model)
    opened = LoadedModel(load(path, dtype=options.dtype, device=options.device), options, path)
    _IN_USE.setdefault((str(path), str(opened.sha256), options), opened)
    return opened


def _path_of(model: object) -> Path:
    if not isinstance(model, str | Path):
        fix = "pass a path, the name of a shipped model, or what `flashmd.potential.load` returns"
        raise TypeError(message("`model`", "a model file or a potential", type(model).__name__, fix))
    return resolve(model).resolve()


def _reopen(path: str, sha256: str, options: ModelOptions) -> LoadedModel:
    """Open a file again and refuse another content."""
    found = model_hash(path)
    if found != sha256:
        fix = "restore the file, or set the force or calculator up again with the new one"
        raise CheckpointError(message(f"model file `{path}`", f"sha256 {sha256}", found, fix))
    in_use = _IN_USE.get((path, sha256, options))
    if in_use is not None:
        return in_use
    return open_model(path, dtype=options.dtype, device=options.device, backend=options.backend)


def _evaluator_of(potential: Potential, options: ModelOptions) -> Potential | CompiledPotential:
    if options.backend == "compiled":
        return potential.compile()
    exact = copy.deepcopy(potential)
    for part in exact.modules():
        if isinstance(part, SchNetPotential):
            part.backend = part.verlet_list.backend = options.backend
            # Pairs in a skin would shift sums of many pairs and so their rounding; compiled models leave them out.
            part.verlet_list.skin = 0.0
        elif isinstance(part, Prior):
            part.backend = options.backend
    return exact.requires_grad_(False)


def _dtype_of(dtype: str | torch.dtype) -> torch.dtype:
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in DTYPES.values():
        raise ValueError(message("`dtype`", "'float32' or 'float64'", repr(dtype), "choose one of the two"))
    return chosen
