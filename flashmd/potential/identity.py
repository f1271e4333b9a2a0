"""Whether tensors are the objects they were, unchanged, without a look at their values.

What was computed from tensors may be kept as long as this holds. The objects are kept too, so that none of them can be
freed and its place taken by another one.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Identity:
    """Which tensors something was computed from.

    Attributes:
        tensors: the objects.
        versions: how often each was changed in place, or None where a tensor of inference mode does not count.
        dtype: floating-point type of the result, where that matters.
    """

    tensors: tuple[Tensor, ...]
    versions: tuple[int, ...] | None
    dtype: torch.dtype | None

    @classmethod
    def of(cls, *tensors: Tensor, dtype: torch.dtype | None = None) -> Identity:
        """Take down the present state of tensors."""
        try:
            versions = tuple([tensor._version for tensor in tensors])
        except RuntimeError:  # what a tensor of inference mode raises
            versions = None
        return cls(tensors, versions, dtype)

    def holds(self, other: Identity) -> bool:
        """Whether `other` was taken of the same objects and none is known, or suspected, to have changed since."""
        if self.versions is None:
            return False
        same = (self.versions, self.dtype, len(self.tensors)) == (other.versions, other.dtype, len(other.tensors))
        return same and all(map(operator.is_, self.tensors, other.tensors))
