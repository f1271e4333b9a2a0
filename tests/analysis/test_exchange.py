from __future__ import annotations

import numpy as np
import pytest

from flashmd.analysis import acceptance, demultiplex, holders, round_trips


def random_walk(n_times: int, n_replicas: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rung, rows = np.arange(n_replicas), []
    for time in range(n_times):
        rows.append(rung.copy())
        for low in range(time % 2, n_replicas - 1, 2):
            if generator.uniform() < 0.5:
                a, b = np.flatnonzero(rung == low)[0], np.flatnonzero(rung == low + 1)[0]
                rung[a], rung[b] = low + 1, low
    return np.array(rows)


def test_acceptance_of_pairs() -> None:
    np.testing.assert_array_equal(acceptance([10, 4, 0], [5, 4, 0]), [0.5, 1.0, np.nan])


def test_round_trips_of_a_known_walk() -> None:
    walk = [0, 1, 2, 1, 0, 0, 1, 0, 1, 2, 2, 1, 0]  # two trips; the excursion 0 1 0 is none
    other = [1 if w != 1 else 0 for w in walk]
    rows = np.array([[w, o, 3 - w - o] for w, o in zip(walk, other, strict=True)])
    assert round_trips(rows)[0] == 2


def test_a_trip_that_starts_at_the_top_counts_from_the_bottom() -> None:
    assert round_trips([[1, 0], [0, 1], [1, 0], [0, 1]]).tolist() == [1, 1]
    assert round_trips([[1, 0], [0, 1]]).tolist() == [0, 0]


def test_round_trips_of_two_ladders_side_by_side() -> None:
    first, second = random_walk(400, 4, 0), random_walk(400, 4, 1)
    both = np.stack([first, second], axis=2).reshape(400, 8)
    assert round_trips(both).tolist() == np.stack([round_trips(first), round_trips(second)], 1).ravel().tolist()
    assert round_trips(both).sum() > 0


def test_one_temperature_has_no_round_trips() -> None:
    assert round_trips(np.zeros((5, 1))).tolist() == [0]


def test_holders_are_the_inverse() -> None:
    rung = random_walk(50, 5, 2)
    held = holders(rung)
    np.testing.assert_array_equal(np.take_along_axis(rung, held, axis=1), np.tile(np.arange(5), (50, 1)))


def test_demultiplexing_restores_continuous_trajectories() -> None:
    rung = random_walk(60, 4, 3)
    continuous = np.random.default_rng(0).normal(size=(4, 60, 2, 3))
    mixed = np.stack([[continuous[holders(rung)[t, k], t] for t in range(60)] for k in range(4)])
    np.testing.assert_array_equal(demultiplex(mixed, rung), continuous)


def test_messages() -> None:
    with pytest.raises(ValueError, match="accepted swaps: expected at most the proposed ones"):
        acceptance([1], [2])
    with pytest.raises(ValueError, match=r"`rung` row 1: expected each temperature equally often, got \[1.0, 1.0\]"):
        round_trips([[0, 1], [1, 1]])
    with pytest.raises(ValueError, match=r"`rung`: expected shape \(n_times, n_replicas\), got \(2,\)"):
        holders([0, 1])
    with pytest.raises(ValueError, match="`rung`: expected 2 replicas, one ladder, got 4"):
        holders([[0, 0, 1, 1]])
    with pytest.raises(ValueError, match=r"`frames`: expected shape \(2, 1\)"):
        demultiplex(np.zeros((2, 5)), [[0, 1]])
