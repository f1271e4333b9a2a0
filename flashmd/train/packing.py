"""Store long trajectories in few bytes: values rounded to a unit, differences in time, bytes apart.

Frames that follow each other within femtoseconds differ by little. Rounding to a unit far below the noise, taking
differences along time and separating low from high bytes leaves mostly small numbers for the compressor of the file; a
frame takes about a fifth of its float32 size. The differences are of rounded values, so errors do not add up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flashmd.errors import message

_LOW, _HIGH, _UNIT, _ORDER = "low", "high", "unit", "order"
_LIMIT = np.iinfo(np.int16)


def pack(values: NDArray[np.floating], unit: float, *, order: int) -> dict[str, NDArray[np.generic]]:
    """Round values to multiples of a unit and split them into bytes.

    Args:
        values: [n_frames, ...] finite numbers.
        unit: resolution; the error of a value is at most half of it.
        order: 0 to keep the rounded values, 1 to keep their differences from frame to frame.

    Returns:
        Arrays for an npz file: `low` and `high` bytes [n_frames, ...], `unit` and `order`.

    Raises:
        ValueError: a value or difference exceeds 16 bits of the unit.
    """
    counts = np.rint(np.asarray(values, dtype=np.float64) / unit)
    if order:
        counts = np.diff(counts, axis=0, prepend=np.zeros_like(counts[:1]))
    largest = float(np.abs(counts).max(initial=0.0))
    if not largest <= _LIMIT.max:
        fix = "take a larger unit, or centre the frames"
        raise ValueError(message("`values`", f"at most {_LIMIT.max} units of {unit:g}", f"{largest:g}", fix))
    words = counts.astype(np.int16).view(np.uint16)
    low, high = (words & 0xFF).astype(np.uint8), (words >> 8).astype(np.uint8)
    return {_LOW: low, _HIGH: high, _UNIT: np.array(unit), _ORDER: np.array(order)}


def unpack(arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    """Return the values [n_frames, ...] that `pack` was given, rounded to its unit."""
    words = arrays[_LOW].astype(np.uint16) | (arrays[_HIGH].astype(np.uint16) << np.uint16(8))
    counts = words.view(np.int16).astype(np.int64)
    if int(arrays[_ORDER]):
        counts = np.cumsum(counts, axis=0)
    return (counts * float(arrays[_UNIT])).astype(np.float32)
