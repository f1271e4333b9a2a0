"""A stack machine that reads a pickle as data: nothing named in the file is ever imported or called.

The instructions are decoded by the standard library's disassembler and carried out here. A reference to a class or
function becomes a `Global`, which is only a name; building an object from it becomes a `Node`, which only records
arguments and state. Seven constructors that a torch file cannot do without (tensors, sparse tensors, sizes, ordered
dictionaries, sets, byte strings, numpy scalars) are answered by functions of this package. A name outside the families
that appear in model files is refused outright, although it could do nothing: it shows that the file was tampered with.
"""

from __future__ import annotations

import pickletools
import re
import reprlib
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from flashmd.potential.mlcg_import.archive import MAX_PICKLE_BYTES, Archive
from flashmd.potential.mlcg_import.tensors import SparseTable, StorageReader

INERT_PACKAGES = frozenset(
    "torch torch_geometric mlcg mlcg_tk flashmd numpy lightning pytorch_lightning lightning_fabric jsonargparse".split()
)
"""Packages whose names occur in model files."""
_BUILTINS = "set frozenset type long int float str bool dict list tuple".split()
INERT_NAMES = frozenset(
    "collections.OrderedDict collections.defaultdict typing.OrderedDict typing.Union typing.Any typing.Optional "
    "inspect._empty _operator.getitem _codecs.encode argparse.Namespace pathlib.Path pathlib.PosixPath".split()
) | {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _BUILTINS}
"""Single names of the standard library that occur in model files."""
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NUMPY_SCALARS = {"f2": "<e", "f4": "<f", "f8": "<d", "b1": "<?"} | {
    f"{sign}{width}": f"<{code if sign == 'i' else code.upper()}"
    for sign in "iu"
    for width, code in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))
}


