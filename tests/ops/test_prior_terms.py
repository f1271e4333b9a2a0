"""The layout of analytic terms and the operator that reads it, with terms of one kind and known sums."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from flashmd.ops import _extension
from flashmd.ops.prior_layout import PriorForm, TermGroup, pack_terms
from flashmd.ops.prior_terms import prior_terms
from flashmd.system import System

pytestmark = pytest.mark.skipif(bool(_extension._PROBLEM), reason="the compiled operators are not built")

FLOAT64_TOLERANCE = 1e-12
FLOAT32_TOLERANCE = 5e-6


def points(n_atoms: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> System:
    generator = torch.Generator().manual_seed(seed)
    grid = torch.cartesian_prod(*[torch.arange(7, dtype=torch.float64)] * 3)[:n_atoms]
    positions = 0.4 * grid + 0.1 * torch.rand(n_atoms, 3, generator=generator, dtype=torch.float64)
    return System.single(positions.to(dtype), torch.ones(n_atoms, dtype=torch.int64))


def repulsion(pairs: torch.Tensor, seed: int = 1) -> TermGroup:
    generator = torch.Generator().manual_seed(seed)
    squares = 0.05 + 0.1 * torch.rand(1, len(pairs), generator=generator, dtype=torch.float64)
    return TermGroup(PriorForm.REPULSION, pairs, squares)


def expected_of(group: TermGroup, system: System) -> tuple[torch.Tensor, torch.Tensor]:
    positions = system.positions.double().requires_grad_()
    start, end = positions[group.index].unbind(1)
    energy = (group.parameters[0] / (end - start).square().sum(1)).pow(3).sum()
    return energy.detach(), -torch.autograd.grad(energy, positions)[0]


def in_dtype(group: TermGroup, dtype: torch.dtype) -> TermGroup:
    return dataclasses.replace(group, parameters=group.parameters.to(dtype))


def layout_of(terms: object) -> int:
    return int(terms.tensors[2][0, 1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("n_atoms", [2, 17, 90])
def test_both_layouts_on_every_instruction_set(n_atoms, kind, dtype, instruction_set):
    pairs = torch.combinations(torch.arange(n_atoms), 2)
    # Every eleventh pair, some of them reversed, fills too few lanes for rows of neighbours.
    group = repulsion(pairs if kind == "dense" else pairs[::11].flip(1))
    system = points(n_atoms, dtype=dtype)
    terms = pack_terms([in_dtype(group, dtype)], system)
    if n_atoms == 90:
        assert layout_of(terms) == (1 if kind == "dense" else 0)
    found = prior_terms(system, terms, instruction_set=instruction_set)
    energy, forces = expected_of(group, system)
    bound = FLOAT64_TOLERANCE if dtype == torch.float64 else FLOAT32_TOLERANCE
    assert float(found.energy) == pytest.approx(float(energy), rel=bound)
    torch.testing.assert_close(found.forces.double(), forces, rtol=0.0, atol=bound * float(forces.abs().max()))


def test_pairs_listed_twice_count_twice():
    pairs = torch.combinations(torch.arange(20), 2)
    once = repulsion(pairs)
    doubled = torch.cat([once.parameters, once.parameters], 1)
    twice = TermGroup(PriorForm.REPULSION, torch.cat([pairs, pairs.flip(1)]), doubled)
    system = points(20)
    terms = pack_terms([twice], system)
    assert layout_of(terms) == 1
    energy, forces = expected_of(once, system)
    found = prior_terms(system, terms)
    assert float(found.energy) == pytest.approx(2.0 * float(energy), rel=FLOAT64_TOLERANCE)
    torch.testing.assert_close(found.forces, 2.0 * forces, rtol=FLOAT64_TOLERANCE, atol=1e-12)


def test_strided_and_shuffled_inputs():
    system, group = points(40), repulsion(torch.combinations(torch.arange(40), 2))
    terms = pack_terms([group], system)
    plain = prior_terms(system, terms)
    strided = torch.stack([system.positions, torch.full_like(system.positions, torch.nan)], -1)[..., 0]
    assert torch.equal(prior_terms(system.with_positions(strided), terms).forces, plain.forces)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    place = torch.argsort(order)
    moved = TermGroup(group.form, place[group.index], group.parameters)
    shuffled = system.with_positions(system.positions[order])
    found = prior_terms(shuffled, pack_terms([moved], shuffled))
    torch.testing.assert_close(found.forces, plain.forces[order], rtol=1e-11, atol=1e-11)


def test_equal_systems_share_a_template():
    one, other = points(12), points(12, seed=5)
    pairs = torch.combinations(torch.arange(12), 2)
    batch = System.concatenate([one, other, one])
    index = torch.cat([pairs, pairs + 12, pairs + 24])
    same = TermGroup(PriorForm.REPULSION, index, repulsion(pairs).parameters.repeat(1, 3))
    assert pack_terms([same], batch).n_templates == 1
    different = dataclasses.replace(same, parameters=same.parameters.clone())
    different.parameters[0, len(pairs)] *= 2.0
    terms = pack_terms([different], batch)
    assert terms.n_templates == 2
    assert terms.tensors[-1].tolist() == [0, 1, 0]
    assert (
        pack_terms([dataclasses.replace(same, index=index[:-1], parameters=same.parameters[:, :-1])], batch).n_templates
        == 2
    )


def test_order_of_the_list_does_not_move_terms_between_systems():
    batch = System.concatenate([points(6), points(6, seed=4)])
    pairs = torch.combinations(torch.arange(6), 2)
    group = repulsion(torch.stack([pairs, pairs + 6], 1).flatten(0, 1))
    found = prior_terms(batch, pack_terms([group], batch))
    _, forces = expected_of(group, batch)
    torch.testing.assert_close(found.forces, forces, rtol=0.0, atol=1e-12 * float(forces.abs().max()))
    first = TermGroup(group.form, group.index[::2], group.parameters[:, ::2])
    assert float(found.energy[0]) == pytest.approx(float(expected_of(first, batch)[0]), rel=FLOAT64_TOLERANCE)


@pytest.mark.parametrize("term", [(3, 4), (0, 8), (-1, 0)])
def test_terms_across_systems_are_refused(term):
    group = repulsion(torch.tensor([[0, 1], term]))
    text = rf"every term of `interactions`: expected atoms of one system of the batch, got \({term[0]}, {term[1]}\)"
    with pytest.raises(ValueError, match=text):
        pack_terms([group], System.concatenate([points(4), points(4)]))


def test_wrong_plans_are_refused():
    system, group = points(6), repulsion(torch.combinations(torch.arange(6), 2))
    terms = pack_terms([group], system)
    with pytest.raises(RuntimeError, match=r"`cell` and parameters: expected the dtype of the positions, got another"):
        prior_terms(system.to(dtype=torch.float32), terms)
    with pytest.raises(RuntimeError, match=r"the plan of the terms: expected one made for this batch, got another"):
        prior_terms(system.replicate(2), terms)
    inverted = pack_terms([group], system, inverted=True)
    with pytest.raises(RuntimeError, match=r"the plan of the terms: expected tables with the columns of this build"):
        prior_terms(system, inverted)


def test_traces():
    system, group = points(20), repulsion(torch.combinations(torch.arange(20), 2))
    terms = pack_terms([group], system)
    arguments = (system.positions, system.ptr, system.cell, system.pbc, *terms.tensors)
    for virial in (False, True):
        torch.library.opcheck(
            torch.ops.flashmd.prior_terms.default, (*arguments, virial), test_utils=("test_schema", "test_faketensor")
        )
