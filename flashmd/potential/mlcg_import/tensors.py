"""Tensors of a foreign checkpoint: bounds are verified before a view is made, and sparse tables are never densified."""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.potential.mlcg_import.archive import Archive

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Storage classes of torch by name."""
MAX_DIMENSIONS = 8


@dataclass(frozen=True, eq=False)
class SparseTable:
    """A sparse tensor as its entries.

    Attributes:
        indices: [n_dimensions, n_entries], int64, each entry once, in row-major order.
        values: [n_entries].
        shape: extent of each dimension.
    """

    indices: Tensor
    values: Tensor
    shape: tuple[int, ...]


class StorageReader:
    """Reads the storages of an archive, each once.

    Args:
        archive: the open archive.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._cache: dict[tuple[str, torch.dtype], Tensor] = {}

    def storage(self, kind: str, key: object, n_elements: object) -> Tensor:
        """Return a storage as a flat tensor.

        Args:
            kind: name of torch's storage class.
            key: number of the member below `data/`.
            n_elements: length the description claims; the member must have exactly that many.
        """
        if kind not in DTYPES:
            raise self.archive.error("a storage", f"one of {', '.join(DTYPES)}", f"`{kind}`")
        if not (isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 10):
            raise self.archive.error("a storage", "a number as its name", reprlib.repr(key))
        dtype = DTYPES[kind]
        size = self.archive.size(f"data/{key}")
        expected = n_elements * dtype.itemsize if isinstance(n_elements, int) else -1
        if size != expected:
            got = f"{size} bytes"
            raise self.archive.error(f"storage `data/{key}`", f"{n_elements} elements = {expected} bytes", got)
        if (key, dtype) not in self._cache:
            content = bytearray(self.archive.read(f"data/{key}"))
            flat = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            self._cache[key, dtype] = flat
        return self._cache[key, dtype]

    def view(self, storage: object, offset: object, size: object, stride: object) -> Tensor:
        """Return the part of a storage that a tensor describes, refusing what leaves the storage or overlaps itself."""
        if not isinstance(storage, Tensor):
            raise self.archive.error("a tensor", "a storage", type(storage).__name__)
        what = f"a tensor of size {reprlib.repr(size)}, stride {reprlib.repr(stride)}, offset {reprlib.repr(offset)}"
        sizes, strides = self._extents(size, what), self._extents(stride, what)
        (start,) = self._extents((offset,), what)
        if len(sizes) != len(strides):
            raise self.archive.error(what, "one stride for each dimension", f"{len(strides)} for {len(sizes)}")
        if 0 in sizes:
            return storage.new_empty(sizes)
        last = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        if last >= storage.numel():
            raise self.archive.error(what, f"elements inside a storage of {storage.numel()}", f"element {last}")
        reach = 0
        for step, n in sorted((step, n) for n, step in zip(sizes, strides, strict=True) if n > 1):
            if step <= reach:
                raise self.archive.error(what, "every element at its own place", "overlapping strides")
            reach += (n - 1) * step
        return storage.as_strided(sizes, strides, start)

    def sparse(self, indices: object, values: object, shape: object) -> SparseTable:
        """Return a coordinate table after verifying that its indices lie inside `shape`; duplicates are added up."""
        extent = tuple(self._extents(shape, "a sparse tensor"))
        if not (isinstance(indices, Tensor) and isinstance(values, Tensor)):
            raise self.archive.error("a sparse tensor", "tensors of indices and values", type(indices).__name__)
        if indices.dtype != torch.int64 or indices.shape != (len(extent), values.numel()) or values.dim() != 1:
            got = f"indices {tuple(indices.shape)} and values {tuple(values.shape)}"
            raise self.archive.error("a sparse tensor", f"{len(extent)} int64 indices for each value", got)
        if math.prod(extent) >= 2**62:
            raise self.archive.error("a sparse tensor", "fewer than 2^62 elements", f"the shape {extent}")
        upper = torch.tensor(extent, dtype=torch.int64)[:, None]
        outside = ((indices < 0) | (indices >= upper)).any(dim=0)
        if bool(outside.any()):
            found = indices[:, outside][:, 0].tolist()
            raise self.archive.error(f"a sparse tensor of shape {extent}", "indices inside it", f"index {found}")
        code, inverse = torch.unique(encode(indices, extent), return_inverse=True)
        merged = indices.new_empty(len(extent), len(code))
        merged[:, inverse] = indices
        total = values.new_zeros(len(code)).index_add_(0, inverse, values)
        return SparseTable(merged, total, extent)

    def _extents(self, numbers: object, what: str) -> list[int]:
        """Return a short sequence of non-negative integers."""
        if not isinstance(numbers, (tuple, list)) or len(numbers) > MAX_DIMENSIONS:
            raise self.archive.error(what, f"at most {MAX_DIMENSIONS} integers", reprlib.repr(numbers))
        for number in numbers:
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**48:
                raise self.archive.error(what, "non-negative integers", reprlib.repr(number))
        return list(numbers)


def encode(indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return one integer for each column of indices [n_dimensions, n]; row-major order is the order of the integers."""
    code = torch.zeros_like(indices[0]) if len(indices) else indices.new_zeros(indices.shape[1])
    for index, extent in zip(indices, shape, strict=True):
        code = code * extent + index
    return code
