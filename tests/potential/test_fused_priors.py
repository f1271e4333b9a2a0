"""All analytic terms in one evaluation: the compiled operator against the closed forms in PyTorch."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from flashmd.ops import _extension
from flashmd.potential import SumPotential
from flashmd.potential.priors import Prior
from flashmd.potential.priors.features import DISTANCE, Feature
from flashmd.potential.priors.fused import FusedPriors
from flashmd.potential.priors.kernel_forms import has_kernel, pack_priors
from flashmd.protocols import Evaluation
from flashmd.system import System
from tests.potential.build import CASES, chain, every_prior, prior

pytestmark = pytest.mark.skipif(bool(_extension._PROBLEM), reason="the compiled operators are not built")

FLOAT64_TOLERANCE = 1e-12
"""Relative to the largest number: some tens of roundings."""
FLOAT32_TOLERANCE = 1e-5
"""Positions alone carry 6e-8, which (sigma/d)^6 and third harmonics multiply by about twenty."""
STEP = 1e-6


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return str(request.param)


def periodic(system: System, pbc: tuple[bool, bool, bool] = (True, True, True)) -> System:
    """Put a chain into a triclinic cell smaller than the chain."""
    cell = torch.tensor([[1.9, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.4, 0.6, 2.1]]).to(system.positions)
    return dataclasses.replace(system, cell=cell[None], pbc=torch.tensor([pbc]))


def ragged() -> System:
    """Different molecules, cells and numbers of atoms; one molecule twice."""
    slab = periodic(chain(8, seed=5), (True, False, True))
    return System.concatenate([chain(9, seed=3), periodic(chain(24, seed=4)), chain(4, seed=7), slab, chain(9, seed=6)])


def assert_close(found: Evaluation, expected: Evaluation, tolerance: float) -> None:
    for name in ("energy", "forces", "virial"):
        one, other = getattr(found, name), getattr(expected, name)
        scale = max(float(other.abs().max()), 1.0) if other.numel() else 1.0
        torch.testing.assert_close(one.cpu().double(), other.cpu(), rtol=0.0, atol=tolerance * scale, msg=name)


def assert_same_bits(one: Evaluation, other: Evaluation) -> None:
    assert torch.equal(one.energy, other.energy)
    assert torch.equal(one.forces, other.forces)
    assert torch.equal(one.virial, other.virial)


@pytest.mark.parametrize("name", [*CASES, "all"])
def test_agrees_with_the_closed_forms(name: str, device: str) -> None:
    priors = list(every_prior().values()) if name == "all" else [prior(name)]
    assert all(has_kernel(each) for each in priors)
    system = ragged()
    expected = FusedPriors(priors, backend="reference").evaluate(system, virial=True)
    system, priors = system.to(device=device), [each.to(device) for each in priors]
    assert_close(FusedPriors(priors).evaluate(system, virial=True), expected, FLOAT64_TOLERANCE)
    single = FusedPriors([each.float() for each in priors]).evaluate(system.to(dtype=torch.float32), virial=True)
    assert single.forces.dtype == torch.float32
    assert single.energy.dtype == torch.float64
    assert_close(single, expected, FLOAT32_TOLERANCE)


def test_agrees_with_autograd() -> None:
    priors, system = every_prior(), ragged()
    found = FusedPriors(list(priors.values())).evaluate(system, virial=True)
    positions = system.positions.clone().requires_grad_()
    total = sum(each.energy(system.with_positions(positions)) for each in priors.values())
    torch.testing.assert_close(found.energy, total.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.forces, -torch.autograd.grad(total.sum(), positions)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_forces_are_differences_of_the_energy(name: str) -> None:
    system, evaluator = periodic(chain(8, seed=4)), FusedPriors([prior(name)])
    forces = evaluator.evaluate(system).forces
    for atom in range(0, 8, 3):
        for axis in range(3):
            energies = []
            for sign in (1.0, -1.0):
                moved = system.positions.clone()
                moved[atom, axis] += sign * STEP
                energies.append(float(evaluator.evaluate(system.with_positions(moved)).energy))
            slope = (energies[0] - energies[1]) / (2.0 * STEP)
            assert float(forces[atom, axis]) == pytest.approx(-slope, rel=1e-6, abs=1e-6 * float(forces.abs().max()))


def test_virial_is_the_derivative_by_strain() -> None:
    system, evaluator = periodic(chain(8, seed=4)), FusedPriors(list(every_prior().values()))
    virial = evaluator.evaluate(system, virial=True).virial[0]
    assert evaluator.evaluate(system).virial is None
    for a, b in ((0, 0), (1, 2), (2, 0)):
        energies = []
        for sign in (1.0, -1.0):
            deformation = torch.eye(3, dtype=torch.float64)
            deformation[a, b] += sign * STEP
            strained = dataclasses.replace(
                system, positions=system.positions @ deformation, cell=system.cell @ deformation
            )
            energies.append(float(evaluator.evaluate(strained).energy))
        slope = (energies[0] - energies[1]) / (2.0 * STEP)
        assert float(virial[a, b]) == pytest.approx(slope, rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_batch_equals_loop_over_systems_bit_for_bit(dtype: torch.dtype, device: str) -> None:
    priors = [each.to(device=device, dtype=dtype) for each in every_prior().values()]
    # The last ones are long enough to be cut into slabs.
    system = System.concatenate([ragged(), chain(120, seed=8), chain(90, seed=9)]).to(device=device, dtype=dtype)
    whole = FusedPriors(priors).evaluate(system, virial=True)
    parts = [FusedPriors(priors).evaluate(part, virial=True) for part in system.split()]
    joined = Evaluation(
        torch.cat([part.energy for part in parts]),
        torch.cat([part.forces for part in parts]),
        torch.cat([part.virial for part in parts]),
    )
    assert_same_bits(whole, joined)


@pytest.mark.parametrize("n_copies", [3, 40])
def test_replicas_share_one_copy_of_the_terms_and_keep_their_bits(n_copies: int, device: str) -> None:
    priors = [each.to(device=device, dtype=torch.float32) for each in every_prior().values()]
    single = chain(90, seed=8, dtype=torch.float32).to(device=device)
    replicas = single.replicate(n_copies)
    plan = pack_priors(priors, replicas)
    assert plan.n_templates == 1
    assert plan.tensors[0].shape == pack_priors(priors, single).tensors[0].shape
    alone = FusedPriors(priors).evaluate(single, virial=True)
    every = FusedPriors(priors).evaluate(replicas, virial=True)
    repeated = Evaluation(
        alone.energy.repeat(n_copies), alone.forces.repeat(n_copies, 1), alone.virial.repeat(n_copies, 1, 1)
    )
    assert_same_bits(every, repeated)


def test_threads_do_not_change_a_bit() -> None:
    priors = [each.float() for each in every_prior().values()]
    system = chain(120, seed=8, dtype=torch.float32)
    n_threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 1):
            torch.set_num_threads(count)
            one, many = FusedPriors(priors), FusedPriors(priors)
            results.append((one.evaluate(system, virial=True), many.evaluate(system.replicate(17), virial=True)))
    finally:
        torch.set_num_threads(n_threads)
    for other in results[1:]:
        assert_same_bits(results[0][0], other[0])
        assert_same_bits(results[0][1], other[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "points",
    [
        pytest.param([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.6, 0.0, 0.0], [0.9, 0.0, 0.0]], id="straight"),
        pytest.param([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.1, 0.0, 0.0], [0.4, 0.0, 0.0]], id="folded"),
        pytest.param([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.6, 0.0, 0.0], [0.6, 0.4, 0.0]], id="half_straight"),
    ],
)
def test_collinear_atoms(points: list[list[float]], dtype: torch.dtype) -> None:
    system = chain(4, dtype=dtype).with_positions(torch.tensor(points, dtype=dtype))
    for name in CASES:
        found = FusedPriors([prior(name).to(dtype)]).evaluate(system, virial=True)
        expected = FusedPriors([prior(name)], backend="reference").evaluate(system.to(dtype=torch.float64), virial=True)
        assert torch.isfinite(found.forces).all(), name
        if dtype == torch.float64:
            assert_close(found, expected, FLOAT64_TOLERANCE)


def test_atoms_at_one_point() -> None:
    system = chain(4).with_positions(torch.zeros(4, 3, dtype=torch.float64))
    for name in ("bonds", "angles", "angles_raw", "dihedrals", "exp_repulsion", "cutoff_exp_repulsion"):
        found = FusedPriors([prior(name)]).evaluate(system)
        expected = FusedPriors([prior(name)], backend="reference").evaluate(system)
        torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.forces, expected.forces, rtol=1e-12, atol=1e-12)
    assert not torch.isfinite(FusedPriors([prior("repulsion")]).evaluate(system).energy)


@pytest.mark.parametrize("name", ["cutoff_repulsion", "cutoff_exp_repulsion"])
def test_nothing_at_and_beyond_the_cutoff(name: str) -> None:
    each = prior(name)
    cutoff = each.constants()["cutoff"]
    dimer = chain(3).with_positions(torch.zeros(3, 3, dtype=torch.float64))
    for distance, inside in ((cutoff - 1e-3, True), (cutoff, False), (cutoff + 1e-3, False), (9.0, False)):
        positions = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.2, 0.0], [distance, 0.0, 0.0]], dtype=torch.float64)
        found = FusedPriors([each]).evaluate(dimer.with_positions(positions))
        assert bool(found.energy != 0.0) == inside
        assert bool(found.forces.any()) == inside


def test_systems_without_terms() -> None:
    system = System.concatenate([chain(3), chain(9), chain(3)])
    priors = [prior("dihedrals"), prior("short_dihedrals")]
    found = FusedPriors(priors).evaluate(system, virial=True)
    assert_close(found, FusedPriors(priors, backend="reference").evaluate(system, virial=True), FLOAT64_TOLERANCE)
    assert float(found.energy[0]) == 0.0
    empty = dataclasses.replace(chain(3), interactions={"bonds": torch.zeros(0, 2, dtype=torch.int64)})
    nothing = FusedPriors([prior("bonds")]).evaluate(empty, virial=True)
    assert not any(bool(each.any()) for each in (nothing.energy, nothing.forces, nothing.virial))
    with pytest.raises(ValueError, match=r"`interactions\['angles'\]`: expected \[n_terms, 3\], got \['bonds'\]"):
        FusedPriors([prior("angles")]).evaluate(empty)


def test_changed_lists_and_tables_are_seen() -> None:
    bonds, system = prior("bonds"), chain(6)
    evaluator = FusedPriors([bonds])
    first = float(evaluator.evaluate(system).energy)
    fewer = dataclasses.replace(system, interactions={"bonds": system.interactions["bonds"][:2]})
    assert float(evaluator.evaluate(fewer).energy) < first
    with torch.no_grad():
        bonds.values.mul_(torch.tensor([2.0, 1.0]))
    assert float(evaluator.evaluate(system).energy) == pytest.approx(2.0 * first, rel=1e-12)
    whole = evaluator.evaluate(system.to(dtype=torch.float32))
    assert whole.forces.dtype == torch.float32


class _Linear(Prior):
    """A term of another package: k d."""

    feature: ClassVar[Feature] = DISTANCE
    columns: ClassVar[tuple[str, ...]] = ("k",)

    @staticmethod
    def term_energy(value: Tensor, parameters: Tensor) -> Tensor:
        return parameters[0] * value

    @staticmethod
    def term_slope(value: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return parameters[0] * value, parameters[0]


def test_classes_without_a_kernel() -> None:
    types = torch.cartesian_prod(torch.arange(1, 4), torch.arange(1, 4))
    other = _Linear("bonds", (types, {"k": torch.full((9,), 3.0)})).double()
    system = chain(6)
    assert not has_kernel(other)
    total = SumPotential({"linear": other, "angles": prior("angles")}).evaluate(system, virial=True)
    expected = [each.evaluate(system, virial=True) for each in (other, prior("angles"))]
    torch.testing.assert_close(total.forces, expected[0].forces + expected[1].forces, rtol=1e-13, atol=1e-13)
    assert float(expected[0].energy) == pytest.approx(3.0 * 5 * 0.38, rel=1e-12)


def test_reference_backend_stays_in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the compiled operator was called")

    monkeypatch.setattr("flashmd.potential.priors.fused.prior_terms", refuse)
    plain = SumPotential(every_prior(backend="reference"))
    assert torch.isfinite(plain.evaluate(chain(6)).energy).all()
    with pytest.raises(AssertionError, match="the compiled operator was called"):
        SumPotential(every_prior()).evaluate(chain(6))
