"""The loss, its gradient and the forces of priors."""

from __future__ import annotations

import pytest
import torch

from flashmd.nn import FrameEnergies, SchNet, SchNetConfig
from flashmd.potential.priors import HarmonicBonds
from flashmd.train import force_matching
from flashmd.train.force_matching import accumulate_gradient_, mean_square_error, network_forces, prior_forces

from .molecules import dataset_of, random_chains

STEP = 1e-5
FINITE_DIFFERENCE_TOLERANCE = 1e-7  # central differences in float64: STEP^2 plus rounding / STEP


def small_network() -> FrameEnergies:
    config = SchNetConfig(n_types=6, n_channels=6, n_filters=5, n_basis=7, n_blocks=2, readout=(4,))
    return FrameEnergies(SchNet(config, seed=4).double(), torch.arange(1, 6))


def batch(n_frames: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(8)
    target = 5.0 * torch.randn(n_frames, 5, 3, generator=generator, dtype=torch.float64)
    return random_chains(n_frames, 5, 1), target


def test_forces_are_minus_the_gradient_by_finite_differences() -> None:
    energies, (positions, _) = small_network(), batch(2)
    forces = network_forces(energies, positions)
    for index in ((0, 0, 0), (1, 3, 2)):
        shift = torch.zeros_like(positions)
        shift[index] = STEP
        with torch.no_grad():
            slope = (energies(positions + shift) - energies(positions - shift)).sum() / (2.0 * STEP)
        assert float(forces[index]) == pytest.approx(-float(slope), rel=1e-6, abs=FINITE_DIFFERENCE_TOLERANCE)


def test_gradient_of_the_loss_by_finite_differences() -> None:
    energies, (positions, target) = small_network(), batch()
    scale = 3.0
    accumulate_gradient_(energies, positions, target, scale=scale)
    checked = 0
    for parameter in energies.network.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad
        assert gradient is not None
        index = int(gradient.abs().argmax())
        original = float(flat[index])
        losses = []
        for value in (original + STEP, original - STEP):
            flat[index] = value
            losses.append(mean_square_error(energies, positions, target) / scale)
        flat[index] = original
        slope = (losses[0] - losses[1]) / (2.0 * STEP)
        assert float(gradient.view(-1)[index]) == pytest.approx(slope, rel=1e-5, abs=FINITE_DIFFERENCE_TOLERANCE)
        checked += 1
    assert checked > 10


def test_loss_is_the_scaled_mean_square_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    energies, (positions, target) = small_network(), batch()
    results = []
    for pairs in (10_000, 20):  # all frames at once, two frames at once
        monkeypatch.setattr(force_matching, "_PAIRS_AT_ONCE", pairs)
        energies.zero_grad()
        loss = accumulate_gradient_(energies, positions, target, scale=2.0)
        results.append((loss, [p.grad.clone() for p in energies.network.parameters() if p.grad is not None]))
    expected = float((network_forces(energies, positions) - target).square().mean()) / 2.0
    for loss, _ in results:
        assert loss == pytest.approx(expected, rel=1e-12)
    for first, second in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-12)


def test_prior_forces_of_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(force_matching, "_PRIOR_FRAMES_AT_ONCE", 4)
    dataset = dataset_of(random_chains(10, 3, 0)[:, :2])
    table = (torch.tensor([[1, 2], [2, 1]]), {"k": torch.tensor([100.0, 100.0]), "x0": torch.tensor([0.3, 0.3])})
    forces = prior_forces(HarmonicBonds("bonds", table), dataset)
    vector = dataset.positions[:, 1] - dataset.positions[:, 0]
    length = vector.norm(dim=-1, keepdim=True)
    pull = 2.0 * 100.0 * (length - 0.3) * vector / length
    torch.testing.assert_close(forces, torch.stack([pull, -pull], dim=1), rtol=1e-4, atol=1e-4)
