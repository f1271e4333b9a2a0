"""Training on forces of a known teacher: it learns, stops, resumes in the same bits and refuses foreign states."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flashmd.errors import CheckpointError, FlashMDError
from flashmd.nn import FrameEnergies, SchNet, SchNetConfig
from flashmd.train import Frames, Trainer, TrainingSettings
from flashmd.train.force_matching import network_forces

from .molecules import random_chains

TYPES = torch.arange(1, 6)
CONFIG = SchNetConfig(n_types=6, n_channels=16, n_filters=16, n_basis=12, n_blocks=1, readout=(16,))


def frames(n_frames: int, seed: int, *, noise: float = 0.0) -> Frames:
    """Forces of a teacher of the same form, times 20, with noise."""
    teacher = FrameEnergies(SchNet(CONFIG, seed=99), TYPES)
    positions = random_chains(n_frames, 5, seed).float()
    target = 20.0 * network_forces(teacher, positions)
    generator = torch.Generator().manual_seed(seed)
    return Frames(positions, target + noise * torch.randn(target.shape, generator=generator))


def trainer(settings: TrainingSettings, path: Path | None = None, *, seed: int = 0, fingerprint: str = "a") -> Trainer:
    return Trainer(
        SchNet(CONFIG, seed=seed),
        TYPES,
        train=frames(600, 1),
        validation=frames(200, 2),
        settings=settings,
        state_path=path,
        fingerprint=fingerprint,
    )


def test_training_learns_the_teacher() -> None:
    settings = TrainingSettings(epochs=30, batch_size=50, learning_rate=1e-2, warmup_steps=10, average_decay=0.9)
    run = trainer(settings)
    state = run.run()
    unseen = frames(200, 3)
    error = network_forces(run.energies, unseen.positions) - unseen.target
    assert float(error.square().mean()) < 0.05 * unseen.mean_square
    best = state.best_point
    assert best is not None
    assert best.validation < 0.05 * frames(200, 2).mean_square


def test_noise_is_not_learned() -> None:
    # With noise of the size of the signal, the error against noise-free forces falls below that against noisy ones.
    noise = 20.0
    settings = TrainingSettings(epochs=15, batch_size=50, learning_rate=1e-2, warmup_steps=10)
    run = Trainer(
        SchNet(CONFIG),
        TYPES,
        train=frames(2000, 1, noise=noise),
        validation=frames(200, 2, noise=noise),
        settings=settings,
    )
    curve = run.run().curve
    clean = frames(200, 2)
    error = float((network_forces(run.energies, clean.positions) - clean.target).square().mean())
    assert error < 0.25 * noise**2
    assert min(point.validation for point in curve) == pytest.approx(noise**2 + error, rel=0.15)


@pytest.mark.parametrize("filters", ["table", "exact"])
def test_an_interrupted_training_ends_in_the_same_bits(filters: str, tmp_path: Path) -> None:
    settings = TrainingSettings(epochs=4, batch_size=64, learning_rate=1e-2, warmup_steps=3, filters=filters)
    whole = trainer(settings)
    whole.run()
    path = tmp_path / "state.safetensors"
    for _ in range(2):
        trainer(settings, path).run_epoch()
    # The initial weights of the process that resumes do not matter.
    resumed = trainer(settings, path, seed=7)
    assert resumed.state.epoch == 2
    resumed.run()
    for (name, a), (_, b) in zip(
        whole.state.network.named_parameters(), resumed.state.network.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    keys = ("epoch", "learning_rate", "train", "validation")
    curves = [[tuple(getattr(p, k) for k in keys) for p in run.state.curve] for run in (whole, resumed)]
    assert curves[0] == curves[1]


def test_two_trainings_are_bitwise_equal_and_seeds_differ() -> None:
    results = []
    for seed in (0, 0, 1):
        run = trainer(TrainingSettings(epochs=1, batch_size=64, seed=seed))
        results.append(run.run_epoch().validation)
    assert results[0] == results[1] != results[2]


def test_training_stops_without_progress_and_keeps_the_best() -> None:
    # A learning rate that destroys the network after a while.
    run = trainer(TrainingSettings(epochs=40, batch_size=50, learning_rate=0.3, warmup_steps=200, patience=3))
    state = run.run()
    best = state.best_point
    assert best is not None
    assert state.epoch < 40
    assert state.epoch == best.epoch + 3
    validation = frames(200, 2)
    error = network_forces(run.energies, validation.positions) - validation.target
    assert float(error.square().mean()) == pytest.approx(best.validation, rel=1e-5)


def test_diverged_training_is_reported() -> None:
    run = trainer(TrainingSettings(epochs=1, batch_size=64))
    with torch.no_grad():
        for value in run.state.average.values():
            value.fill_(torch.inf)
    with pytest.raises(FlashMDError, match="validation error of epoch 1: expected finite"):
        run.run_epoch()


def test_state_of_another_training(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    settings = TrainingSettings(epochs=2, batch_size=64)
    trainer(settings, path).run_epoch()
    with pytest.raises(CheckpointError, match="expected a state of this training, got one of another configuration"):
        trainer(settings, path, fingerprint="b")


def test_damaged_state(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match="expected a readable file"):
        trainer(TrainingSettings(), path)
