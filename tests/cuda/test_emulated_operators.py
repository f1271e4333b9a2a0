"""The CUDA kernels of the basic operators, run by the host: the bits of the CPU kernels, in either order of threads."""

from __future__ import annotations

import pytest
import torch

from flashmd.ops import Edges

DTYPES = [torch.float32, torch.float64]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(31)


def random_edges(generator, n_atoms=23, n_edges=150):
    return Edges.from_pairs(*torch.randint(0, n_atoms, (2, n_edges), generator=generator), n_atoms)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["cfconv", "cfconv_transposed", "edge_product", "edge_difference", "edge_divergence"])
def test_message_passing(name, dtype, emulated, in_both_orders, generator):
    edges = random_edges(generator)
    n_first = edges.n_edges if name == "edge_divergence" else edges.n_atoms
    n_second = edges.n_atoms if name == "edge_product" else edges.n_edges
    inputs = [torch.randn(n_first, 33, generator=generator, dtype=dtype)]
    if not name.startswith("edge_di"):
        inputs.append(torch.randn(n_second, 33, generator=generator, dtype=dtype))
    found = in_both_orders(lambda: getattr(emulated, name)(*inputs, *edges.index))
    assert torch.equal(found, getattr(torch.ops.flashmd, name)(*inputs, *edges.index))


@pytest.mark.parametrize("dtype", DTYPES)
def test_segments(dtype, emulated, in_both_orders, generator):
    ptr = torch.tensor([0, 5, 5, 300, 301])
    values = torch.randn(301, 7, generator=generator, dtype=dtype)
    sums = in_both_orders(lambda: emulated.segment_sum(values, ptr))
    assert torch.equal(sums, torch.ops.flashmd.segment_sum(values, ptr))
    assert torch.equal(emulated.segment_expand(sums, ptr, 301), torch.ops.flashmd.segment_expand(sums, ptr, 301))


@pytest.mark.parametrize("float64", [False, True])
@pytest.mark.parametrize("name", ["philox_normal", "philox_uniform"])
def test_random_numbers(name, float64, emulated, in_both_orders):
    arguments = (-7, torch.tensor([0, 3, 1 << 40, -2]), 1 << 33, 11, float64)
    found = in_both_orders(lambda: getattr(emulated, name)(*arguments))
    assert torch.equal(found, getattr(torch.ops.flashmd, name)(*arguments))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pbc", [(False, False, False), (True, False, True), (True, True, True)])
def test_neighbor_list(pbc, dtype, emulated, in_both_orders, generator):
    positions = torch.rand(300, 3, generator=generator, dtype=dtype) * 3
    ptr = torch.tensor([0, 1, 130, 130, 300])
    cell = (2 * torch.eye(3, dtype=dtype) + 0.3 * torch.rand(4, 3, 3, generator=generator, dtype=dtype)).contiguous()
    arguments = (positions, ptr, cell, torch.tensor([pbc] * 4), 0.6, -1)
    found = in_both_orders(lambda: emulated.neighbor_list(*arguments))
    for one, other in zip(found, torch.ops.flashmd.neighbor_list(*arguments), strict=True):
        assert torch.equal(one, other)


def test_neighbor_list_reports(emulated):
    positions = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [float("nan"), 0.0, 0.0]])
    ptr, cell = torch.tensor([0, 2, 3]), torch.zeros(2, 3, 3)
    open_system, periodic = torch.zeros(2, 3, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)
    assert emulated.neighbor_list(positions, ptr, cell, open_system, 1.0, -1)[-1].tolist()[1:] == [2, -1]
    assert emulated.neighbor_list(positions, ptr, cell, periodic, 1.0, -1)[-1].tolist()[2] == 0
    assert emulated.neighbor_list(positions[:2], ptr[:2], cell[:1], open_system[:1], 1.0, 1)[-1].tolist()[0] == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_langevin_step(dtype, emulated, in_both_orders, generator):
    vectors = [torch.randn(37, 3, generator=generator, dtype=dtype) for _ in range(3)]
    scalars = [torch.rand(37, 1, generator=generator, dtype=dtype) for _ in range(2)]
    arguments = (*vectors, *scalars, torch.arange(37), 5, 9, 0.002, 0.9, 0.4)
    found = in_both_orders(lambda: emulated.langevin_step(*arguments))
    for one, other in zip(found, torch.ops.flashmd.langevin_step(*arguments), strict=True):
        assert torch.equal(one, other)
