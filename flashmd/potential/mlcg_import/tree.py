"""Look at a described module tree: classes by name, parameters, buffers and plain attributes, each with its path."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from flashmd.errors import CheckpointError, message
from flashmd.potential.mlcg_import.tensors import SparseTable
from flashmd.potential.mlcg_import.unpickle import Node

MODEL_PACKAGES = frozenset({"mlcg", "mlcg_tk", "flashmd"})
"""Packages whose classes are translated, under whatever submodule a version kept them."""
_FIX = "use a model made of the supported classes, or have the new one added to the importer"


def refuse(path: str, expected: str, got: str, fix: str = _FIX) -> NoReturn:
    """Raise the error that names a place in the file and what stands there."""
    raise CheckpointError(message(f"`{path}`", expected, got, fix))


@dataclass(frozen=True)
class Module:
    """One module of the tree.

    Attributes:
        path: dotted path of the module in the file.
        node: its description.
    """

    path: str
    node: Node

    @classmethod
    def of(cls, path: str, value: object) -> Module:
        """Return a described module, or refuse what is not one."""
        if not (isinstance(value, Node) and isinstance(value.state, dict) and "_modules" in value.state):
            refuse(path, "a module", reprlib.repr(value))
        return cls(path, value)

    @property
    def class_path(self) -> str:
        """Dotted path of the class as the file gives it."""
        return self.node.origin.path

    @property
    def model_class(self) -> str | None:
        """Name of the class if it belongs to a model package, without the submodule, which moved between versions."""
        origin = self.node.origin
        return origin.name if origin.module.split(".")[0] in MODEL_PACKAGES else None

    def is_torch(self, name: str) -> bool:
        """Whether this is torch's module of that name."""
        return self.node.origin.name == name and self.node.origin.module.startswith("torch.nn.")

    def expect(self, *names: str) -> None:
        """Refuse a module whose class is none of `names` (of a model package or of torch.nn)."""
        if self.model_class not in names and not any(self.is_torch(name) for name in names):
            refuse(self.path, f"a {' or '.join(names)}", f"an unknown module `{self.class_path}`")

    def children(self) -> dict[str, Module]:
        """Return the submodules that are not None, in order."""
        modules = self.table("_modules")
        return {name: Module.of(f"{self.path}.{name}", value) for name, value in modules.items() if value is not None}

    def child(self, name: str) -> Module:
        """Return one submodule."""
        if name not in self.table("_modules"):
            refuse(self.path, f"a submodule `{name}`", f"`{self.class_path}` without one")
        return self.children()[name]

    def attribute(self, name: str) -> Any:
        """Return a plain attribute, None if there is none."""
        return self.node.state.get(name)

    def number(self, name: str) -> float:
        """Return a finite number kept as an attribute."""
        value = self.attribute(name)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
            refuse(f"{self.path}.{name}", "a finite number", reprlib.repr(value))
        return float(value)

    def entry(self, name: str) -> Tensor | SparseTable | None:
        """Return a parameter or buffer, None if it is absent or None."""
        for kind in ("_parameters", "_buffers"):
            value = self.table(kind).get(name)
            if isinstance(value, (Tensor, SparseTable)):
                return value
            if value is not None:
                refuse(f"{self.path}.{name}", "a tensor", reprlib.repr(value))
        return None

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """Return a dense parameter or buffer in float64 after verifying its shape and that it is finite."""
        value = self.entry(name)
        if not isinstance(value, Tensor):
            refuse(f"{self.path}.{name}", "a dense tensor", "none" if value is None else "a sparse one")
        return checked(value, f"{self.path}.{name}", shape)

    def table(self, name: str) -> dict[str, Any]:
        """Return one of the tables `_parameters`, `_buffers` and `_modules`."""
        entries = self.node.state.get(name)
        if not isinstance(entries, dict) or not all(isinstance(key, str) for key in entries):
            refuse(f"{self.path}.{name}", "a table of names", reprlib.repr(entries))
        return entries


def checked(value: Tensor, path: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return a floating-point tensor in float64 after verifying its shape and that it is finite."""
    if not value.is_floating_point():
        refuse(path, "floating-point numbers", f"{value.dtype}")
    if shape is not None and tuple(value.shape) != shape:
        refuse(path, f"shape {shape}", f"{tuple(value.shape)}")
    result = value.detach().to(torch.float64)
    if not bool(torch.isfinite(result).all()):
        fix = "fit the model again; failed fits leave NaN behind"
        refuse(path, "finite parameters", f"{int((~torch.isfinite(result)).sum())} that are not finite", fix)
    return result
