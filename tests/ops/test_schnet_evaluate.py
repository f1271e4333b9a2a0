"""The frozen SchNet in one operator, against the plain PyTorch definition of the frozen energy."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from flashmd.nn import SchNet, SchNetConfig, half_edges
from flashmd.nn.filter_table import tabulate
from flashmd.nn.frozen import DenseLayer, FrozenSchNet, freeze, frozen_energy
from flashmd.nn.packed import pack, unpack_table
from flashmd.ops import edge_geometry, neighbor_list, segment_sum
from flashmd.ops.schnet_evaluate import HalfPairs, pack_tiles, schnet_evaluate, workspace_size
from flashmd.system import System

FLOAT64_TOLERANCE = 1e-12
"""Sums of some hundred products, relative to the largest result."""
FLOAT32_TOLERANCE = 2e-5
"""A few hundred roundings of 6e-8 in a row: three blocks of products over up to 128 channels."""
CUTOFF, SKIN = 1.0, 0.2


def has_instruction_set(level: int) -> bool:
    """Return whether this processor has it; the widest one is always there."""
    try:
        evaluate(frozen(16, 16), batch([2]), instruction_set=level)
    except RuntimeError as error:
        if "`instruction_set`" in str(error):
            return False
        raise
    return True


def levels() -> list[int]:
    return [level for level in range(4) if has_instruction_set(level)]


def frozen(
    n_filters: int, n_channels: int, *, activation: str = "tanh", readout: tuple[int, ...] = (20, 12)
) -> FrozenSchNet:
    config = SchNetConfig(
        n_types=5,
        n_channels=n_channels,
        n_filters=n_filters,
        n_basis=12,
        n_blocks=3,
        readout=readout,
        activation=activation,
        cutoff_upper=CUTOFF,
    )
    network = SchNet(config, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=0.1)
    return freeze(network, tabulate(network, 129))


def batch(sizes: list[int], *, periodic: bool = False, seed: int = 3) -> System:
    generator = torch.Generator().manual_seed(seed)
    cell = torch.tensor([[0.9, 0.0, 0.0], [0.2, 1.1, 0.0], [0.1, -0.1, 1.3]]).double() if periodic else None
    systems = []
    for n in sizes:
        positions = torch.rand(n, 3, generator=generator).double() * (0.1 * n) ** (1 / 3)
        types = torch.randint(0, 5, (n,), generator=generator)
        systems.append(System.single(positions, types, cell=cell, pbc=(True, True, False) if periodic else False))
    return System.concatenate(systems)


def evaluate(model: FrozenSchNet, system: System, *, skin: float = SKIN, instruction_set: int = -1):
    dtype = model.embedding.dtype
    system = system.to(dtype=dtype)
    pairs = HalfPairs.from_edges(system, half_edges(neighbor_list(system, CUTOFF + skin)))
    return schnet_evaluate(pack(model), system, pairs, virial=True, instruction_set=instruction_set)


def expected(model: FrozenSchNet, system: System):
    """Energies, forces and virials by autograd through the definition."""
    pairs = half_edges(neighbor_list(system, CUTOFF + SKIN, backend="reference"))
    positions = system.positions.clone().requires_grad_()
    strain = torch.zeros(system.n_systems, 3, 3, dtype=torch.float64, requires_grad=True)
    moved = positions + torch.einsum("ni,nij->nj", positions, strain[system.batch])
    cell = system.cell + system.cell @ strain
    strained = dataclasses.replace(system, positions=moved, cell=cell)
    distance = edge_geometry(strained, pairs, backend="reference")[1]
    atoms = frozen_energy(model, system.types, pairs, distance)
    energy = segment_sum(atoms, system.ptr, backend="reference")
    gradient, virial = torch.autograd.grad(energy.sum(), (positions, strain))
    return energy.detach(), -gradient, virial


def assert_close(found, wanted, tolerance: float) -> None:
    for got, want in zip(found, wanted, strict=True):
        scale = max(1.0, float(want.abs().max()))
        torch.testing.assert_close(got.double(), want, rtol=0.0, atol=tolerance * scale)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize(("n_filters", "n_channels"), [(16, 16), (30, 41), (96, 64), (160, 33)])
@pytest.mark.parametrize("periodic", [False, True])
def test_evaluate_agrees_with_the_definition(level, n_filters, n_channels, periodic):
    model, system = frozen(n_filters, n_channels), batch([7, 1, 25, 3], periodic=periodic)
    wanted = expected(model, system)
    assert_close(evaluate(model, system, instruction_set=level), wanted, FLOAT64_TOLERANCE)
    single = evaluate(model.to(torch.float32), system, instruction_set=level)
    assert single[1].dtype == torch.float32
    assert_close(single, wanted, FLOAT32_TOLERANCE)


@pytest.mark.parametrize("activation", ["tanh", "ssp", "silu"])
@pytest.mark.parametrize("readout", [(), (8,), (40, 24, 8)])
def test_evaluate_covers_activations_and_readouts(activation, readout):
    model, system = frozen(24, 20, activation=activation, readout=readout), batch([12, 5])
    assert_close(evaluate(model, system), expected(model, system), FLOAT64_TOLERANCE)


@pytest.mark.parametrize("level", levels())
@pytest.mark.parametrize("storage", [torch.float16, torch.bfloat16, torch.int16])
def test_evaluate_reads_stored_weights(level, storage):
    model, system = quantized(frozen(24, 40), storage), batch([20, 9])
    assert_close(evaluate(model, system, instruction_set=level), expected(model, system), FLOAT64_TOLERANCE)
    single = evaluate(model.to(torch.float32), system, instruction_set=level)
    assert_close(single, expected(model, system), FLOAT32_TOLERANCE)


def quantized(model: FrozenSchNet, storage: torch.dtype) -> FrozenSchNet:
    def store(layer: DenseLayer) -> DenseLayer:
        scale = layer.weight.abs().amax(1) * torch.linspace(0.5, 2.0, layer.weight.shape[0])
        if storage == torch.int16:
            scale = scale / 20000
            return DenseLayer((layer.weight / scale[:, None]).round().to(storage), scale, layer.bias)
        return DenseLayer((layer.weight / scale[:, None]).to(storage), scale, layer.bias)

    blocks = tuple(
        dataclasses.replace(b, project=store(b.project), mix=store(b.mix), update=store(b.update)) for b in model.blocks
    )
    return dataclasses.replace(model, blocks=blocks, readout=(*map(store, model.readout[:-1]), model.readout[-1]))


def test_parts_of_tiles_add_up_to_the_weights():
    # Matrices of 40 x 24 and 24 x 40 numbers, so that tiles are padded in both ways.
    storages = {torch.float32: 3, torch.float16: 2, torch.bfloat16: 1, torch.int16: 2}
    for storage, n_parts in storages.items():
        model = frozen(24, 40, readout=())
        packed = pack((model if storage == torch.float32 else quantized(model, storage)).to(torch.float32))
        assert (packed.tiles.numel() > 0) == has_instruction_set(3)
        parts = packed.tiles.view(torch.bfloat16).double().reshape(-1, n_parts, 16, 16, 2)
        tiles = parts.sum(1).reshape(-1)
        weights = packed.weights.view(storage).double()
        assert torch.equal(tiles[tiles != 0].sort().values, weights[weights != 0].sort().values) or not tiles.numel()


@pytest.mark.skipif(not has_instruction_set(3), reason="this processor multiplies no tiles")
def test_tiles_are_as_accurate_as_vectors():
    model, system = frozen(128, 128), batch([60, 33])
    wanted = expected(model, system)[1]
    vectors, tiles = (evaluate(model.to(torch.float32), system, instruction_set=level)[1] for level in (2, 3))
    assert not torch.equal(vectors, tiles)
    assert float((tiles - wanted).norm()) < 1.5 * float((vectors - wanted).norm())


def test_subnormal_halves_keep_their_value():
    # 1e-6 is subnormal in float16.
    model = frozen(16, 16)
    tiny = [
        DenseLayer((layer.weight * 1e-6).half(), torch.full((16,), 1e6).double(), layer.bias) for layer in parts(model)
    ]
    blocks = tuple(
        dataclasses.replace(b, project=tiny[3 * i], mix=tiny[3 * i + 1], update=tiny[3 * i + 2])
        for i, b in enumerate(model.blocks)
    )
    readout = tuple(
        DenseLayer(layer.weight.half(), torch.ones(layer.weight.shape[0]).double(), layer.bias)
        for layer in model.readout[:-1]
    )
    model = dataclasses.replace(model, blocks=blocks, readout=(*readout, model.readout[-1]))
    system = batch([9])
    for level in levels():
        assert_close(evaluate(model, system, instruction_set=level), expected(model, system), FLOAT64_TOLERANCE)


def parts(model: FrozenSchNet) -> list[DenseLayer]:
    return [layer for block in model.blocks for layer in (block.project, block.mix, block.update)]


def test_the_table_is_unpacked_as_it_was():
    model = frozen(40, 16)
    found = unpack_table(pack(model), 40)
    assert torch.equal(found.values, model.table.values)
    torch.testing.assert_close(found.slopes, model.table.slopes, rtol=1e-14, atol=0.0)
    assert found.cutoff == model.table.cutoff


def test_mixed_storage_is_refused():
    model = quantized(frozen(16, 16), torch.float16)
    readout = (*frozen(16, 16).readout[:-1], model.readout[-1])
    with pytest.raises(ValueError, match="one type of storage"):
        pack(dataclasses.replace(model, readout=readout))


def test_bits_depend_neither_on_threads_nor_on_the_batch_nor_on_the_skin():
    model = frozen(48, 32).to(torch.float32)
    system = batch([90, 5, 60, 31, 8, 140]).to(dtype=torch.float32)
    n_threads, results = torch.get_num_threads(), []
    try:
        for count, skin in ((1, SKIN), (1, 0.0), (2, SKIN), (3, 0.05)):
            torch.set_num_threads(count)
            results.append(evaluate(model, system, skin=skin))
    finally:
        torch.set_num_threads(n_threads)
    single = [evaluate(model, one) for one in system.split()]
    results.append(tuple(torch.cat(parts) for parts in zip(*single, strict=True)))
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert torch.equal(first, second)


def test_large_system_runs_on_a_team_of_threads_with_the_same_bits():
    # Seven threads are more than the passes of 128 filters, which are then divided.
    model, system = frozen(128, 32).to(torch.float32), batch([300])
    n_threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3, 7):
            torch.set_num_threads(count)
            results.append(evaluate(model, system))
    finally:
        torch.set_num_threads(n_threads)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert torch.equal(first, second)
    assert_close(results[0], expected(model.to(torch.float64), system), FLOAT32_TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_workspace_serves_batches_one_after_the_other(dtype):
    packed, systems = pack(frozen(48, 32).to(dtype)), [batch(sizes).to(dtype=dtype) for sizes in ([90, 5], [40], [120])]
    pairs = [HalfPairs.from_edges(system, half_edges(neighbor_list(system, CUTOFF))) for system in systems]
    needed = [workspace_size(packed, *each) for each in zip(systems, pairs, strict=True)]
    assert 0 < needed[1] < max(needed)
    expected = [schnet_evaluate(packed, *each, virial=True) for each in zip(systems, pairs, strict=True)]
    space = torch.full((max(needed),), torch.nan, dtype=dtype)
    found = [schnet_evaluate(packed, *each, virial=True, workspace=space) for each in zip(systems, pairs, strict=True)]
    space.fill_(torch.nan)
    for each, other in zip(found, expected, strict=True):
        assert all(map(torch.equal, each, other))


def test_opcheck():
    packed, system = pack(frozen(16, 16)), batch([7, 4])
    pairs = HalfPairs.from_edges(system, half_edges(neighbor_list(system, CUTOFF)))
    space = torch.zeros(workspace_size(packed, system, pairs), dtype=torch.float64)
    arrays = (packed.sizes, packed.weights, packed.tiles, packed.constants, packed.table)
    lists = (pairs.receiver, pairs.sender, pairs.image, pairs.pair_ptr)
    arguments = (system.positions, system.types, system.ptr, *lists, *arrays, space, packed.cutoff, False)
    torch.library.opcheck(
        torch.ops.flashmd.schnet_evaluate.default, arguments, test_utils=("test_schema", "test_faketensor")
    )


def test_isolated_atoms_and_empty_batches():
    model = frozen(16, 24)
    far = System.single(torch.tensor([[0.0, 0, 0], [5, 0, 0]]).double(), torch.tensor([1, 2]))
    found = evaluate(model, far)
    assert_close(found, expected(model, far), FLOAT64_TOLERANCE)
    assert not found[1].any()
    empty = System.single(torch.zeros(0, 3).double(), torch.zeros(0, dtype=torch.int64))
    assert evaluate(model, empty)[0].tolist() == [0.0]


def test_a_position_that_is_not_a_number_reaches_the_energy():
    model, system = frozen(16, 16), batch([6, 6])
    pairs = HalfPairs.from_edges(system, half_edges(neighbor_list(system, CUTOFF)))
    positions = system.positions.clone()
    positions[2, 1] = torch.nan
    energy, forces, _ = schnet_evaluate(pack(model), system.with_positions(positions), pairs)
    assert energy.isnan().tolist() == [True, False]
    assert forces[2].isnan().all()
    assert forces[6:].isfinite().all()


def test_forces_are_the_gradient_of_the_energy_across_knots_and_cutoff():
    model = frozen(32, 16)
    types, distances = torch.tensor([1, 3]), torch.linspace(0.02, CUTOFF * 1.05, 400).double()
    steps = 1e-6

    def at(distance: float):
        pair = System.single(torch.tensor([[0.0, 0, 0], [distance, 0, 0]], dtype=torch.float64), types)
        energy, forces, _ = evaluate(model, pair)
        return float(energy[0]), float(forces[1, 0])

    for distance in distances.tolist():
        numeric = -(at(distance + steps)[0] - at(distance - steps)[0]) / (2 * steps)
        assert at(distance)[1] == pytest.approx(numeric, abs=2e-7)


def test_arrays_that_do_not_belong_together_are_refused():
    system = batch([4])
    pairs = HalfPairs.from_edges(system, half_edges(neighbor_list(system, CUTOFF)))
    packed = pack(frozen(16, 16))
    single = dataclasses.replace(pairs, image=pairs.image.float())
    with pytest.raises(RuntimeError, match="dtype of the positions"):
        schnet_evaluate(packed, system.to(dtype=torch.float32), single)
    with pytest.raises(RuntimeError, match="arrays of the packed sizes"):
        schnet_evaluate(dataclasses.replace(packed, table=packed.table[:, :, :-1].contiguous()), system, pairs)
    with pytest.raises(RuntimeError, match="arrays of the packed sizes"):
        schnet_evaluate(dataclasses.replace(packed, tiles=torch.zeros(3, dtype=torch.int16)), system, pairs)
    with pytest.raises(RuntimeError, match="expected those of a packed float32 model"):
        pack_tiles(packed.sizes, packed.weights)
    with pytest.raises(RuntimeError, match="expected those of a packed model"):
        schnet_evaluate(dataclasses.replace(packed, sizes=packed.sizes[:5]), system, pairs)
    with pytest.raises(RuntimeError, match="contiguous int32"):
        schnet_evaluate(packed, system, dataclasses.replace(pairs, sender=pairs.sender.long()))
    with pytest.raises(RuntimeError, match="bounds for every system"):
        schnet_evaluate(packed, system, dataclasses.replace(pairs, sender=pairs.sender[1:].contiguous()))
    with pytest.raises(RuntimeError, match="as many contiguous numbers as this batch"):
        schnet_evaluate(packed, system, pairs, workspace=torch.zeros(9, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="`workspace`: expected the dtype of the positions"):
        schnet_evaluate(packed, system, pairs, workspace=torch.zeros(9))
    with pytest.raises(RuntimeError, match="expected bounds for every system"):
        workspace_size(packed, system, dataclasses.replace(pairs, pair_ptr=torch.zeros(1, dtype=torch.int64)))
