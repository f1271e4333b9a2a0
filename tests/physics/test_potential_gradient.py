"""Forces and virials are the derivatives of the energies, for every term and every choice of the network."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from flashmd.potential import Potential, SumPotential
from flashmd.system import System
from tests.potential.build import BACKENDS, CASES, chain, every_prior, prior, schnet

STEP = 1e-5
"""Displacement of the central differences, nm: their error is of order STEP^2 times the third derivative."""
RELATIVE = 1e-7

NETWORKS = {
    "expnormal": {},
    "gaussian": {"basis": "gaussian"},
    "gaussian_without_own_envelope": {"basis": "gaussian", "basis_envelope": "identity"},
    "expnormal_without_own_envelope": {"basis_envelope": "identity"},
    "alpha": {"basis_alpha": 3.0},
    "shifted_softplus": {"activation": "ssp"},
    "silu": {"activation": "silu"},
    "lower": {"cutoff_lower": 0.2},
    "lower_gaussian_silu": {"cutoff_lower": 0.2, "basis": "gaussian", "activation": "silu"},
    "more_filters_than_channels": {"n_channels": 5, "n_filters": 9, "n_blocks": 3},
}


def central_differences(potential: Potential, system: System) -> torch.Tensor:
    """Return -dE/dx, one batch with a copy of the system for each displaced coordinate."""
    n_atoms = system.n_atoms
    batch = system.replicate(6 * n_atoms)
    moves = STEP * torch.cat([torch.eye(3 * n_atoms), -torch.eye(3 * n_atoms)]).to(torch.float64)
    energy = potential.energy(batch.with_positions(batch.positions + moves.view(-1, 3))).detach()
    plus, minus = energy.chunk(2)
    return ((minus - plus) / (2.0 * STEP)).view(n_atoms, 3)


def strain_differences(potential: Potential, system: System) -> torch.Tensor:
    """Return dE/dstrain of one system."""
    out = torch.zeros(3, 3, dtype=torch.float64)
    for row in range(3):
        for column in range(3):
            energies = []
            for sign in (1.0, -1.0):
                matrix = torch.eye(3, dtype=torch.float64)
                matrix[row, column] += sign * STEP
                strained = dataclasses.replace(system, positions=system.positions @ matrix, cell=system.cell @ matrix)
                energies.append(float(potential.energy(strained).detach()))
            out[row, column] = (energies[0] - energies[1]) / (2.0 * STEP)
    return out


def agree(result: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(result, expected, rtol=0.0, atol=RELATIVE * float(expected.abs().max()) + 1e-8)


@pytest.mark.parametrize("name", CASES)
def test_forces_of_each_prior(name: str) -> None:
    system, potential = chain(), prior(name)
    closed = potential.evaluate(system)
    agree(closed.forces, central_differences(potential, system))
    torch.testing.assert_close(closed.energy, potential.energy(system), rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_closed_form_equals_autograd(name: str) -> None:
    system, potential = chain(seed=4), prior(name)
    closed, automatic = potential.evaluate(system, virial=True), Potential.evaluate(potential, system, virial=True)
    torch.testing.assert_close(closed.forces, automatic.forces, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(closed.virial, automatic.virial, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_forces_of_the_network(name: str, backend: str) -> None:
    system, potential = chain(), schnet(backend=backend, **NETWORKS[name])
    agree(potential.evaluate(system).forces, central_differences(potential, system))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_of_the_network_equals_autograd(name: str, backend: str) -> None:
    system, potential = chain(8, seed=3), schnet(backend=backend, **NETWORKS[name])
    closed, automatic = potential.evaluate(system, virial=True), Potential.evaluate(potential, system, virial=True)
    torch.testing.assert_close(closed.energy, automatic.energy, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(closed.forces, automatic.forces, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(closed.virial, automatic.virial, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["bonds", "restricted", "dihedrals", "repulsion", "network", "sum"])
def test_virial_against_finite_strain(name: str) -> None:
    system = chain(6, seed=2)
    potential: Potential
    if name == "sum":
        potential = SumPotential({"SchNet": schnet(), **every_prior()})
    else:
        potential = schnet() if name == "network" else prior(name)
    result = potential.evaluate(system, virial=True)
    assert result.virial is not None
    agree(result.virial[0], strain_differences(potential, system))
    # For an isolated cluster the virial is minus the sum of position times force.
    by_force = -torch.einsum("ni,nj->ij", system.positions, result.forces)
    torch.testing.assert_close(result.virial[0], by_force, rtol=1e-9, atol=1e-8)


def test_virial_of_a_periodic_network() -> None:
    system = chain(6, seed=2)
    cell = torch.tensor([[[1.1, 0.0, 0.0], [0.2, 1.0, 0.0], [-0.1, 0.3, 1.2]]], dtype=torch.float64)
    periodic = dataclasses.replace(system, cell=cell, pbc=torch.ones(1, 3, dtype=torch.bool))
    potential = schnet()
    result = potential.evaluate(periodic, virial=True)
    assert result.virial is not None
    agree(result.virial[0], strain_differences(potential, periodic))
    agree(result.forces, central_differences(potential, periodic))


def test_envelope_derivative_is_in_the_force() -> None:
    """Most edges lie where the envelope falls; dropping dC/dd, as some kernels do, changes the force by half."""
    potential = schnet(cutoff_upper=0.6, basis="gaussian", basis_envelope="identity", skin=0.0, backend="reference")
    system = chain(8, seed=1)
    exact = potential.evaluate(system).forces
    agree(exact, central_differences(potential, system))
    envelope = potential.network.envelope
    potential.network.envelope = _Detached(envelope)
    for truncated in (potential.evaluate(system).forces, Potential.evaluate(potential, system).forces):
        assert float((truncated - exact).norm() / exact.norm()) > 0.05


class _Detached(torch.nn.Module):
    def __init__(self, envelope: torch.nn.Module) -> None:
        super().__init__()
        self.inner = envelope

    def forward(self, distance: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner(distance.detach())
        return out

    def value_and_slope(self, distance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner(distance), torch.zeros_like(distance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["expnormal", "gaussian", "silu"])
def test_force_matching_gradient(name: str, backend: str) -> None:
    """The loss is a function of forces; its gradient with respect to weights needs the second derivative."""
    system = System.concatenate([chain(5, seed=6), chain(4, seed=7)])
    potential = schnet(backend=backend, trainable_basis=True, **NETWORKS[name])
    target = torch.randn(system.n_atoms, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss() -> torch.Tensor:
        positions = system.positions.clone().requires_grad_()
        energy = potential.energy(system.with_positions(positions)).sum()
        (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
        return ((-gradient - target) ** 2).mean()

    parameters = dict(potential.named_parameters())
    value = loss()
    gradients = dict(
        zip(parameters, torch.autograd.grad(value, list(parameters.values()), allow_unused=True), strict=True)
    )
    generator = torch.Generator().manual_seed(1)
    for key, parameter in parameters.items():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            parameter.add_(direction, alpha=1e-5)
        above = float(loss().detach())
        with torch.no_grad():
            parameter.add_(direction, alpha=-2e-5)
        below = float(loss().detach())
        with torch.no_grad():
            parameter.add_(direction, alpha=1e-5)
        gradient = gradients[key]
        slope = 0.0 if gradient is None else float((gradient * direction).sum())
        assert slope == pytest.approx((above - below) / 2e-5, rel=2e-5, abs=1e-7), key


def test_evaluate_leaves_no_gradient_on_parameters() -> None:
    potential = schnet()
    result = potential.evaluate(chain())
    assert not result.energy.requires_grad
    assert not result.forces.requires_grad
    assert all(parameter.grad is None for parameter in potential.parameters())


def test_evaluate_within_inference_mode() -> None:
    potential = schnet()
    system = chain()
    expected = potential.evaluate(system).forces
    with torch.inference_mode():
        inside = potential.evaluate(system.with_positions(system.positions + 0.0)).forces
    torch.testing.assert_close(inside.clone(), expected, rtol=0.0, atol=0.0)
