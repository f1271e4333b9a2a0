"""Noise is a function of seed, frame and sample; along a trajectory it is new, shared or slowly changing."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from flashmd.backmap.noise import Coherence, NoiseStreams, structure_seed


def test_structures_have_seeds_of_their_own() -> None:
    seeds = {structure_seed(s, f, k) for s in (0, 1, -1) for f in range(20) for k in range(20)}
    assert len(seeds) == 3 * 20 * 20


def test_noise_depends_on_frame_and_sample_alone() -> None:
    many, one = NoiseStreams(3, 4, 5), NoiseStreams(3, 1, 5)
    many.draw(0)
    assert torch.equal(many.draw(7)[:1], one.draw(7))
    assert not torch.equal(NoiseStreams(4, 1, 5).draw(7), one.draw(7))


def test_noise_is_standard_normal() -> None:
    values = NoiseStreams(1, 8, 50).draw(0)
    assert abs(float(values.mean())) < 4.0 / math.sqrt(values.numel())
    assert abs(float(values.var()) - 1.0) < 4.0 * math.sqrt(2.0 / values.numel())


def test_shared_noise_is_the_same_in_every_frame_whichever_comes_first() -> None:
    first, later = NoiseStreams(1, 2, 3, "shared"), NoiseStreams(1, 2, 3, "shared")
    kept = first.draw(0)
    assert torch.equal(first.draw(5), kept)
    assert torch.equal(later.draw(9), kept)
    assert not torch.equal(kept[0], kept[1])


@pytest.mark.parametrize("coherence", ["none", "shared", "ou"])
def test_each_try_has_noise_of_its_own_that_no_draw_changes(coherence: Coherence) -> None:
    streams, other = NoiseStreams(1, 2, 3, coherence), NoiseStreams(1, 2, 3, coherence)
    other.draw(0)
    again = streams.again(4, 1, 1)
    assert torch.equal(other.again(4, 1, 1), again)
    for frame, sample, attempt in ((4, 1, 2), (4, 0, 1)):
        assert not torch.equal(streams.again(frame, sample, attempt), again)
    assert torch.equal(streams.again(5, 1, 1), again) == (coherence == "shared")
    assert not torch.equal(streams.draw(4)[1], again)


@pytest.mark.parametrize("stride", [1, 5])
def test_ornstein_uhlenbeck_noise_decays_as_asked(stride: int) -> None:
    tau, n_residues = 10.0, 200
    streams = NoiseStreams(2, 1, n_residues, "ou", tau)
    frames = torch.stack([streams.draw(stride * k).flatten() for k in range(12)])
    n = frames.shape[1]
    expected = math.exp(-stride / tau)
    for before, after in itertools.pairwise(frames):
        assert abs(float((before * after).mean()) - expected) < 5.0 / math.sqrt(n)
    assert abs(float(frames[-1].var()) - 1.0) < 5.0 * math.sqrt(2.0 / n)


def test_choices_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`coherence`: expected one of none, shared, ou, got 'all'"):
        NoiseStreams(1, 1, 1, "all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`correlation`: expected a positive number of frames, got 0"):
        NoiseStreams(1, 1, 1, "ou", 0.0)