@dataclass(frozen=True, eq=False)
class Global:
    """The name of a class or function, nothing more."""

    module: str
    name: str

    @property
    def path(self) -> str:
        """Dotted path."""
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False)
class Node:
    """An object the file describes: its class by name, arguments, state, and what was appended to it."""

    origin: Global
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    mapping: dict[Any, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{self.origin.path}>"


def unpickle(archive: Archive) -> Any:
    """Return the object described by `data.pkl` of an archive, made of plain containers, tensors and `Node`.

    Raises:
        CheckpointError: the description is damaged or names something no model file needs.
    """
    if archive.size("data.pkl") > MAX_PICKLE_BYTES:
        raise archive.error("`data.pkl`", f"at most {MAX_PICKLE_BYTES} bytes", f"{archive.size('data.pkl')}")
    machine = _Machine(archive)
    try:
        with warnings.catch_warnings():
            # The disassembler warns of odd escapes in names; no honest file has them.
            warnings.simplefilter("error")
            return machine.run(archive.read("data.pkl"))
    except _MALFORMED as error:
        got = f"{type(error).__name__}: {str(error)[:120]}"
        raise archive.error("`data.pkl`", "a complete pickle", got) from error


_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RuntimeError, struct.error, Warning)
_MARK = object()
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "MARK": lambda: _MARK,
}
_LITERALS = frozenset(
    "BININT BININT1 BININT2 LONG1 LONG4 INT LONG BINFLOAT FLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 UNICODE "
    "BINSTRING SHORT_BINSTRING STRING BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


class _Machine:
    """Stack and memo of one pickle."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.reader = StorageReader(archive)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        """Carry out every instruction and return what the last one leaves."""
        argument: Any
        for opcode, argument, _ in pickletools.genops(content):
            name = opcode.name
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _LITERALS:
                self.stack.append(argument)
            elif name in _GETS:
                self.stack.append(self.memo[argument])
            elif name in _PUTS:
                self.memo[argument] = self.stack[-1]
            elif name == "STOP":
                break
            elif name not in {"PROTO", "FRAME"}:
                handler = getattr(self, f"_op_{name.lower()}", None)
                if handler is None:
                    raise self.archive.error("`data.pkl`", "instructions of a model file", f"`{name}`")
                handler(argument)
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise self.archive.error("`data.pkl`", "one object", f"{len(self.stack)}")
        return self.stack[0]

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise IndexError("a mark instead of a value")
        return value

    def _pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _op_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._pop_to_mark()))

    def _op_tuple1(self, _: Any) -> None:
        self.stack.append((self._pop(),))

    def _op_tuple2(self, _: Any) -> None:
        last, first = self._pop(), self._pop()
        self.stack.append((first, last))

    def _op_tuple3(self, _: Any) -> None:
        last, middle, first = self._pop(), self._pop(), self._pop()
        self.stack.append((first, middle, last))

    def _op_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self._named(module, name))

    def _op_stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self.stack.append(self._named(module, name))

    def _named(self, module: Any, name: Any) -> Global:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a reference without names")
        known = f"{module}.{name}" in INERT_NAMES or module.split(".")[0] in INERT_PACKAGES
        plain = _IDENTIFIER.fullmatch(name) and all(_IDENTIFIER.fullmatch(part) for part in module.split("."))
        if not (known and plain):
            got = f"a reference to {f'{module}.{name}'[:120]!r}"
            fix = "do not use this file with other software; it may run code there. Get the original file"
            raise self.archive.error("`data.pkl`", "only classes of model files", got, fix)
        return Global(module, name)

    def _op_binpersid(self, _: Any) -> None:
        identifier = self._pop()
        if not (isinstance(identifier, tuple) and len(identifier) == 5 and identifier[0] == "storage"):
            raise self.archive.error("`data.pkl`", "references to storages", reprlib.repr(identifier))
        _, kind, key, _, n_elements = identifier
        if not (isinstance(kind, Global) and kind.module in {"torch", "torch.storage"}):
            raise self.archive.error("a storage", "a class of torch", reprlib.repr(kind))
        self.stack.append(self.reader.storage(kind.name, key, n_elements))

    def _op_append(self, _: Any) -> None:
        value = self._pop()
        self._extend([value])

    def _op_appends(self, _: Any) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Node):
            target.items.extend(values)
        elif isinstance(target, list):
            target.extend(values)
        else:
            raise TypeError(f"appending to {type(target).__name__}")

    def _op_additems(self, _: Any) -> None:
        values = self._pop_to_mark()
        target = self.stack[-1]
        if not isinstance(target, set):
            raise TypeError(f"adding to {type(target).__name__}")
        target.update(_hashable(value) for value in values)

    def _op_setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._store([key, value])

    def _op_setitems(self, _: Any) -> None:
        self._store(self._pop_to_mark())

    def _store(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        destination = target.mapping if isinstance(target, Node) else target
        if not isinstance(destination, dict) or len(pairs) % 2:
            raise TypeError(f"storing items in {type(target).__name__}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            destination[_hashable(key)] = value

    def _op_newobj(self, _: Any) -> None:
        args, origin = self._pop(), self._pop()
        if not (isinstance(origin, Global) and isinstance(args, tuple)):
            raise TypeError("an object without a class")
        self.stack.append(Node(origin, args))

    def _op_build(self, _: Any) -> None:
        state = self._pop()
        target = self.stack[-1]
        if isinstance(target, Node):
            target.state = state
        elif not isinstance(target, dict):
            raise TypeError(f"state for {type(target).__name__}")

    def _op_reduce(self, _: Any) -> None:
        args, function = self._pop(), self._pop()
        if not (isinstance(function, Global) and isinstance(args, tuple)):
            raise TypeError("a call of something that is not a name")
        constructor = _CONSTRUCTORS.get(function.path)
        self.stack.append(constructor(self, args) if constructor else Node(function, args))

    def tensor(self, args: tuple[Any, ...]) -> Tensor:
        """Rebuild a dense tensor."""
        return self.reader.view(*args[:4])

    def sparse(self, args: tuple[Any, ...]) -> SparseTable:
        """Rebuild a sparse coordinate tensor."""
        layout, parts = args
        if not (isinstance(layout, Node) and layout.args == ("torch.sparse_coo",)):
            raise self.archive.error("a sparse tensor", "coordinate format", reprlib.repr(layout))
        return self.reader.sparse(*parts[:3])

    def scalar(self, args: tuple[Any, ...]) -> float | int | bool:
        """Rebuild a numpy scalar."""
        kind, content = args
        if not isinstance(kind, Node):
            raise TypeError("a numpy scalar without a data type")
        order = kind.state[1] if isinstance(kind.state, tuple) else "<"
        if order not in {"<", "|"}:
            raise self.archive.error("a numpy scalar", "little-endian bytes", f"byte order {order!r}")
        value: float | int | bool = struct.unpack(_NUMPY_SCALARS[kind.args[0].lstrip("<|")], content)[0]
        return value


def _hashable(value: Any) -> Any:
    """Return a key after verifying that hashing it cannot recurse."""
    parts = value if isinstance(value, tuple) else (value,)
    if not all(part is None or isinstance(part, (str, int, float, bytes, Global, Node)) for part in parts):
        raise TypeError(f"a {type(value).__name__} as a key")
    return value


def _encode(_: _Machine, args: tuple[Any, ...]) -> bytes:
    text, encoding = args
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError("bytes that are not latin-1 text")
    return text.encode("latin-1")


def _empty_or_pairs(_: _Machine, args: tuple[Any, ...]) -> dict[Any, Any]:
    return {_hashable(key): value for key, value in (args[0] if args else ())}


def _as_set(_: _Machine, args: tuple[Any, ...]) -> set[Any]:
    return {_hashable(value) for value in (args[0] if args else ())}


_CONSTRUCTORS: dict[str, Callable[[_Machine, tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor_v2": _Machine.tensor,
    "torch._utils._rebuild_parameter": lambda _, args: args[0],
    "torch._utils._rebuild_sparse_tensor": _Machine.sparse,
    "torch.Size": lambda _, args: tuple(args[0]),
    "collections.OrderedDict": _empty_or_pairs,
    "__builtin__.set": _as_set,
    "builtins.set": _as_set,
    "_codecs.encode": _encode,
    "numpy.core.multiarray.scalar": _Machine.scalar,
    "numpy._core.multiarray.scalar": _Machine.scalar,
}
