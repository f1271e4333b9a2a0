"""Residues with a bond through a ring are drawn again, alone, until there is none or the tries are used up."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flashmd.backmap import BackmapOptions, Structures, Trace, backmap, sample_structures, trace_from_positions
from flashmd.backmap.chains import Chains
from flashmd.backmap.physics import ring_penetrations
from flashmd.backmap.redraw import TRIES
from flashmd.backmap.residues import SLOT_CA, SLOT_CB
from tests.backmap.other_device import NAME, other_device
from tests.backmap.threaded import threaded

RINGS = BackmapOptions(seed=4, physics=("rings",))
N_FRAMES = 5
ASIDE = 0.3
"""nm, by which the lysine stands beside the ring."""


class Threader:
    """Draws a lysine through a ring or beside it, as its noise says, and two other residues that follow the noise."""

    def __init__(self, beside: Callable[[Tensor], bool]) -> None:
        self.beside = beside
        self.asked: list[tuple[int, Tensor, Any]] = []

    def sample(self, chains: Chains, positions: Tensor, known: Tensor, *, noise: Tensor, **rest: Any) -> Tensor:
        self.asked.append((len(positions), known, rest["guidance"]))
        drawn = positions + 0.1 * noise * ~known[:, :, None]
        drawn[:, :2] = threaded()[1].to(drawn)
        for structure, numbers in zip(drawn, noise, strict=True):
            if self.beside(numbers):
                structure[0, SLOT_CB:, 0] += ASIDE
        return torch.where(known[:, :, None], positions, drawn)


def by_noise(noise: Tensor) -> bool:
    return bool(noise[0, 0, 0] > 0)


@pytest.fixture
def trace() -> Trace:
    ca = torch.cat([threaded()[1][0, :, SLOT_CA].float(), torch.tensor([[3.0, 0.0, 0.0], [3.38, 0.0, 0.0]])])
    return trace_from_positions(["K", "F", "AG"], ca.expand(N_FRAMES, 4, 3))


def drawn(trace: Trace, model: Threader, options: BackmapOptions = RINGS) -> list[Structures]:
    return list(sample_structures(trace, options, model))


def test_pierced_residues_are_drawn_again_and_no_others(trace: Trace) -> None:
    model = Threader(by_noise)
    (batch,) = drawn(trace, model)
    (before,) = drawn(trace, Threader(by_noise), replace(RINGS, physics=()))
    pierced = ring_penetrations(trace.chains, before.raw).frame
    assert 0 < len(pierced) < N_FRAMES
    assert len(ring_penetrations(trace.chains, batch.raw).frame) == 0
    assert batch.redrawn.tolist() == [2 if frame in pierced else 0 for frame in range(N_FRAMES)]
    assert torch.equal(batch.raw[:, 2:], before.raw[:, 2:])
    clean = [frame for frame in range(N_FRAMES) if frame not in pierced]
    assert torch.equal(batch.raw[clean], before.raw[clean])


def test_residues_that_stay_are_known_to_model_and_physics(trace: Trace) -> None:
    model = Threader(by_noise)
    drawn(trace, model)
    expected = trace.known | trace.chains.mask
    expected[:2] = trace.known[:2]
    assert len(model.asked) > 1
    for size, known, guidance in model.asked[1:]:
        assert size == 1
        assert torch.equal(known, expected)
        assert torch.equal(guidance.topology.free.any(1), torch.tensor([True, True, False, False]))


@pytest.mark.parametrize("structures", [1, 2])
def test_structures_do_not_depend_on_the_batch(trace: Trace, structures: int) -> None:
    parts = replace(RINGS, samples=2, batch_atoms=structures * trace.chains.n_atoms)
    (whole,) = drawn(trace, Threader(by_noise), replace(RINGS, samples=2))
    batches = drawn(trace, Threader(by_noise), parts)
    assert torch.equal(torch.cat([batch.raw for batch in batches]), whole.raw)
    assert torch.equal(torch.cat([batch.redrawn for batch in batches]), whole.redrawn)


def test_residues_are_drawn_again_on_the_device_of_the_computation(trace: Trace) -> None:
    (expected,) = drawn(trace, Threader(by_noise))
    with other_device():
        (batch,) = drawn(trace, Threader(lambda noise: by_noise(noise.cpu())), replace(RINGS, device=NAME))
    assert torch.equal(batch.redrawn, expected.redrawn)
    assert torch.equal(batch.raw, expected.raw)


def test_what_cannot_be_mended_stays_and_is_counted(trace: Trace, tmp_path: Path) -> None:
    model = Threader(lambda noise: False)
    result = backmap(trace, output=tmp_path / "aa.pdb", options=replace(RINGS, frames=(0, 1, 1)), model=model)
    assert result.files is not None
    assert len(model.asked) == 1 + TRIES
    (row,) = csv.DictReader(result.files.table.read_text().splitlines())
    assert (row["redrawn"], row["raw_rings"]) == ("0", "1")


def test_without_the_term_nothing_is_drawn_again(trace: Trace) -> None:
    model = Threader(lambda noise: False)
    (batch,) = drawn(trace, model, replace(RINGS, physics=("bonds",)))
    assert len(model.asked) == 1
    assert batch.redrawn.tolist() == [0] * N_FRAMES
