"""The tabulated network by the CUDA kernels, run by the host, against the network it stands for."""

from __future__ import annotations

import itertools

import pytest
import torch

from flashmd.errors import NeighborOverflowError
from flashmd.nn import SchNet, SchNetConfig, half_edges
from flashmd.nn.filter_table import tabulate
from flashmd.nn.frozen import freeze
from flashmd.ops import neighbor_list, segment_sum
from flashmd.potential import SchNetPotential
from flashmd.potential.compiled.cuda import CudaLists, CudaTable
from flashmd.potential.compiled.cuda_plan import NOTHING, TABLE, TABLE_AND_FEATURES, Device, Workload, make_plan
from flashmd.potential.compiled.evaluators import TableReference
from flashmd.potential.compiled.network import CudaNetwork, compile_network
from flashmd.potential.compiled.options import CompileOptions
from flashmd.system import System

SINGLE = 2e-5
"""Forces in single precision, relative to the largest: sums of some hundred terms through two blocks."""
SMALL, LARGE, NONE = Device(1 << 14, 4), Device(227 << 10, 6), Device(0, 3)


def network(**changes):
    sizes = {"n_channels": 40, "n_filters": 36, "n_basis": 9, "n_blocks": 2, "readout": (20, 9)}
    return SchNet(SchNetConfig(n_types=5, cutoff_upper=0.9, **(sizes | changes)), seed=3).double()


def molecule(n_atoms, seed, *, pbc=False):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(n_atoms, 3, generator=generator, dtype=torch.float64) * 1.1
    types = torch.randint(0, 5, (n_atoms,), generator=generator)
    cell = torch.tensor([[1.2, 0.1, 0.0], [0.0, 1.3, 0.2], [0.1, 0.0, 1.4]], dtype=torch.float64)
    return System.single(positions, types, cell=cell if pbc else None, pbc=pbc)


def batch_of(pbc=False):
    return System.concatenate([molecule(n, seed, pbc=pbc) for seed, n in enumerate((17, 1, 33, 8))])


def frozen_and_expected(net, system, dtype=torch.float64, n_knots=40):
    frozen = freeze(net, tabulate(net, n_knots))
    pairs = half_edges(neighbor_list(system, net.config.cutoff_upper))
    expected = TableReference(frozen, "reference").evaluate(system, pairs, virial=True)
    return frozen.to(dtype), pairs, expected


def assert_agrees(found, expected, tolerance):
    for name in ("energy", "forces", "virial"):
        want = getattr(expected, name)
        got = getattr(found, name).to(torch.float64)
        assert float((got - want).abs().max()) <= tolerance * float(want.abs().max()), name


@pytest.mark.parametrize("pbc", [False, True])
@pytest.mark.parametrize("device", [NONE, SMALL, LARGE], ids=["nothing", "small", "large"])
def test_double_precision(device, pbc, emulated):
    system = batch_of(pbc)
    frozen, pairs, expected = frozen_and_expected(network(), system)
    found = CudaTable(frozen, ops=emulated, device=device).evaluate(system, pairs, virial=True)
    assert_agrees(found, expected, 1e-12)
    assert found.energy.dtype == torch.float64


@pytest.mark.parametrize("device", [NONE, SMALL, LARGE], ids=["nothing", "small", "large"])
def test_single_precision_in_both_orders_of_threads(device, emulated, in_both_orders):
    system = batch_of().to(dtype=torch.float32)
    frozen, pairs, expected = frozen_and_expected(network(), system.to(dtype=torch.float64), torch.float32)
    table = CudaTable(frozen, ops=emulated, device=device)

    def run():
        found = table.evaluate(system, pairs, virial=True)
        return found.energy, found.forces, found.virial

    assert_agrees(type(expected)(*in_both_orders(run)), expected, SINGLE)


