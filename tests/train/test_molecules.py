"""Data sets of many molecules: selection, batches, files, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from flashmd.train import MoleculeDataset, load_molecules, save_molecules

from .molecules import molecule_frames


def test_batches_hold_the_atoms_of_their_frames() -> None:
    data = molecule_frames(6)
    chosen = data.subset(torch.tensor([4, 0]))
    assert chosen.n_atoms.tolist() == [int(data.n_atoms[4]), int(data.n_atoms[0])]
    begin, end = data.ptr[4], data.ptr[5]
    n = int(end - begin)
    for name in ("positions", "forces", "types"):
        torch.testing.assert_close(getattr(chosen, name)[:n], getattr(data, name)[begin:end], rtol=0.0, atol=0.0)
    system = chosen.system(dtype=torch.float64)
    assert system.n_systems == 2
    assert system.batch.tolist() == [0] * n + [1] * int(data.n_atoms[0])
    assert system.positions.dtype == torch.float64
    assert chosen.energy.tolist() == [data.energy[4].item(), data.energy[0].item()]


def test_composition_counts_types() -> None:
    data = molecule_frames(3)
    for frame, counts in enumerate(data.composition()):
        types = data.types[data.ptr[frame] : data.ptr[frame + 1]]
        assert counts.tolist() == torch.bincount(types, minlength=counts.shape[0]).tolist()


def test_groups_temperatures_and_trajectories() -> None:
    data = molecule_frames(60)
    assert data.of_group("odd").n_frames == int((data.group == 1).sum())
    assert set(data.between(400.0, 900.0).temperature.tolist()) == {600.0}
    sets = data.split(validation_fraction=0.2, test_fraction=0.2, seed=3)
    assert set(sets) == {"train", "validation", "test"}
    trajectories = [set(each.trajectory.tolist()) for each in sets.values()]
    assert not set.intersection(*trajectories)
    assert sum(each.n_frames for each in sets.values()) == 60
    assert set(data.split(validation_fraction=0.2)) == {"train", "validation"}


def test_a_file_gives_back_the_data(tmp_path: Path) -> None:
    data = molecule_frames(5)
    save_molecules(data, tmp_path / "data.npz")
    back = load_molecules(tmp_path / "data.npz")
    for field in dataclasses.fields(MoleculeDataset):
        value, read = getattr(data, field.name), getattr(back, field.name)
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(read, value, rtol=0.0, atol=0.0)
        else:
            assert read == value


def test_a_file_without_an_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", positions=np.zeros((2, 3)), types=np.zeros(2))
    with pytest.raises(ValueError, match=r"expected arrays forces, energy, ptr, .*, header, got positions, types"):
        load_molecules(tmp_path / "data.npz")


def test_arrays_that_do_not_fit_are_refused() -> None:
    data = molecule_frames(3)
    with pytest.raises(ValueError, match=r"`energy`: expected shape \(3,\), got \(2,\)"):
        dataclasses.replace(data, energy=data.energy[:2])
    with pytest.raises(ValueError, match=r"`forces`: expected finite numbers, got NaN or infinity"):
        dataclasses.replace(data, forces=data.forces * float("nan"))
    with pytest.raises(ValueError, match=r"temperature range 1 to 2 K: expected frames"):
        data.between(1.0, 2.0)
