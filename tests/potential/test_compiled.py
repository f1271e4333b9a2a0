"""Compiled potentials: accurate as measured, consistent as any potential, and frozen."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from flashmd.errors import ToleranceNotMetError
from flashmd.ops import edge_geometry
from flashmd.potential import Potential, SumPotential, cut_repulsion
from flashmd.potential.compiled import CompiledPotential, network
from flashmd.protocols import EnergyModel, Evaluation
from flashmd.system import System
from tests.physics.test_potential_gradient import NETWORKS
from tests.potential.build import BACKEND, BACKENDS, chain, every_prior, rotation, schnet

STEP = 1e-5
"""Displacement of the central differences, nm."""
RELATIVE = 1e-7
SINGLE = 2e-5
"""Rounding of a hundred operations in single precision."""

CELL = [[[1.1, 0.0, 0.0], [0.2, 1.0, 0.0], [-0.1, 0.3, 1.2]]]


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks are settled with fewer frames than those that are used."""
    monkeypatch.setattr(network, "MEASUREMENT_ATOMS", 48)
    monkeypatch.setattr(network, "CALIBRATION_ATOMS", 64)


def periodic(system: System) -> System:
    """Put a chain in a cell hardly larger than the cutoff."""
    cell = torch.tensor(CELL, dtype=system.positions.dtype)
    return dataclasses.replace(system, cell=cell, pbc=torch.ones(1, 3, dtype=torch.bool))


def total(**options: object) -> SumPotential:
    return SumPotential({"SchNet": schnet(), **every_prior()}, **options)


def relative(result: torch.Tensor, expected: torch.Tensor) -> float:
    return float((result.double() - expected.double()).norm() / expected.double().norm())


def central_differences(model: EnergyModel, system: System) -> torch.Tensor:
    """Return -dE/dx, one batch with a copy of the system for each displaced coordinate."""
    n_atoms = system.n_atoms
    batch = system.replicate(6 * n_atoms)
    moves = STEP * torch.cat([torch.eye(3 * n_atoms), -torch.eye(3 * n_atoms)]).to(torch.float64)
    plus, minus = model.evaluate(batch.with_positions(batch.positions + moves.view(-1, 3))).energy.chunk(2)
    return ((minus - plus) / (2.0 * STEP)).view(n_atoms, 3)


def strain_differences(model: EnergyModel, system: System) -> torch.Tensor:
    out = torch.zeros(3, 3, dtype=torch.float64)
    for row in range(3):
        for column in range(3):
            energies = []
            for sign in (STEP, -STEP):
                matrix = torch.eye(3, dtype=torch.float64)
                matrix[row, column] += sign
                strained = dataclasses.replace(system, positions=system.positions @ matrix, cell=system.cell @ matrix)
                energies.append(float(model.evaluate(strained).energy))
            out[row, column] = (energies[0] - energies[1]) / (2.0 * STEP)
    return out