@pytest.mark.parametrize("activation", ["tanh", "ssp", "silu"])
@pytest.mark.parametrize(("n_filters", "readout"), [(32, ()), (65, (7,)), (128, (64, 30, 5))])
def test_sizes_and_activations(n_filters, readout, activation, emulated):
    net = network(n_filters=n_filters, readout=readout, activation=activation, n_blocks=3, n_channels=70)
    system = molecule(21, 5)
    frozen, pairs, expected = frozen_and_expected(net, system)
    assert_agrees(CudaTable(frozen, ops=emulated, device=LARGE).evaluate(system, pairs, virial=True), expected, 1e-12)


def test_a_batch_is_a_loop_over_its_systems(emulated):
    system = batch_of().to(dtype=torch.float32)
    frozen, pairs, _ = frozen_and_expected(network(), system.to(dtype=torch.float64), torch.float32)
    table = CudaTable(frozen, ops=emulated, device=LARGE)
    together = table.evaluate(system, pairs, virial=True)
    alone = [CudaLists(table, 0.9, skin=0.1).evaluate(part, virial=True) for part in system.split()]
    for name in ("energy", "forces", "virial"):
        assert torch.equal(getattr(together, name), torch.cat([getattr(each, name) for each in alone])), name


def test_energies_of_atoms(emulated):
    system = batch_of(pbc=True)
    frozen, pairs, expected = frozen_and_expected(network(), system)
    atoms = CudaTable(frozen, ops=emulated, device=LARGE).atom_energies(system, pairs)
    torch.testing.assert_close(segment_sum(atoms, system.ptr, backend="reference"), expected.energy)


def test_no_atoms(emulated):
    frozen, _, _ = frozen_and_expected(network(), molecule(3, 0))
    empty = System.single(torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, dtype=torch.int64))
    found = CudaLists(CudaTable(frozen, ops=emulated, device=LARGE), 0.9, skin=0.1).evaluate(empty)
    assert found.energy.tolist() == [0.0]
    assert found.forces.shape == (0, 3)


@pytest.mark.parametrize("pbc", [False, True])
def test_the_list_is_rebuilt_where_atoms_move(pbc, emulated):
    system = batch_of(pbc)
    frozen, _, _ = frozen_and_expected(network(), system)
    table = CudaTable(frozen, ops=emulated, device=LARGE)
    lists, generator = CudaLists(table, 0.9, skin=0.1), torch.Generator().manual_seed(8)
    builds = []
    for size in (0.0, 0.001, 0.2, 0.001, 0.3):
        noise = torch.randn(system.positions.shape, generator=generator, dtype=torch.float64)
        system = system.with_positions(system.positions + size * noise)
        found = lists.evaluate(system)
        fresh = CudaLists(table, 0.9, skin=0.3).evaluate(system)
        # The history and the reach of a list do not change a bit.
        assert torch.equal(found.forces, fresh.forces)
        builds.append(int(lists._batch.pairs.state[5]))
    assert builds == [1, 1, 2, 2, 3]


def test_the_cell_may_change(emulated):
    system = batch_of(True)
    frozen, _, _ = frozen_and_expected(network(), system)
    table = CudaTable(frozen, ops=emulated, device=LARGE)
    lists = CudaLists(table, 0.9, skin=0.1)
    before = lists.evaluate(system).forces
    system.cell.mul_(1.1)
    after = lists.evaluate(system).forces
    assert not torch.equal(before, after)
    assert torch.equal(after, CudaLists(table, 0.9, skin=0.1).evaluate(system).forces)


def test_a_full_list_is_never_silent(emulated):
    system = batch_of()
    frozen, pairs, expected = frozen_and_expected(network(), system)
    table = CudaTable(frozen, ops=emulated, device=LARGE)
    batch = table.batch(system, skin=0.0, capacity=2 * pairs.n_edges - 1)
    guards = batch.pairs.directions.clone()
    batch.evaluate_(system.positions, virial=False)
    assert batch.forces.isnan().all()
    assert batch.energy.isnan().all()
    assert guards.shape == batch.pairs.directions.shape
    with pytest.raises(NeighborOverflowError, match=f"at most {2 * pairs.n_edges - 1} edges, got {2 * pairs.n_edges}"):
        batch.pairs.check()
    assert_agrees(table.evaluate(system, pairs, virial=True), expected, 1e-12)


