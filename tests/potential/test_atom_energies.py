"""Shares of atoms in an energy: they sum to it, and belong to the atoms that cause them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from flashmd.ops import segment_sum
from flashmd.potential import AtomicEnergies, Potential, SumPotential
from flashmd.potential.compiled import network
from flashmd.system import System
from tests.potential.build import BACKEND, CASES, chain, every_prior, prior, schnet

ROUNDING = 1e-12
SINGLE = 2e-6
"""Relative rounding of sums over tens of atoms in single precision."""
CELL = torch.tensor([[[1.1, 0.0, 0.0], [0.2, 1.0, 0.0], [-0.1, 0.3, 1.2]]], dtype=torch.float64)


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MEASUREMENT_ATOMS", 48)
    monkeypatch.setattr(network, "CALIBRATION_ATOMS", 64)


def chains(*, periodic: bool) -> System:
    batch = System.concatenate([chain(7), chain(9, seed=1)])
    if not periodic:
        return batch
    return dataclasses.replace(batch, cell=CELL.expand(2, 3, 3), pbc=torch.ones(2, 3, dtype=torch.bool))


def everything() -> SumPotential:
    free = AtomicEnergies(dict.fromkeys(range(4), -1e5), backend=BACKEND)
    return SumPotential({"free": free, "SchNet": schnet(), **every_prior()})


def assert_shares_sum_to_energy(model: Potential, system: System, within: float) -> None:
    shares = model.atom_energies(system).detach().to(torch.float64)
    assert shares.shape == (system.n_atoms,)
    found, expected = segment_sum(shares, system.ptr, backend=BACKEND), model.evaluate(system).energy
    assert expected.abs().min() > 0.0
    torch.testing.assert_close(found, expected, rtol=within, atol=0.0)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_priors(name: str, periodic: bool) -> None:
    assert_shares_sum_to_energy(prior(name), chains(periodic=periodic), ROUNDING)


@pytest.mark.parametrize("periodic", [False, True])
def test_sums_and_compiled_sums(periodic: bool) -> None:
    system = chains(periodic=periodic)
    assert_shares_sum_to_energy(everything(), system, ROUNDING)
    for options in ({}, {"filters": "network"}, {"backend": "reference"}, {"precision": "int16"}):
        compiled = everything().compile(system, **({"backend": BACKEND} | options))  # type: ignore[arg-type]
        assert_shares_sum_to_energy(compiled, system, ROUNDING)  # type: ignore[arg-type]


def test_single_precision() -> None:
    system = chains(periodic=False).to(dtype=torch.float32)
    compiled = SumPotential({"SchNet": schnet(), **every_prior()}).compile(system, backend=BACKEND)
    assert_shares_sum_to_energy(compiled, system, SINGLE)  # type: ignore[arg-type]


def test_every_term_is_divided_equally() -> None:
    one, system = prior("bonds"), chain(3)
    left, middle, right = one.atom_energies(system).tolist()
    assert left + right == pytest.approx(middle, rel=ROUNDING)
    first = one.energy(dataclasses.replace(system, interactions={"bonds": system.interactions["bonds"][:1]}))
    assert left == pytest.approx(0.5 * float(first), rel=ROUNDING)


def test_no_terms() -> None:
    system = dataclasses.replace(chain(3), interactions={"bonds": torch.empty(0, 2, dtype=torch.int64)})
    assert prior("bonds").atom_energies(system).tolist() == [0.0, 0.0, 0.0]
    assert prior("bonds").energy(system).tolist() == [0.0]


def test_a_potential_without_shares() -> None:
    class Whole(Potential):
        def energy(self, system: System) -> torch.Tensor:
            return system.positions.sum()[None].to(torch.float64)

    with pytest.raises(TypeError, match=r"`Whole`: expected a potential that shares its energy among atoms"):
        Whole("whole").atom_energies(chain(3))