def agree(result: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(result, expected, rtol=0.0, atol=RELATIVE * float(expected.abs().max()) + 1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_table_against_the_network(name: str, backend: str) -> None:
    system, potential = chain(9, seed=4), schnet(**NETWORKS[name])
    compiled = potential.compile(system, backend=backend, tolerance=1e-6)
    exact, result = potential.evaluate(system, virial=True), compiled.evaluate(system, virial=True)
    assert compiled.reports["SchNet"].force_error <= 1e-6
    assert relative(result.forces, exact.forces) < 1e-6
    assert relative(result.virial, exact.virial) < 2e-6
    assert relative(result.energy, exact.energy) < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int16"])
def test_forces_and_virial_are_derivatives_of_the_compiled_energy(precision: str, backend: str) -> None:
    system = periodic(chain(6, seed=2))
    compiled = schnet().compile(system, precision=precision, tolerance=0.1, backend=backend)
    result = compiled.evaluate(system, virial=True)
    agree(result.forces, central_differences(compiled, system))
    agree(result.virial[0], strain_differences(compiled, system))


@pytest.mark.parametrize("backend", BACKENDS)
def test_coarse_tables_have_exact_forces_too(backend: str) -> None:
    """The error of the table is in the energy and in the forces alike."""
    system, potential = chain(7, seed=3), schnet()
    compiled = potential.compile(system, tolerance=0.5, backend=backend)
    result = compiled.evaluate(system)
    agree(result.forces, central_differences(compiled, system))
    assert relative(result.forces, potential.evaluate(system).forces) > 1e-9


@pytest.mark.parametrize("backend", BACKENDS)
def test_forces_are_continuous_where_intervals_meet(backend: str) -> None:
    compiled = schnet().compile(chain(), tolerance=0.5, backend=backend)
    spacing = 0.9 / (compiled.reports["SchNet"].n_knots - 1)
    forces = []
    for knot in (100, 101, 102):
        for gap in (-1e-10, 1e-10):
            x = torch.tensor([[0.0, 0.0, 0.0], [knot * spacing + gap, 0.0, 0.0]], dtype=torch.float64)
            forces.append(compiled.evaluate(System.single(x, torch.tensor([1, 2]))).forces[0, 0])
    left, right = torch.stack(forces[::2]), torch.stack(forces[1::2])
    torch.testing.assert_close(left, right, rtol=0.0, atol=1e-7)
    assert float((left[1:] - left[:-1]).abs().min()) > 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("filters", ["table", "network"])
def test_sum_of_network_and_priors(filters: str, dtype: torch.dtype, backend: str) -> None:
    system = System.concatenate([chain(7, seed=1), chain(5, seed=2)])
    potential = total()
    compiled = potential.compile(system.to(dtype=dtype), filters=filters, backend=backend)
    exact = potential.evaluate(system, virial=True)
    result = compiled.evaluate(system.to(dtype=dtype), virial=True)
    assert (result.energy.dtype, result.forces.dtype, result.virial.dtype) == (torch.float64, dtype, torch.float64)
    for name in ("energy", "forces", "virial"):
        assert relative(getattr(result, name), getattr(exact, name)) < SINGLE
    assert compiled.evaluate(system.to(dtype=dtype)).virial is None


def test_nested_sums_and_other_potentials() -> None:
    system = chain()
    inner = SumPotential({"SchNet": schnet(), "bonds": every_prior()["bonds"]}, name="inner")
    potential = SumPotential({"inner": inner, "wells": _Wells(), "angles": every_prior()["angles"]})
    compiled = potential.compile(system)
    assert list(compiled.reports) == ["inner.SchNet"]
    assert relative(compiled.evaluate(system).forces, potential.evaluate(system).forces) < 1e-5
    assert list(compiled.list_state()) == ["inner.SchNet/pairs"]


def test_priors_alone() -> None:
    system, potential = chain(), every_prior()["bonds"]
    compiled = potential.compile(system)
    torch.testing.assert_close(compiled.evaluate(system).forces, potential.evaluate(system).forces)
    assert compiled.reports == {}
    assert compiled.cutoff == 0.0


def test_repulsion_ends_where_it_is_told() -> None:
    system = chain(9)
    potential = SumPotential({"SchNet": schnet(), "repulsion": every_prior()["repulsion"]})
    compiled = potential.compile(system, repulsion_cutoff=0.8)
    cut, report = cut_repulsion(potential, 0.8, system)
    assert compiled.repulsion_report == report
    assert relative(compiled.evaluate(system).forces, cut.evaluate(system).forces) < 1e-5
    assert relative(compiled.evaluate(system).forces, potential.evaluate(system).forces) > 1e-4
    assert potential.compile(system).repulsion_report is None
    with pytest.raises(ValueError, match="expected a term of `Repulsion` or `ExpRepulsion`, got none"):
        schnet().compile(system, repulsion_cutoff=0.8)


class _Wells(Potential):
    """A potential of a class that compiling does not know."""

    def __init__(self) -> None:
        super().__init__("wells")

    def energy(self, system: System) -> torch.Tensor:
        return torch.zeros(system.n_systems, dtype=torch.float64).index_add(
            0, system.batch, system.positions.square().sum(1)
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_is_a_loop_over_its_systems(backend: str) -> None:
    systems = [chain(7, seed=1), chain(4, seed=2), chain(9, seed=3)]
    compiled = schnet().compile(systems[0], backend=backend)
    batch = compiled.evaluate(System.concatenate(systems), virial=True)
    parts = [compiled.evaluate(system, virial=True) for system in systems]
    for name in ("energy", "forces", "virial"):
        joined = torch.cat([getattr(part, name) for part in parts])
        bound = 0.0 if backend == "kernel" else 1e-13
        torch.testing.assert_close(getattr(batch, name), joined, rtol=bound, atol=bound)


@pytest.mark.skipif(BACKEND != "kernel", reason="the operators are not compiled")
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int16"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_and_reference_agree(dtype: torch.dtype, precision: str) -> None:
    system = periodic(System.concatenate([chain(8, seed=1)])).to(dtype=dtype)
    results = [
        schnet().compile(system, precision=precision, tolerance=0.1, backend=backend).evaluate(system, virial=True)
        for backend in ("kernel", "reference")
    ]
    for name in ("energy", "forces", "virial"):
        kernel, reference = (getattr(result, name) for result in results)
        # Stored layers are refined with difference quotients, each with the rounding of its backend.
        double = 1e-12 if precision == "float32" else 1e-6
        assert relative(kernel, reference) < (SINGLE if dtype == torch.float32 else double)


def test_pairs_follow_the_cell() -> None:
    """Lattice vectors are read when a list is converted; another cell with the same list needs new ones."""
    potential, system = schnet(), periodic(chain(6, seed=2))
    compiled = potential.compile(system, tolerance=1e-7)
    compiled.evaluate(system)
    system.cell.mul_(1.01)
    assert relative(compiled.evaluate(system).forces, potential.evaluate(system).forces) < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_symmetries(backend: str) -> None:
    system = chain(8, seed=5)
    compiled = schnet().compile(system, backend=backend)
    result = compiled.evaluate(system)
    matrix, order = rotation(), torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    turned = compiled.evaluate(system.with_positions(system.positions @ matrix.t() + 3.0))
    torch.testing.assert_close(turned.forces, result.forces @ matrix.t(), rtol=1e-9, atol=1e-11)
    permuted = compiled.evaluate(System.single(system.positions[order], system.types[order]))
    torch.testing.assert_close(permuted.forces, result.forces[order], rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(permuted.energy, result.energy, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_isolated_atoms_and_empty_graphs(backend: str) -> None:
    potential = schnet()
    compiled = potential.compile(chain(), backend=backend)
    x = torch.tensor([[0.0, 0.0, 0.0], [0.4, 0.0, 0.0], [9.0, 0.0, 0.0]], dtype=torch.float64)
    for positions in (x, x[[0, 2]], x[:1]):
        system = System.single(positions, torch.tensor([1, 2, 3])[: len(positions)])
        result, exact = compiled.evaluate(system, virial=True), potential.evaluate(system)
        torch.testing.assert_close(result.energy, exact.energy, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(result.forces, exact.forces, rtol=1e-4, atol=1e-9)
        assert not bool(result.forces[-1].any())


@pytest.mark.parametrize("backend", BACKENDS)
def test_pairs_of_the_skin_do_not_count(backend: str) -> None:
    potential = schnet(skin=0.3)
    compiled = potential.compile(chain(), backend=backend)
    x = torch.tensor([[0.0, 0.0, 0.0], [0.85, 0.0, 0.0]], dtype=torch.float64)
    near, far = (System.single(x * factor, torch.tensor([1, 2])) for factor in (1.0, 1.1))
    assert bool(compiled.evaluate(near).forces.any())
    assert not bool(compiled.evaluate(far).forces.any())


def test_later_changes_do_not_reach_it() -> None:
    system, potential = chain(), total()
    compiled = potential.compile(system)
    before = compiled.evaluate(system)
    with torch.no_grad():
        for tensor in [*potential.parameters(), *potential.buffers()]:
            if tensor.is_floating_point():
                tensor.mul_(1.5)
    after = compiled.evaluate(system)
    assert torch.equal(after.energy, before.energy)
    assert torch.equal(after.forces, before.forces)


def test_it_leaves_the_potential_as_it_was() -> None:
    system, potential = chain(), total()
    state = {name: tensor.clone() for name, tensor in potential.state_dict().items()}
    expected = potential.evaluate(system)
    potential.compile(system.to(dtype=torch.float32), precision="bfloat16", tolerance=1.0)
    assert all(torch.equal(tensor, state[name]) for name, tensor in potential.state_dict().items())
    assert all(parameter.requires_grad for parameter in potential.parameters())
    assert torch.equal(potential.evaluate(system).forces, expected.forces)


def test_compiling_twice_gives_the_same_bits() -> None:
    system = chain(9).to(dtype=torch.float32)
    results = [schnet().compile(system, precision="bfloat16", tolerance=1.0).evaluate(system) for _ in range(2)]
    assert torch.equal(results[0].forces, results[1].forces)
    assert torch.equal(results[0].energy, results[1].energy)


def test_neighbour_lists_are_restored() -> None:
    """Sums run in the order of the list, which depends on when it was built."""
    system, compiled = chain(9), total().compile(chain(9))
    compiled.evaluate(system)
    moved = system.with_positions(system.positions + 0.03 * torch.sin(7.0 * system.positions.flip(1)))
    expected, state = compiled.evaluate(moved), compiled.list_state()
    assert list(state) == ["SchNet/pairs"]
    assert not torch.equal(state["SchNet/pairs"], moved.positions)
    other = total().compile(chain(9))
    other.restore_lists(moved, state)
    assert torch.equal(other.list_state()["SchNet/pairs"], state["SchNet/pairs"])
    assert torch.equal(other.evaluate(moved).forces, expected.forces)
    other.restore_lists(moved, {})
    assert other.list_state() == {}


def test_it_carries_what_runs_ask_for() -> None:
    potential = total()
    potential.metadata = {"origin": "test"}
    compiled = potential.compile(chain())
    assert isinstance(compiled, EnergyModel)
    assert (compiled.cutoff, compiled.bead_types, compiled.metadata) == (0.9, None, {"origin": "test"})


def test_report() -> None:
    compiled = schnet().compile(chain(9))
    report = compiled.reports["SchNet"]
    assert report.n_knots - 1 in {256, 384, 576, 864, 1296, 1944}
    assert 0.0 < report.force_error <= report.tolerance == 1e-5
    assert (report.plain_force_error, report.layers, report.dtype) == (None, (), "float64")
    distance = edge_geometry(chain(9), schnet().verlet_list.update(chain(9)))[1]
    assert report.shortest < float(distance.min()), "contracted copies bring shorter distances"
    text = str(report)
    assert f"a table of {report.n_knots} knots, float64: relative force error" in text
    assert "bfloat16" in str(schnet().compile(chain(9), precision="bfloat16", tolerance=1.0).reports["SchNet"])


def test_finer_tables_for_smaller_tolerances() -> None:
    knots = [schnet().compile(chain(9), tolerance=each).reports["SchNet"].n_knots for each in (1e-3, 1e-7, 1e-9)]
    assert knots[0] == 257
    assert knots[0] < knots[1] < knots[2]


def test_unreachable_tolerances_are_refused() -> None:
    single = chain(9).to(dtype=torch.float32)
    match = r"a relative force error of at most 1.0e-09, got \d.\de-\d\d at best. To fix it, use double precision"
    with pytest.raises(ToleranceNotMetError, match=match) as caught:
        schnet().compile(single, tolerance=1e-9)
    assert 1e-9 < caught.value.achieved < 1e-5
    with pytest.raises(ToleranceNotMetError, match="use double precision or a larger `tolerance`"):
        schnet().compile(single, tolerance=1e-9, filters="network")
    with pytest.raises(ToleranceNotMetError, match=r"choose another `precision` \(int16 is"):
        schnet().compile(chain(9), tolerance=1e-6, precision="bfloat16")


def test_wrong_arguments_are_named() -> None:
    system = chain()
    with pytest.raises(ValueError, match="`filters`: expected one of table, network, got 'spline'"):
        schnet().compile(system, filters="spline")
    with pytest.raises(ValueError, match="`precision`: expected one of float32, float16, bfloat16, int16, got 'int8'"):
        schnet().compile(system, precision="int8")
    with pytest.raises(ValueError, match=r"`tolerance`: expected a positive number, got -1.0"):
        schnet().compile(system, tolerance=-1.0)
    with pytest.raises(ValueError, match="`backend`"):
        schnet().compile(system, backend="magic")
    far = system.with_positions(system.positions * 50.0)
    with pytest.raises(ValueError, match=r"`template`: expected atoms within the cutoff of 0.9 nm, got no pair"):
        schnet().compile(far)
    with pytest.raises(ValueError, match="`types`: expected integers from 0 to 3"):
        schnet().compile(dataclasses.replace(system, types=system.types + 5))
    with pytest.raises(TypeError, match=r"`positions`: expected torch.float64 as the weights, got torch.float32"):
        schnet().compile(system).evaluate(system.to(dtype=torch.float32))
    compiled = schnet().compile(system)
    with pytest.raises(ValueError, match="`types`: expected integers from 0 to 3"):
        compiled.check(dataclasses.replace(system, types=system.types + 5))


def test_results_stay_when_other_batches_and_numbers_of_threads_follow() -> None:
    compiled, small, large = schnet().compile(chain()), chain(6), chain(9).replicate(30)
    n_threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            results.append([compiled.evaluate(system) for system in (small, small, large, small)])
    finally:
        torch.set_num_threads(n_threads)
    fresh = [schnet().compile(chain()).evaluate(system).forces for system in (small, small, large, small)]
    for found in results:
        assert all(map(torch.equal, [each.forces for each in found], fresh))


def test_threads_share_a_compiled_network() -> None:
    system, compiled = chain(9).replicate(40), schnet().compile(chain())
    expected = compiled.evaluate(system).forces
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: compiled.evaluate(system).forces, range(40)))
    assert all(torch.equal(each, expected) for each in found)


def test_within_inference_mode() -> None:
    system, compiled = chain(), total().compile(chain())
    expected = compiled.evaluate(system).forces
    with torch.inference_mode():
        inside = compiled.evaluate(system.with_positions(system.positions + 0.0)).forces
    torch.testing.assert_close(inside.clone(), expected, rtol=0.0, atol=0.0)
    torch.testing.assert_close(compiled.evaluate(system).forces, expected, rtol=0.0, atol=0.0)


def test_types() -> None:
    assert isinstance(schnet().compile(chain()), CompiledPotential)
    assert isinstance(schnet().compile(chain()).evaluate(chain()), Evaluation)
