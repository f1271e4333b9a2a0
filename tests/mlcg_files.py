"""Write files of the CGSchNet family for the tests: honest ones and hostile ones, without any of its software."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

KINDS = {torch.float32: "FloatStorage", torch.float64: "DoubleStorage", torch.int64: "LongStorage"}


@dataclass(frozen=True)
class Name:
    """A reference to something by module and name."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A call of something by name."""

    function: Name
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Persistent:
    """A reference to a storage, as torch writes it."""

    identifier: Any


class Described:
    """An object of a class by name, with a state."""

    def __init__(self, path: str, state: Any) -> None:
        self.name = Name(*path.rsplit(".", 1))
        self.state = state


class Sparse:
    """A sparse coordinate tensor given by its entries."""

    def __init__(self, indices: Tensor, values: Tensor, shape: tuple[int, ...]) -> None:
        self.indices, self.values, self.shape = indices, values, shape


class _Writer(pickle._Pickler):  # the Python implementation, whose `save` can be overridden
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=2)
        self.storages: dict[str, bytes] = {}

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Name):
            self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(b"R")
        elif isinstance(obj, Persistent):
            self.save(obj.identifier)
            self.write(b"Q")
        elif isinstance(obj, Described):
            self.save(obj.name)
            self.write(b")\x81")
            self.save(obj.state)
            self.write(b"b")
        elif isinstance(obj, Tensor):
            self.save(self._tensor(obj))
        elif isinstance(obj, Sparse):
            layout = Call(Name("torch.serialization", "_get_layout"), ("torch.sparse_coo",))
            size = Call(Name("torch", "Size"), (obj.shape,))
            parts = (obj.indices, obj.values, size)
            self.save(Call(Name("torch._utils", "_rebuild_sparse_tensor"), (layout, parts)))
        else:
            super().save(obj, save_persistent_id)

    def _tensor(self, value: Tensor) -> Call:
        flat = value.detach().contiguous()
        key = str(len(self.storages))
        self.storages[key] = flat.numpy().tobytes()
        return tensor(KINDS[flat.dtype], key, flat.numel(), tuple(flat.shape), flat.stride())


def tensor(
    kind: str, key: str, n_elements: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0
) -> Call:
    """Return a tensor's description with any claim about its storage."""
    storage = Persistent(("storage", Name("torch", kind), key, "cpu", n_elements))
    hooks = Call(Name("collections", "OrderedDict"), ())
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), (storage, offset, size, stride, False, hooks))


def dump(content: Any) -> tuple[bytes, dict[str, bytes]]:
    """Return the pickle of an object and its storages."""
    stream = io.BytesIO()
    writer = _Writer(stream)
    writer.dump(content)
    return stream.getvalue(), writer.storages


def write_archive(path: Path, members: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write members to a zip archive as they are named."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write(path: Path, content: Any, storages: dict[str, bytes] | None = None, byteorder: bytes = b"little") -> Path:
    """Write an object as `torch.save` does; `storages` are added to those of its tensors."""
    description, own = dump(content)
    members = {"archive/data.pkl": description, "archive/byteorder": byteorder, "archive/version": b"3\n"}
    members |= {f"archive/data/{key}": data for key, data in (own | (storages or {})).items()}
    return write_archive(path, members)


def module(
    path: str,
    *,
    parameters: dict[str, Any] | None = None,
    buffers: dict[str, Any] | None = None,
    modules: dict[str, Any] | None = None,
    **attributes: Any,
) -> Described:
    """Return a module's description."""
    state = {"training": False, "_parameters": parameters or {}, "_buffers": buffers or {}, "_modules": modules or {}}
    return Described(path, state | attributes)


def configuration(
    positions: Tensor, types: Tensor, lists: dict[str, Tensor], masses: Tensor | None = None
) -> Described:
    """Return a configuration's description; lists are [n_terms, order]."""
    neighbors = {
        name: {"tag": name, "order": index.shape[1], "index_mapping": index.T.contiguous(), "rcut": None}
        for name, index in lists.items()
    }
    mapping = {"pos": positions, "atom_types": types, "n_atoms": torch.tensor([len(types)]), "neighbor_list": neighbors}
    if masses is not None:
        mapping["masses"] = masses
    store = Described("torch_geometric.data.storage.GlobalStorage", {"_mapping": mapping})
    return Described("mlcg.data.atomic_data.AtomicData", {"_store": store})
