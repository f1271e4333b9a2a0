"""Data sets and their split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flashmd.train import load_dataset, split_by_trajectory

from .molecules import dataset_of, random_chains


def test_plain_arrays_are_read_as_they_are(tmp_path: Path) -> None:
    dataset = dataset_of(random_chains(20, 5, 0), temperature=310.0)
    names = ("positions", "forces", "types", "masses", "trajectory", "temperature")
    arrays = {name: getattr(dataset, name).numpy() for name in names}
    arrays |= {f"interactions/{name}": terms.numpy() for name, terms in dataset.interactions.items()}
    np.savez(tmp_path / "data.npz", **arrays)
    loaded = load_dataset(tmp_path / "data.npz")
    for name in names:
        assert torch.equal(getattr(loaded, name), getattr(dataset, name)), name
    assert set(loaded.interactions) == set(dataset.interactions)
    for name, terms in dataset.interactions.items():
        assert torch.equal(loaded.interactions[name], terms)


def test_no_trajectory_lies_in_two_sets_and_no_frame_is_lost() -> None:
    dataset = dataset_of(random_chains(200, 4, 0), n_trajectories=10)
    split = split_by_trajectory(dataset, validation_fraction=0.2, test_fraction=0.1, seed=3)
    assert split.test is not None
    sets = [set(part.trajectory.tolist()) for part in (split.train, split.validation, split.test)]
    assert [len(s) for s in sets] == [7, 2, 1]
    assert set.union(*sets) == set(range(10))
    assert sum(len(s) for s in sets) == 10
    assert split.train.n_frames + split.validation.n_frames + split.test.n_frames == 200
    # The frames are those of the named trajectories, not merely labelled so.
    for part in (split.train, split.validation, split.test):
        for frame in (0, part.n_frames - 1):
            source = (dataset.positions == part.positions[frame]).all(-1).all(-1)
            assert dataset.trajectory[source].tolist() == [int(part.trajectory[frame])]


def test_split_depends_on_the_seed_alone() -> None:
    dataset = dataset_of(random_chains(100, 4, 0), n_trajectories=20)
    chosen = [split_by_trajectory(dataset, seed=s).validation.trajectory.unique().tolist() for s in (0, 0, 1, 2)]
    assert chosen[0] == chosen[1]
    assert not chosen[0] == chosen[2] == chosen[3]


def test_too_few_trajectories() -> None:
    dataset = dataset_of(random_chains(10, 4, 0), n_trajectories=1)
    with pytest.raises(ValueError, match="expected more than 1 continuous trajectories, got 1"):
        split_by_trajectory(dataset)


def test_temperature_range() -> None:
    kelvin = torch.linspace(280.0, 379.0, 100)
    dataset = dataset_of(random_chains(100, 4, 0), temperature=kelvin)
    assert dataset.between(300.0, 310.0).temperature.tolist() == kelvin[20:31].tolist()
    with pytest.raises(
        ValueError, match="temperature range 500 to 600 K: expected frames, got temperatures 280 to 379"
    ):
        dataset.between(500.0, 600.0)


def test_system_carries_lists_and_masses() -> None:
    system = dataset_of(random_chains(3, 5, 0)).system(2, dtype=torch.float64)
    assert system.n_systems == 2
    assert system.positions.dtype == torch.float64
    assert system.interactions["bonds"].tolist()[4:] == [[5, 6], [6, 7], [7, 8], [8, 9]]


def test_missing_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", positions=np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="expected arrays forces, types, masses, trajectory, temperature"):
        load_dataset(tmp_path / "bad.npz")


def test_shapes_and_finite_numbers() -> None:
    positions = random_chains(5, 4, 0)
    with pytest.raises(ValueError, match=r"`forces`: expected shape \(5, 4, 3\), got \(4, 4, 3\)"):
        dataset_of(positions, forces=torch.zeros(4, 4, 3))
    positions[2, 1, 0] = torch.nan
    with pytest.raises(ValueError, match="`positions`: expected finite numbers"):
        dataset_of(positions)