def test_a_bad_atom_is_never_silent(emulated):
    system = batch_of()
    frozen, _, _ = frozen_and_expected(network(), system)
    lists = CudaLists(CudaTable(frozen, ops=emulated, device=LARGE), 0.9, skin=0.1)
    good = lists.evaluate(system)
    positions = system.positions.clone()
    positions[5, 1] = float("nan")
    assert lists.evaluate(system.with_positions(positions)).forces.isnan().all()
    # The next good positions are evaluated as if nothing had been.
    assert torch.equal(lists.evaluate(system).forces, good.forces)
    lists.check()


def test_coincident_atoms_give_finite_forces(emulated):
    frozen, _, _ = frozen_and_expected(network(), molecule(3, 0))
    pair = System.single(torch.zeros(2, 3, dtype=torch.float64), torch.tensor([1, 2]))
    found = CudaLists(CudaTable(frozen, ops=emulated, device=LARGE), 0.9, skin=0.1).evaluate(pair)
    assert found.forces.tolist() == [[0.0] * 3] * 2


def test_plans():
    def plan(n_systems, most_atoms, dtype=torch.float32, n_knots=513):
        return make_plan(Workload(n_systems, most_atoms, 4, n_knots, dtype), Device(227 << 10, 132))

    assert plan(64, 269) == [TABLE_AND_FEATURES, 33, 1, 1024, 269]
    assert plan(1, 269) == [TABLE_AND_FEATURES, 1, 9, 1024, 269]
    assert plan(1024, 49) == [TABLE_AND_FEATURES, 33, 1, 1024, 49]
    assert plan(1, 5000) == [TABLE, 1, 33, 1024, 5000]
    assert plan(8, 269, torch.float64) == [NOTHING, 8, 4, 512, 269]
    for n_systems, n_atoms in itertools.product((0, 1, 40), (0, 1, 3000)):
        keep, n_groups, n_parts, _, most = plan(n_systems, n_atoms)
        assert n_groups >= 1
        assert n_parts >= 1
        assert (keep == TABLE_AND_FEATURES) == (513 * 256 + 256 * most <= 227 << 10)


def test_it_takes_the_place_of_a_compiled_network(emulated):
    source, system = SchNetPotential(network(), skin=0.1), batch_of()
    compiled = compile_network(source, system, CompileOptions())
    frozen = freeze(source.network, tabulate(source.network, compiled.report.n_knots))
    table = CudaTable(frozen, ops=emulated, device=LARGE)
    own = CudaNetwork(table, source, dtype=torch.float64, backend="kernel", report=compiled.report)
    expected = compiled.evaluate(system, virial=True)
    assert_agrees(own.evaluate(system, virial=True), expected, 1e-12)
    # Its lists need not be kept for a restart.
    assert own.list_state() == {}
    own.restore_lists(system, compiled.list_state())
    assert_agrees(own.evaluate(system, virial=True), expected, 1e-12)
    with pytest.raises(TypeError, match=r"`positions`: expected torch\.float64 .*got torch\.float32"):
        own.evaluate(system.to(dtype=torch.float32))


@pytest.mark.cuda
@pytest.mark.parametrize("pbc", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, SINGLE)])
def test_on_the_gpu(dtype, tolerance, pbc):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    system, source = batch_of(pbc), SchNetPotential(network(), skin=0.1)
    frozen, _, expected = frozen_and_expected(source.network, system, dtype)
    on_gpu = system.to("cuda", dtype)
    lists = CudaLists(CudaTable(frozen.to(torch.device("cuda"))), 0.9, skin=0.1)
    found = lists.evaluate(on_gpu, virial=True)
    assert_agrees(type(found)(found.energy.cpu(), found.forces.cpu(), found.virial.cpu()), expected, tolerance)
    assert torch.equal(lists.evaluate(on_gpu).forces, found.forces)
