"""Quality of a replica-exchange run: acceptance of each pair, round trips of replicas, continuous trajectories.

The input is the record of which temperature each replica holds, ``rung[time, replica]``. In one ladder every row is a
permutation; a run of several walkers is several ladders side by side, in which each temperature is held equally often.
"""

from __future__ import annotations

import numpy as np

from flashmd.analysis._arrays import ArrayLike, FloatArray, IntArray, as_float
from flashmd.errors import message


def acceptance(proposed: ArrayLike, accepted: ArrayLike) -> FloatArray:
    """Return the fraction of accepted swaps of each pair, NaN where none was proposed.

    Args:
        proposed: [n_pairs], number of proposed swaps.
        accepted: [n_pairs], number of accepted swaps.

    Raises:
        ValueError: more accepted than proposed, or different lengths.

    >>> acceptance([4, 0], [1, 0]).tolist()
    [0.25, nan]
    """
    asked, done = as_float(proposed), as_float(accepted)
    if asked.shape != done.shape or (done > asked).any() or (done < 0).any():
        got = f"{done.tolist()} of {asked.tolist()}"
        raise ValueError(
            message("accepted swaps", "at most the proposed ones, pair by pair", got, "check exchanges.csv")
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(asked > 0, done / asked, np.nan))


def round_trips(rung: ArrayLike) -> IntArray:
    """Count the round trips of each replica: lowest temperature, highest, and back to the lowest.

    Args:
        rung: [n_times, n_replicas], index of the temperature each replica holds, of one or more ladders.

    Returns:
        [n_replicas].

    Raises:
        ValueError: the temperatures of a row are not held equally often.

    >>> round_trips([[0, 1], [1, 0], [0, 1], [1, 0]]).tolist()
    [1, 1]
    """
    held = _ladders(rung)
    top = int(held.max())
    trips = np.zeros(held.shape[1], dtype=np.int64)
    for replica in range(held.shape[1] if top > 0 else 0):
        walk = held[:, replica]
        ends = walk[(walk == 0) | (walk == top)]
        if ends.size:
            turns = ends[np.concatenate([[True], ends[1:] != ends[:-1]])]
            # the ends alternate now; each return to the lowest after the first visit closes one trip
            trips[replica] = max(int((turns == 0).sum()) - 1, 0)
    return trips


def holders(rung: ArrayLike) -> IntArray:
    """Return which replica holds each temperature, the inverse of the record.

    Args:
        rung: [n_times, n_replicas], index of the temperature each replica of one ladder holds.

    Returns:
        [n_times, n_temperatures], replica at each temperature.

    Raises:
        ValueError: a row is not a permutation.

    >>> holders([[2, 0, 1]]).tolist()
    [[1, 2, 0]]
    """
    return np.asarray(np.argsort(_permutations(rung), axis=1))


def demultiplex(frames: ArrayLike, rung: ArrayLike) -> FloatArray:
    """Sort what was recorded for each temperature into the continuous trajectories of the replicas.

    Args:
        frames: [n_temperatures, n_times, ...], recorded at each temperature (coordinates, energies).
        rung: [n_times, n_replicas], index of the temperature each replica of one ladder held at
            these times.

    Returns:
        [n_replicas, n_times, ...].

    Raises:
        ValueError: a row of `rung` is not a permutation, or the shapes differ.

    >>> demultiplex([[1.0, 2.0], [10.0, 20.0]], [[0, 1], [1, 0]]).tolist()
    [[1.0, 20.0], [10.0, 2.0]]
    """
    held, values = _permutations(rung), as_float(frames)
    if values.shape[:2] != held.shape[::-1]:
        expected = f"shape {held.shape[::-1]} + (...)"
        raise ValueError(message("`frames`", expected, f"{values.shape}", "use the times at which both were written"))
    times = np.arange(held.shape[0])
    return np.asarray(np.stack([values[held[:, replica], times] for replica in range(held.shape[1])]))


def _ladders(rung: ArrayLike) -> IntArray:
    values = as_float(rung)
    if values.ndim != 2 or values.size == 0:
        expected = "shape (n_times, n_replicas)"
        raise ValueError(message("`rung`", expected, f"{values.shape}", "pass one row for each time"))
    n_rungs = int(values.max()) + 1
    wrong = (np.sort(values, axis=1) != np.sort(np.arange(values.shape[1]) % n_rungs)).any(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        fix = "pass the index of the temperature of each replica"
        got = f"{values[row].tolist()}"
        raise ValueError(message(f"`rung` row {row}", "each temperature equally often", got, fix))
    return values.astype(np.int64)


def _permutations(rung: ArrayLike) -> IntArray:
    values = _ladders(rung)
    n_rungs = int(values.max()) + 1
    if n_rungs != values.shape[1]:
        fix = "pass the columns of one ladder, `rung[:, walker::n_walkers]`"
        raise ValueError(message("`rung`", f"{n_rungs} replicas, one ladder", f"{values.shape[1]}", fix))
    return values
