"""Training through tables of the filters against training with the filters of every pair."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flashmd.nn import FrameEnergies, SchNet, SchNetConfig
from flashmd.potential import SchNetPotential
from flashmd.system import System
from flashmd.train import Frames, Trainer, TrainingSettings
from flashmd.train.force_matching import accumulate_gradient_, mean_square_error, network_forces

from .molecules import random_chains

N_KNOTS = TrainingSettings().n_knots
GRADIENT_TOLERANCE = 1e-4  # of the largest component, as promised by the guide
KERNEL_TOLERANCE = 1e-9  # float64 kernels against autograd through plain PyTorch, sums of a few thousand terms

CONFIG = {
    "expnormal": SchNetConfig(n_types=11, n_channels=24, n_filters=20, n_basis=20, n_blocks=3, readout=(16,)),
    "gaussian": SchNetConfig(
        n_types=11, n_channels=16, n_filters=32, n_basis=24, basis="gaussian", n_blocks=2, readout=(16,)
    ),
}


def batch(n_frames: int = 12, n_beads: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    positions = random_chains(n_frames, n_beads, 3)
    return positions, 30.0 * torch.randn(positions.shape, generator=generator, dtype=torch.float64)


def network(basis: str, *, sharpness: float = 1.0) -> SchNet:
    made = SchNet(CONFIG[basis], seed=2).double()
    with torch.no_grad():
        made.filter_network.weight_in.mul_(sharpness)
    return made


def gradient(energies: FrameEnergies, positions: Tensor, target: Tensor) -> dict[str, Tensor]:
    energies.zero_grad()
    accumulate_gradient_(energies, positions, target, scale=100.0)
    named = {name: p.grad for name, p in energies.network.named_parameters()}
    return {name: grad.clone() for name, grad in named.items() if grad is not None}


def relative_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    difference = sum(float((first[name] - second[name]).square().sum()) for name in first)
    return float((difference / sum(float(each.square().sum()) for each in second.values())) ** 0.5)


@pytest.mark.parametrize("basis", list(CONFIG))
@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_gradient_through_the_table_is_that_of_every_pair(basis: str, sharpness: float) -> None:
    positions, target = batch()
    model, types = network(basis, sharpness=sharpness), torch.arange(1, 11)
    exact = gradient(FrameEnergies(model, types), positions, target)
    table = gradient(FrameEnergies(model, types, n_knots=N_KNOTS), positions, target)
    assert relative_difference(table, exact) < GRADIENT_TOLERANCE
    for name, values in exact.items():
        assert float((table[name] - values).abs().max()) < GRADIENT_TOLERANCE * float(values.abs().max()), name


def test_error_falls_with_the_fourth_power_of_the_spacing() -> None:
    positions, target = batch()
    model, types = network("gaussian"), torch.arange(1, 11)
    exact = gradient(FrameEnergies(model, types), positions, target)
    errors = [
        relative_difference(gradient(FrameEnergies(model, types, n_knots=n), positions, target), exact)
        for n in (65, 129, 257)
    ]
    # Derivatives by distance lose one order, so the exponent lies between three and four.
    assert errors[0] / errors[1] > 7.0
    assert errors[1] / errors[2] > 7.0


@pytest.mark.parametrize("basis", list(CONFIG))
def test_gradient_in_float32(basis: str) -> None:
    positions, target = batch()
    types = torch.arange(1, 11)
    exact = gradient(FrameEnergies(network(basis), types), positions, target)
    single = gradient(FrameEnergies(network(basis).float(), types, n_knots=N_KNOTS), positions.float(), target.float())
    assert relative_difference({name: grad.double() for name, grad in single.items()}, exact) < GRADIENT_TOLERANCE


@pytest.mark.parametrize("basis", list(CONFIG))
def test_kernels_against_autograd_of_the_reference(basis: str) -> None:
    positions, target = batch(4)
    model, types = network(basis), torch.arange(1, 11)
    found, expected = (
        gradient(FrameEnergies(model, types, n_knots=65, backend=backend), positions, target)
        for backend in ("kernel", "reference")
    )
    assert relative_difference(found, expected) < KERNEL_TOLERANCE


def test_loss_is_that_of_the_forces_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    positions, target = batch()
    energies = FrameEnergies(network("gaussian"), torch.arange(1, 11), n_knots=129)
    results = []
    for beads in (1000, 30):  # all frames at once, three frames at once
        monkeypatch.setattr("flashmd.train.force_matching._BEADS_AT_ONCE", beads)
        energies.zero_grad()
        loss = accumulate_gradient_(energies, positions, target, scale=2.0)
        results.append((loss, gradient(energies, positions, target)))
        assert mean_square_error(energies, positions, target) == pytest.approx(2.0 * loss, rel=1e-10)
    expected = float((network_forces(energies, positions) - target).square().mean()) / 2.0
    for loss, _ in results:
        assert loss == pytest.approx(expected, rel=1e-12)
    assert relative_difference(results[0][1], results[1][1]) < KERNEL_TOLERANCE


def teacher_frames(n_frames: int, seed: int) -> Frames:
    """Forces of a network of the same form, times 20."""
    positions = random_chains(n_frames, 6, seed).float()
    teacher = FrameEnergies(SchNet(CONFIG["gaussian"], seed=99), torch.arange(1, 7))
    return Frames(positions, 20.0 * network_forces(teacher, positions))


def test_both_ways_learn_alike() -> None:
    curves = []
    for filters in ("table", "exact"):
        settings = TrainingSettings(epochs=6, batch_size=50, learning_rate=5e-3, warmup_steps=5, filters=filters)
        trainer = Trainer(
            SchNet(CONFIG["gaussian"], seed=4),
            torch.arange(1, 7),
            train=teacher_frames(400, 1),
            validation=teacher_frames(100, 2),
            settings=settings,
        )
        curves.append(trainer.run().curve)
    for table, exact in zip(*curves, strict=True):
        assert table.train == pytest.approx(exact.train, rel=2e-3)
        assert table.validation == pytest.approx(exact.validation, rel=2e-3)
    losses = [point.train for point in curves[0]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.3 * losses[0]


def test_potential_of_several_molecules_reads_a_table() -> None:
    generator = torch.Generator().manual_seed(1)
    sizes = (10, 1, 25)
    parts = [
        System.single(1.5 * torch.rand(n, 3, generator=generator).double(), torch.arange(n) % 10 + 1) for n in sizes
    ]
    batch = System.concatenate(parts)
    model = network("expnormal")
    results = []
    for n_knots, backend in ((None, "kernel"), (N_KNOTS, "kernel"), (N_KNOTS, "reference")):
        potential = SchNetPotential(model, n_knots=n_knots, backend=backend)
        positions = batch.positions.clone().requires_grad_()
        energy = potential.energy(batch.with_positions(positions))
        (forces,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
        parameters = [p for name, p in model.named_parameters() if "readout" not in name]
        gradients = torch.autograd.grad(forces.square().sum(), parameters)
        results.append([energy.detach(), forces.detach(), *gradients])
    for exact, table, reference in zip(*results, strict=True):
        scale = float(exact.abs().max())
        torch.testing.assert_close(table, exact, rtol=0.0, atol=GRADIENT_TOLERANCE * scale)
        torch.testing.assert_close(table, reference, rtol=0.0, atol=KERNEL_TOLERANCE * scale)
