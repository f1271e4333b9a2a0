"""Structures are drawn on the device that is asked for, whichever beads are given."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashmd.backmap import BackmapOptions, Structures, read_trace, sample_structures
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.network import NetworkConfig
from flashmd.backmap.sampling import Sampler
from tests.backmap.files import TWO_CHAINS
from tests.backmap.other_device import NAME, moved, other_device

OPTIONS = BackmapOptions(steps=10, relax=True, disulfides=True)


def model() -> BackmapModel:
    torch.manual_seed(1)
    return BackmapModel(NetworkConfig(width=8, edge_width=8, n_layers=1, n_neighbors=3)).eval()


def draw(beads: str, sampler: Sampler, device: str) -> Structures:
    (batch,) = sample_structures(read_trace(TWO_CHAINS, beads=beads), replace(OPTIONS, device=device), sampler)
    return batch


@pytest.mark.parametrize("beads", ["ca", "five_bead", "centroid"])
def test_every_tensor_is_on_the_device_of_the_computation(beads: str) -> None:
    expected = draw(beads, model(), "cpu")
    with other_device():
        batch = draw(beads, moved(model()), NAME)  # type: ignore[arg-type]
    for name in ("given", "raw", "positions", "oxt"):
        assert torch.equal(getattr(batch, name), getattr(expected, name))


def test_mixed_devices_would_be_noticed() -> None:
    with other_device(), pytest.raises(RuntimeError, match="aten::add: tensors on two devices"):
        torch.zeros(2, device=NAME) + torch.zeros(2)
    with other_device(), pytest.raises(RuntimeError, match="aten::index: tensors on two devices"):
        torch.zeros(2)[torch.zeros(2, dtype=torch.int64, device=NAME)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("beads", ["ca", "five_bead", "centroid"])
def test_a_gpu_draws_the_structures_of_the_cpu(beads: str) -> None:
    expected, batch = draw(beads, model(), "cpu"), draw(beads, model().cuda(), "cuda")
    assert torch.allclose(batch.raw, expected.raw, atol=1e-2)
