"""Sums of potentials and what a network refuses."""

from __future__ import annotations

import pytest
import torch

from flashmd.nn import SchNetConfig
from flashmd.potential import Potential, SchNetPotential, SumPotential
from flashmd.potential.priors import Prior
from flashmd.protocols import EnergyModel
from flashmd.system import System
from tests.potential.build import BACKEND, chain, every_prior, prior, schnet


def test_sum_of_terms() -> None:
    parts: dict[str, Potential] = {"SchNet": schnet(), **every_prior()}
    total, system = SumPotential(parts), chain()
    assert isinstance(total, EnergyModel)
    terms = total.terms(system)
    assert list(terms) == list(parts)
    result = total.evaluate(system, virial=True)
    torch.testing.assert_close(result.energy, torch.stack(list(terms.values())).sum(0).detach(), rtol=1e-13, atol=1e-12)
    torch.testing.assert_close(total(system), total.energy(system), rtol=0.0, atol=0.0)
    each = [part.evaluate(system, virial=True) for part in parts.values()]
    torch.testing.assert_close(result.forces, torch.stack([e.forces for e in each]).sum(0), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(result.virial, torch.stack([e.virial for e in each]).sum(0), rtol=1e-11, atol=1e-11)


def test_two_networks_share_one_pass_and_keep_their_lists() -> None:
    near, far = schnet(cutoff_upper=0.5), schnet(cutoff_upper=1.1, n_blocks=1)
    total, system = SumPotential({"near": near, "far": far}), chain()
    result = total.evaluate(system, virial=True)
    one, two = near.evaluate(system, virial=True), far.evaluate(system, virial=True)
    torch.testing.assert_close(result.forces, one.forces + two.forces, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(result.virial, one.virial + two.virial, rtol=1e-12, atol=1e-13)
    assert total.cutoff == 1.1
    assert set(total.list_state()) == {"near/SchNet", "far/SchNet"}
    assert prior("bonds").cutoff == 0.0


def test_nested_sums() -> None:
    inner = SumPotential({"bonds": prior("bonds"), "angles": prior("angles")})
    outer, system = SumPotential({"inner": inner, "dihedrals": prior("dihedrals")}), chain()
    assert set(outer.terms(system)) == {"inner", "dihedrals"}
    expected = sum(float(prior(name).energy(system)) for name in ("bonds", "angles", "dihedrals"))
    assert float(outer.evaluate(system).energy) == pytest.approx(expected, rel=1e-13)


def test_bead_types_must_agree() -> None:
    def network(types: dict[str, int]) -> SchNetPotential:
        return SchNetPotential(SchNetConfig(n_types=3, n_blocks=1), bead_types=types, backend=BACKEND)

    assert SumPotential({"a": network({"ALA": 1}), "b": prior("bonds")}).bead_types == {"ALA": 1}
    with pytest.raises(ValueError, match=r"bead types of 'b': expected those of the other terms"):
        SumPotential({"a": network({"ALA": 1}), "b": network({"ALA": 2})})


def test_empty_sum_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`potentials`: expected at least one term, got none"):
        SumPotential({})


def test_check_names_uncovered_types() -> None:
    total = SumPotential({"SchNet": schnet()})
    system = System.single(torch.zeros(3, 3, dtype=torch.float64), torch.tensor([1, 9, 2]))
    with pytest.raises(ValueError, match=r"`types`: expected integers from 0 to 3, got type 9 of atom 1"):
        total.check(system)
    total.check(chain())


def test_dtype_of_positions_and_weights_must_agree() -> None:
    with pytest.raises(TypeError, match=r"`positions`: expected torch.float64 as the weights, got torch.float32"):
        schnet().evaluate(chain(dtype=torch.float32))


def test_energy_without_neighbours_has_zero_forces_and_virial() -> None:
    system = System.single(torch.zeros(1, 3, dtype=torch.float64), torch.tensor([1]))
    for potential in (schnet(), SumPotential({"a": schnet(), "b": schnet(n_blocks=1)})):
        result = potential.evaluate(system, virial=True)
        assert torch.equal(result.forces, torch.zeros(1, 3, dtype=torch.float64))
        assert torch.equal(result.virial, torch.zeros(1, 3, 3, dtype=torch.float64))
        assert float(result.energy) == float(potential.energy(system).detach())


@pytest.mark.parametrize("changed", ["types", "list", "table"])
def test_parameters_follow_changes_in_place(changed: str) -> None:
    """What is kept between steps must not outlive the numbers it was made of."""
    total, system = SumPotential({"SchNet": schnet(), **every_prior()}), chain()
    before = total.evaluate(system)
    if changed == "types":
        system.types[2] = 1 + int(system.types[2]) % 3
    elif changed == "list":
        system.interactions["bonds"][0] = torch.tensor([0, 2])
    else:
        bonds = total.potentials["bonds"]
        assert isinstance(bonds, Prior)
        bonds.values.mul_(1.5)
    after, alone = total.evaluate(system), sum(p.evaluate(system).energy for p in total.potentials.values())
    torch.testing.assert_close(after.energy, total.energy(system).detach(), rtol=1e-13, atol=1e-12)
    torch.testing.assert_close(after.energy, alone, rtol=1e-13, atol=1e-12)
    assert abs(float(after.energy - before.energy)) > 1e-3
    if changed != "table":
        other = SumPotential({"SchNet": schnet(), **every_prior()})
        torch.testing.assert_close(after.forces, other.evaluate(system).forces, rtol=1e-12, atol=1e-12)


def test_terms_can_be_replaced() -> None:
    total, system = SumPotential({"bonds": prior("bonds"), "angles": prior("angles")}), chain()
    total.evaluate(system)
    total.potentials["bonds"] = prior("bonds", seed=5)
    torch.testing.assert_close(total.evaluate(system).energy, total.energy(system).detach(), rtol=1e-13, atol=1e-13)
