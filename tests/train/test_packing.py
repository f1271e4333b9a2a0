"""Packed trajectories come back within half a unit."""

import numpy as np
import pytest
import torch

from flashmd.train import ForceDataset, load_dataset, save_dataset
from flashmd.train.packing import pack, unpack


@pytest.mark.parametrize("order", [0, 1])
def test_values_come_back_within_half_a_unit(order: int) -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(0.0, 0.01, (5000, 4, 3)), axis=0)
    back = unpack(pack(walk, 1e-3, order=order))
    # Half a unit, and the rounding of float32 at a few nm; differences do not let errors grow along the walk.
    assert np.abs(back - walk).max() < 0.5e-3 + 1e-6
    assert np.abs(back[-1000:] - walk[-1000:]).max() < 0.5e-3 + 1e-6


def test_rounding_is_unbiased() -> None:
    values = np.random.default_rng(1).normal(0.0, 500.0, (20_000, 3))
    error = unpack(pack(values, 25.0, order=0)) - values
    assert abs(error.mean()) < 4.0 * 25.0 / np.sqrt(12 * error.size)
    assert error.std() == pytest.approx(25.0 / np.sqrt(12.0), rel=0.02)


def test_values_beyond_sixteen_bits_and_nan_are_refused() -> None:
    for values in (np.array([[0.0], [40.0]]), np.array([[np.nan]])):
        with pytest.raises(ValueError, match=r"`values`: expected at most 32767 units of 0.001"):
            pack(values, 1e-3, order=1)


def test_data_set_round_trip(tmp_path) -> None:
    generator = torch.Generator().manual_seed(0)
    n_frames = 3000
    walk = torch.cumsum(0.01 * torch.randn(n_frames, 2, 3, generator=generator), dim=0)
    dataset = ForceDataset(
        positions=walk,
        forces=500.0 * torch.randn(n_frames, 2, 3, generator=generator),
        types=torch.tensor([3, 4]),
        masses=torch.tensor([57.0, 71.0], dtype=torch.float64),
        trajectory=torch.arange(n_frames) // 1000,
        temperature=torch.full((n_frames,), 340.0),
        interactions={"bonds": torch.tensor([[0, 1]])},
        provenance={"script": "none"},
    )
    save_dataset(dataset, tmp_path / "packed.npz")
    back = load_dataset(tmp_path / "packed.npz")
    assert (back.positions - walk).abs().max() < 0.5e-3 + 1e-5
    assert (back.forces - dataset.forces).abs().max() <= 12.5 + 1e-3
    for name in ("types", "masses", "trajectory", "temperature"):
        assert torch.equal(getattr(back, name), getattr(dataset, name))
    assert torch.equal(back.interactions["bonds"], dataset.interactions["bonds"])
    assert back.provenance == dataset.provenance
    assert (tmp_path / "packed.npz").stat().st_size < 0.4 * 4 * (walk.numel() + dataset.forces.numel())
