"""Radial bases against their closed forms in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashmd.nn import ExpNormalBasis, GaussianBasis

DISTANCE = torch.linspace(0.05, 1.6, 57, dtype=torch.float64)


def cosine(d: np.ndarray, upper: float) -> np.ndarray:
    return np.where(d < upper, 0.5 * (np.cos(np.pi * d / upper) + 1.0), 0.0)


@pytest.mark.parametrize("n_basis", [2, 33, 50])
def test_exponential_normal(n_basis: int) -> None:
    basis = ExpNormalBasis(0.1, 1.5, n_basis=n_basis).double()
    d = DISTANCE.numpy()[:, None]
    alpha = 5.0 / 1.4
    means = np.linspace(np.exp(-5.0), 1.0, n_basis)
    betas = np.full(n_basis, (2.0 / n_basis * (1.0 - np.exp(-5.0))) ** -2)
    bump = np.where((d > 0.1) & (d < 1.5), 0.5 * (np.cos(np.pi * (2 * (d - 0.1) / 1.4 + 1)) + 1), 0.0)
    expected = bump * np.exp(-betas * (np.exp(-alpha * (d - 0.1)) - means) ** 2)
    np.testing.assert_allclose(basis(DISTANCE).numpy(), expected, atol=2e-5 * np.sqrt(betas[0]) * 0.1)
    np.testing.assert_allclose(basis.means.numpy(), means, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(basis.betas.numpy(), betas, rtol=1e-6)


def test_gaussian() -> None:
    basis = GaussianBasis(0.0, 1.5, n_basis=31).double()
    d = DISTANCE.numpy()[:, None]
    expected = np.exp(-0.5 / 0.05**2 * (d - np.linspace(0.0, 1.5, 31)) ** 2) * (d <= 1.5)
    np.testing.assert_allclose(basis(DISTANCE).numpy(), expected, atol=1e-5)
    assert basis.coeff.shape == ()
    enveloped = GaussianBasis(0.0, 1.5, n_basis=31, envelope="cosine").double()(DISTANCE)
    np.testing.assert_allclose(enveloped.numpy(), expected * cosine(d, 1.5), atol=1e-5)


def test_parameters_can_be_set_and_are_used() -> None:
    basis = ExpNormalBasis(0.0, 0.5, n_basis=3, alpha=7.0, envelope="identity").double()
    means, betas = torch.tensor([0.1, 0.4, 0.9]).double(), torch.tensor([3.0, 5.0, 11.0]).double()
    basis.load_state_dict({"means": means, "betas": betas})
    d = torch.tensor([0.2, 0.4], dtype=torch.float64)
    expected = torch.exp(-betas * (torch.exp(-7.0 * d)[:, None] - means) ** 2)
    torch.testing.assert_close(basis(d), expected, rtol=1e-14, atol=0.0)


def test_unit_of_length_is_a_convention() -> None:
    """Lengths in angstrom with the cutoff in angstrom give the same numbers."""
    for kind in (ExpNormalBasis, GaussianBasis):
        small, large = kind(0.0, 1.5, n_basis=8).double(), kind(0.0, 15.0, n_basis=8).double()
        inside = DISTANCE[DISTANCE < 1.49]
        torch.testing.assert_close(small(inside), large(10.0 * inside), rtol=0.0, atol=3e-6)


@pytest.mark.parametrize("kind", [ExpNormalBasis, GaussianBasis])
def test_trainable_parameters_and_second_derivatives(kind: type[ExpNormalBasis]) -> None:
    assert not list(kind(0.0, 1.0, n_basis=4).parameters())
    basis = kind(0.0, 1.0, n_basis=4, trainable=True).double()
    assert len(list(basis.parameters())) == 2
    distance = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda d, *_: basis(d), (distance, *basis.parameters()))


@pytest.mark.parametrize("kind", [ExpNormalBasis, GaussianBasis])
def test_size_is_checked(kind: type[ExpNormalBasis]) -> None:
    with pytest.raises(ValueError, match=r"`n_basis`: expected at least 2 functions, got 1"):
        kind(0.0, 1.0, n_basis=1)


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("kind", [ExpNormalBasis, GaussianBasis])
def test_both_backends_train_alike(kind: type[ExpNormalBasis], trainable: bool) -> None:
    basis = kind(0.0, 1.0, n_basis=4, envelope="cosine", trainable=trainable).double()
    distance = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64, requires_grad=True)
    leaves = [distance, *basis.parameters()]
    found = {}
    for backend in ("kernel", "reference"):
        first = torch.autograd.grad(basis(distance, backend=backend).sin().sum(), leaves, create_graph=True)
        found[backend] = torch.autograd.grad(sum(each.square().sum() for each in first), leaves)
    for one, other in zip(found["kernel"], found["reference"], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
