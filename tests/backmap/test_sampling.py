"""The stream of structures: order, independence of batches, what becomes of bad frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flashmd.backmap.frame_sources import RawFrames
from flashmd.backmap.options import BackmapOptions, parse_frames
from flashmd.backmap.residues import SLOT_C, SLOT_O
from flashmd.backmap.sampling import Structures, sample_structures
from flashmd.backmap.trace import Trace, read_trace, trace_from_positions
from flashmd.errors import BadFrameError
from tests.backmap.files import TWO_CHAINS, helix
from tests.backmap.stand_in import Scatter

PLAIN = BackmapOptions(samples=3, seed=5, physics=())
N_FRAMES = 7


@pytest.fixture
def trace() -> Trace:
    shifts = 0.01 * torch.arange(N_FRAMES)[:, None, None]
    return trace_from_positions("GAWKPY", torch.tensor(helix(6) / 10.0).float() + shifts)


def bad_at(frame: int, fault: float) -> Trace:
    ca = torch.tensor(helix(6) / 10.0).float().repeat(5, 1, 1)
    ca[frame, 3:, 0] += fault
    return trace_from_positions("GAWKPY", ca)


def joined(batches: list[Structures]) -> torch.Tensor:
    return torch.cat([batch.positions for batch in batches])


def test_frames_and_samples_come_in_order(trace: Trace) -> None:
    batches = list(sample_structures(trace, PLAIN, Scatter()))
    frames = torch.cat([batch.frames for batch in batches])
    samples = torch.cat([batch.samples for batch in batches])
    assert frames.tolist() == [f for f in range(N_FRAMES) for _ in range(3)]
    assert samples.tolist() == [0, 1, 2] * N_FRAMES


@pytest.mark.parametrize("structures", [1, 2, 4, 100])
@pytest.mark.parametrize("coherence", ["none", "shared", "ou"])
def test_structures_do_not_depend_on_the_batch(trace: Trace, structures: int, coherence: str) -> None:
    options = replace(PLAIN, coherence=coherence)
    model = Scatter()
    whole = joined(list(sample_structures(trace, options, Scatter())))
    parts = replace(options, batch_atoms=structures * trace.chains.n_atoms)
    assert torch.equal(joined(list(sample_structures(trace, parts, model))), whole)
    assert max(model.sizes) == min(structures, 3 * N_FRAMES)


def test_a_frame_has_the_same_structures_in_a_part_of_the_trajectory(trace: Trace) -> None:
    whole = joined(list(sample_structures(trace, PLAIN, Scatter()))).unflatten(0, (N_FRAMES, 3))
    part = joined(list(sample_structures(trace, replace(PLAIN, frames=(2, 7, 3)), Scatter()))).unflatten(0, (2, 3))
    assert torch.equal(part, whole[[2, 5]])
    fewer = joined(list(sample_structures(trace, replace(PLAIN, samples=1), Scatter())))
    assert torch.equal(fewer, whole[:, 0])


def test_less_noise_draws_samples_together(trace: Trace) -> None:
    def deviation(scale: float) -> torch.Tensor:
        options = replace(PLAIN, noise_scale=scale)
        raw = joined(list(sample_structures(trace, options, Scatter())))
        return raw[:, :-1].unflatten(0, (N_FRAMES, 3)).std(1).mean()  # but for the terminal oxygen, which is rebuilt

    assert deviation(0.0) == 0
    assert torch.allclose(deviation(0.5), deviation(1.0) / 2, rtol=1e-4)


def test_samples_and_seeds_differ(trace: Trace) -> None:
    batch = next(iter(sample_structures(trace, PLAIN, Scatter())))
    other = next(iter(sample_structures(trace, replace(PLAIN, seed=6), Scatter())))
    assert not torch.equal(batch.raw[0], batch.raw[1])
    assert not torch.equal(batch.raw[0], other.raw[0])


def test_known_atoms_are_where_they_were() -> None:
    for beads in ("ca", "backbone", "five_bead"):
        trace = read_trace(TWO_CHAINS, beads=beads)
        batch = next(iter(sample_structures(trace, replace(PLAIN, samples=1), Scatter())))
        given = next(iter(trace.frames())).positions
        assert torch.equal(batch.raw[:, trace.known], given[:, trace.known])
        assert torch.equal(batch.positions[:, trace.known], given[:, trace.known])


def test_centroids_reach_the_model() -> None:
    trace, model = read_trace(TWO_CHAINS, beads="centroid"), Scatter()
    next(iter(sample_structures(trace, replace(PLAIN, samples=1), model)))
    assert torch.equal(model.asked["has_centroid"], trace.centroid_known)
    assert torch.equal(model.asked["centroids"], next(iter(trace.frames())).centroids)
    next(iter(sample_structures(read_trace(TWO_CHAINS, beads="ca"), replace(PLAIN, samples=1), model)))
    assert model.asked["centroids"] is None
    assert model.asked["has_centroid"] is None


def test_choices_reach_the_model(trace: Trace) -> None:
    model = Scatter()
    options = replace(PLAIN, steps=11, solver="heun", physics=("bonds", "angles"))
    next(iter(sample_structures(trace, options, model)))
    assert model.asked["steps"] == 11
    assert model.asked["solver"] == "heun"
    assert model.asked["guidance"].terms == {"bonds", "angles"}
    next(iter(sample_structures(trace, PLAIN, model)))
    assert model.asked["guidance"] is None


def test_ends_of_segments_get_two_oxygens() -> None:
    trace = read_trace(TWO_CHAINS, beads="ca")
    batch = next(iter(sample_structures(trace, replace(PLAIN, samples=1), Scatter())))
    ends = ~trace.chains.joined
    carbon = batch.positions[0, ends, SLOT_C]
    for oxygen in (batch.positions[0, ends, SLOT_O], batch.oxt[0, ends]):
        assert torch.allclose((oxygen - carbon).norm(dim=-1), torch.tensor(0.125), atol=1e-5)


@pytest.mark.parametrize("fault", [0.5, float("nan")])
def test_a_bad_frame_stops_the_run_after_those_before_it(fault: float) -> None:
    options = replace(PLAIN, batch_atoms=1)
    stream = sample_structures(bad_at(2, fault), options, Scatter())
    assert [int(next(stream).frames[0]) for _ in range(6)] == [0, 0, 0, 1, 1, 1]
    with pytest.raises(BadFrameError, match=r"frame 2 of `ca`: expected positions of a protein, got .*--on-bad-frame"):
        next(stream)


@pytest.mark.parametrize(
    "policy, fault, frames, written",
    [
        ("skip", 0.5, [0, 1, 3, 4], False),
        ("skip", float("nan"), [0, 1, 3, 4], False),
        ("report", 0.5, [0, 1, 2, 3, 4], True),
        ("report", float("nan"), [0, 1, 3, 4], False),
    ],
)
def test_a_bad_frame_is_skipped_or_reported(policy: str, fault: float, frames: list[int], written: bool) -> None:
    options = replace(PLAIN, samples=1, on_bad_frame=policy)
    whole = joined(
        list(sample_structures(trace_from_positions("GAWKPY", torch.tensor(helix(6) / 10).float()), options, Scatter()))
    )
    batches = list(sample_structures(bad_at(2, fault), options, Scatter()))
    assert torch.cat([batch.frames for batch in batches]).tolist() == frames
    (bad,) = [each for batch in batches for each in batch.bad]
    assert (bad.frame, bad.written) == (2, written)
    expected = "not finite" if np.isnan(fault) else "A:TRP3 to A:LYS4"
    assert expected in bad.fault
    assert torch.equal(joined(batches)[0], whole[0])


def test_a_bad_last_frame_is_named_as_well() -> None:
    batches = list(sample_structures(bad_at(4, 0.5), replace(PLAIN, samples=1, on_bad_frame="skip"), Scatter()))
    assert [each.frame for batch in batches for each in batch.bad] == [4]


def test_disulfides_are_those_that_the_first_frame_allows() -> None:
    trace = read_trace(TWO_CHAINS, beads="ca")
    none = next(iter(sample_structures(trace, replace(PLAIN, samples=1), Scatter())))
    some = next(iter(sample_structures(trace, replace(PLAIN, samples=1, disulfides=True), Scatter())))
    names = [{str(trace.chains.labels[i]) for i in pair} for pair in some.disulfides]
    assert none.disulfides == ()
    assert {"U:CYS42", "U:CYS58"} in names


def test_cysteines_named_as_bonded_are_bonded(tmp_path: Path) -> None:
    bonded = tmp_path / "cyx.pdb"
    text = TWO_CHAINS.read_text(encoding="utf-8")
    bonded.write_text(text.replace("CYS U  42", "CYX U  42").replace("CYS U  58", "CYX U  58"), encoding="utf-8")
    trace = read_trace(bonded, beads="ca")
    batch = next(iter(sample_structures(trace, replace(PLAIN, samples=1), Scatter())))
    assert [{str(trace.chains.labels[i]) for i in pair} for pair in batch.disulfides] == [{"U:CYX42", "U:CYX58"}]


@pytest.mark.parametrize(
    "choice, text",
    [
        ({"samples": 0}, r"`samples`: expected at least 1, got 0"),
        ({"steps": 0}, r"`steps`: expected at least 1, got 0"),
        ({"noise_scale": -0.1}, r"`noise_scale`: expected a number from 0 to 1, got -0.1"),
        ({"noise_scale": float("nan")}, r"`noise_scale`: expected a number from 0 to 1, got nan"),
        ({"solver": "rk4"}, r"`solver`: expected one of euler, heun, got 'rk4'"),
        ({"on_bad_frame": "ignore"}, r"`on_bad_frame`: expected one of stop, skip, report, got 'ignore'"),
        ({"frames": (5, 2, 1)}, r"`frames`: expected 0 <= start < stop and step >= 1, got \(5, 2, 1\)"),
    ],
)
def test_choices_are_checked(choice: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        BackmapOptions(**choice)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text, frames", [("::", (0, None, 1)), ("3:", (3, None, 1)), (":9:2", (0, 9, 2)), ("4", (4, 5, 1))]
)
def test_frames_are_parsed(text: str, frames: tuple[int, int | None, int]) -> None:
    assert parse_frames(text) == frames


@pytest.mark.parametrize("text", ["", "a:b", "1:2:3:4"])
def test_frames_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"`--frames`: expected START:STOP:STEP or one frame"):
        parse_frames(text)


def test_frames_are_read_as_they_are_needed() -> None:
    """Memory holds one piece of the trajectory and one batch, however long the trajectory is."""
    ca = torch.tensor(helix(6) / 10.0).float()
    trace = trace_from_positions("GAWKPY", ca.repeat(1000, 1, 1))
    read: list[int] = []

    class Watched:
        name, n_frames = "watched", 1000

        def read(self, atoms: torch.Tensor, size: int) -> Iterator[RawFrames]:
            for piece in trace._source.read(atoms, size):
                read.append(len(piece.index))
                yield piece

    watched = replace(trace, _source=Watched())
    options = replace(PLAIN, samples=1, batch_atoms=10 * trace.chains.n_atoms)
    done = 0
    for batch in sample_structures(watched, options, Scatter()):
        done += len(batch.frames)
        assert sum(read) <= done + 64
    assert done == 1000
