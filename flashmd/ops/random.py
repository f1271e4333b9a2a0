"""Counter-based random numbers: a pure function of seed, stream, counter and column.

No state is kept, so a result depends neither on the composition of a batch nor on restarts: name each atom of each
replica by a stream, each time step by the counter. Generator: Philox4x32-10 (Salmon et al., SC11,
doi:10.1145/2063384.2063405); normals by the method of Box and Muller from 32-bit uniforms (the tails end at 6.7
standard deviations). Both dtypes carry the same numbers: float32 results are the rounded float64 ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.ops import reference
from flashmd.ops._extension import Operator, use_kernels

_MAX_COUNTER = 1 << 48
_MAX_COLUMNS = 4 << 16


def philox_normal(
    seed: int,
    stream: Tensor,
    counter: int,
    n_columns: int,
    *,
    dtype: torch.dtype = torch.float32,
    backend: str = "kernel",
) -> Tensor:
    """Return standard normal numbers; row i depends on (seed, stream[i], counter) only.

    Args:
        seed: any integer from -2^63 to 2^64 - 1.
        stream: [n], int64, name of the stream of each row.
        counter: integer from 0 to 2^48 - 1, such as the time step.
        n_columns: numbers in each row, at most 2^18.
        dtype: float32 or float64.
        backend: "kernel" or "reference".

    Returns:
        [n, n_columns].

    Example:
        >>> import torch
        >>> from flashmd.ops import philox_normal
        >>> both = philox_normal(7, torch.tensor([3, 4]), 0, 3, backend="reference")
        >>> bool((both[1:] == philox_normal(7, torch.tensor([4]), 0, 3, backend="reference")).all())
        True
    """
    _check(stream, counter, n_columns, dtype)
    if use_kernels(backend):
        result: Tensor = _NORMAL(signed_seed(seed), stream, counter, n_columns, dtype == torch.float64)
        return result
    return reference.philox_normal(signed_seed(seed), stream, counter, n_columns, dtype)


def philox_uniform(
    seed: int,
    stream: Tensor,
    counter: int,
    n_columns: int,
    *,
    dtype: torch.dtype = torch.float32,
    backend: str = "kernel",
) -> Tensor:
    """Return uniform numbers on the open interval (0, 1); arguments as for `philox_normal`.

    Normals and uniforms of equal seed, stream and counter come from the same bits: give them different streams.
    """
    _check(stream, counter, n_columns, dtype)
    if use_kernels(backend):
        result: Tensor = _UNIFORM(signed_seed(seed), stream, counter, n_columns, dtype == torch.float64)
        return result
    return reference.philox_uniform(signed_seed(seed), stream, counter, n_columns, dtype)


def signed_seed(seed: int) -> int:
    """Read a seed as a signed 64-bit integer with the same bits."""
    if not -(1 << 63) <= seed < 1 << 64:
        raise ValueError(message("`seed`", "an integer of 64 bits", str(seed), "choose a smaller one"))
    return seed - (1 << 64) if seed >= 1 << 63 else seed


def _check(stream: Tensor, counter: int, n_columns: int, dtype: torch.dtype) -> None:
    if stream.dtype != torch.int64 or stream.dim() != 1:
        got = f"{stream.dtype} of shape {tuple(stream.shape)}"
        raise ValueError(message("`stream`", "int64 of shape (n,)", got, "convert it with `.to(torch.int64)`"))
    if not 0 <= counter < _MAX_COUNTER:
        raise ValueError(message("`counter`", "0 to 2^48 - 1", str(counter), "choose another seed and begin at 0"))
    if not 0 < n_columns <= _MAX_COLUMNS:
        raise ValueError(message("`n_columns`", "1 to 2^18", str(n_columns), "spread the numbers over more streams"))
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(message("`dtype`", "torch.float32 or torch.float64", str(dtype), "convert the result"))


def _fake(seed: int, stream: Tensor, counter: int, n_columns: int, float64: bool) -> Tensor:
    del seed, counter
    return stream.new_empty((stream.shape[0], n_columns), dtype=torch.float64 if float64 else torch.float32)


_NORMAL = Operator("philox_normal", _fake)
_UNIFORM = Operator("philox_uniform", _fake)
