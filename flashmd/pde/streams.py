"""Names of random streams: a tree of 64-bit keys, so that a number is a function of seed, point and place in the tree.

The root key of a point is a hash of its coordinates, so neither the order of the points nor the other points of a
batch matter. Each sample, level and replicate is a child of a key. Numbers come from the counter-based operators of
`flashmd.ops`. Mixing: the finaliser of SplitMix64 (doi:10.1145/2660193.2660195).
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.ops import philox_normal, philox_uniform

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def mix(values: Tensor) -> Tensor:
    """Scramble int64 keys; a bijection of the 64-bit integers."""
    values = values + _GOLDEN
    values = (values ^ _shift(values, 30)) * _FIRST
    values = (values ^ _shift(values, 27)) * _SECOND
    return values ^ _shift(values, 31)


def point_streams(t: Tensor, x: Tensor) -> Tensor:
    """Return one key for each point, made of the bits of its coordinates.

    Args:
        t: [n], time of each point.
        x: [n, d], place of each point.

    Returns:
        [n], int64.
    """
    coordinates = torch.cat([t[:, None], x], 1).detach().to(torch.float64) + 0.0  # -0.0 becomes 0.0
    keys = torch.zeros(t.shape[0], dtype=torch.int64, device=t.device)
    for bits in coordinates.T.contiguous().view(torch.int64):
        keys = mix(keys ^ bits)
    return keys


def child_streams(parents: Tensor, label: int, first: int, count: int) -> Tensor:
    """Return the keys of `count` children of each parent, numbered from `first`, [n, count] int64.

    Args:
        parents: [n], int64.
        label: what the children are (a level, terminal samples, ...): different labels give different children.
        first: number of the first child.
        count: how many.
    """
    numbers = torch.arange(first, first + count, dtype=torch.int64, device=parents.device)
    return mix(mix(parents + mix(numbers.new_tensor(label)))[:, None] + mix(numbers))


def normals(seed: int, streams: Tensor, counter: int, d: int, *, antithetic: bool) -> Tensor:
    """Return standard normal vectors, [n, d] float64, or [2 n, d] with each followed by its negative."""
    noise = philox_normal(seed, streams, counter, d, dtype=torch.float64)
    return torch.stack([noise, -noise], 1).flatten(0, 1) if antithetic else noise


def uniforms(seed: int, streams: Tensor, counter: int) -> Tensor:
    """Return one uniform number of (0, 1) for each stream, [n] float64."""
    return philox_uniform(seed, streams, counter, 1, dtype=torch.float64)[:, 0]


def signs(seed: int, streams: Tensor, counter: int, d: int) -> Tensor:
    """Return independent signs, [n, d] float64."""
    return (philox_uniform(seed, streams, counter, d, dtype=torch.float64) - 0.5).sign()


def _shift(values: Tensor, bits: int) -> Tensor:
    """Shift to the right as unsigned integers."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)
