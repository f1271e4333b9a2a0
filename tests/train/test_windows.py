"""Means over windows keep the mean force and lose the noise."""

import pytest
import torch

from flashmd.potential.priors import HarmonicBonds, TypeTable
from flashmd.train import ForceDataset, window_means

STIFFNESS = 5.0e4  # kJ/mol/nm^2
SOFT = 300.0  # kJ/mol/nm, linear residual force per nm
NOISE = 400.0  # kJ/mol/nm
N_WINDOW = 10


def _prior() -> HarmonicBonds:
    table = TypeTable(torch.tensor([[1, 1]]), {"k": torch.tensor([STIFFNESS]), "x0": torch.tensor([0.38])})
    return HarmonicBonds("bonds", table)


def _dataset(n_windows: int, noise: float) -> ForceDataset:
    generator = torch.Generator().manual_seed(3)
    n_frames = n_windows * N_WINDOW
    slow = torch.randn(n_windows, 1, 3, 3, generator=generator, dtype=torch.float64) * 0.1
    slow = slow + torch.tensor([[0.0, 0, 0], [0.38, 0, 0], [0.76, 0, 0]])
    fast = torch.randn(n_windows, N_WINDOW, 3, 3, generator=generator, dtype=torch.float64) * 0.01
    x = (slow + fast).reshape(n_frames, 3, 3).float()
    bonds = torch.tensor([[0, 1], [1, 2]])
    dataset = ForceDataset(
        positions=x,
        forces=torch.zeros_like(x),
        types=torch.ones(3, dtype=torch.int64),
        masses=torch.ones(3, dtype=torch.float64),
        trajectory=torch.arange(n_frames) // (2 * N_WINDOW),
        temperature=torch.full((n_frames,), 340.0),
        interactions={"bonds": bonds},
    )
    vector = x[:, bonds[:, 1]].double() - x[:, bonds[:, 0]].double()
    length = vector.norm(dim=-1, keepdim=True)
    pull = 2.0 * STIFFNESS * (length - 0.38) * vector / length
    forces = -SOFT * x.double() + noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    forces[:, 0] += pull[:, 0]
    forces[:, 1] += pull[:, 1] - pull[:, 0]
    forces[:, 2] -= pull[:, 1]
    dataset.forces.copy_(forces)
    return dataset


def _residual(dataset: ForceDataset) -> torch.Tensor:
    x = dataset.positions
    system = dataset.system(dataset.n_frames, dtype=torch.float64).with_positions(x.reshape(-1, 3).double())
    return dataset.forces - _prior().evaluate(system).forces.reshape(x.shape)


def test_linear_residual_is_kept_exactly_although_the_bonds_are_stiff() -> None:
    means, _ = window_means(_dataset(40, noise=0.0), _prior(), N_WINDOW)
    expected = -SOFT * means.positions
    # The bond forces are of 1e3 kJ/mol/nm and float32; a plain mean of the forces would be off by tens.
    torch.testing.assert_close(_residual(means), expected.double(), rtol=0.0, atol=0.01)


def test_noise_falls_with_the_window_and_is_estimated() -> None:
    means, noise = window_means(_dataset(2000, noise=NOISE), _prior(), N_WINDOW)
    error = (_residual(means) + SOFT * means.positions).square().mean()
    expected = NOISE**2 / N_WINDOW
    assert error == pytest.approx(expected, rel=0.05)
    assert noise == pytest.approx(expected, rel=0.05)


def test_windows_over_two_trajectories_are_refused() -> None:
    dataset = _dataset(6, noise=0.0)
    with pytest.raises(ValueError, match=r"`trajectory`: expected one value within a window, got several"):
        window_means(dataset, _prior(), 4 * N_WINDOW - N_WINDOW)
    with pytest.raises(ValueError, match=r"`n_window`: expected a divisor of the number of frames"):
        window_means(dataset, _prior(), 7)
