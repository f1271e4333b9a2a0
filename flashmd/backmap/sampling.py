"""From a trace to structures, as a stream: read frames, draw samples, relax them, and hand them on in batches.

Structures are drawn in batches that may hold several frames and samples, or a part of the samples of one frame. What
is drawn depends on seed, frame and sample alone, so batches are a matter of speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.noise import NoiseStreams
from flashmd.backmap.options import BackmapOptions
from flashmd.backmap.physics import Guidance, disulfides, finish_termini
from flashmd.backmap.redraw import redraw_pierced
from flashmd.backmap.residues import N_SLOTS, SLOT_CA
from flashmd.backmap.trace import Trace, TraceFrames
from flashmd.errors import BadFrameError, message

_FRAMES_READ = 64


class Sampler(Protocol):
    """What draws structures, such as a `BackmapModel`."""

    def sample(
        self,
        chains: Chains,
        positions: Tensor,
        known: Tensor,
        *,
        noise: Tensor,
        centroids: Tensor | None,
        has_centroid: Tensor | None,
        steps: int,
        solver: str,
        guidance: Guidance | None,
    ) -> Tensor:
        """Return one structure for each row of positions, [n, n_residues, 14, 3], nm."""


@dataclass(frozen=True)
class BadFrame:
    """A frame of the input that is not that of a protein.

    Attributes:
        frame: its place in the trajectory.
        time: ps.
        fault: what is wrong with it.
        written: whether structures of it were made all the same.
    """

    frame: int
    time: float
    fault: str
    written: bool


@dataclass(frozen=True)
class Structures:
    """A batch of structures.

    Attributes:
        frames: [n], int64, frame of each structure.
        samples: [n], int64, sample of each structure.
        times: [n], float64, ps.
        given: [n, n_residues, 14, 3], nm, the known atoms.
        raw: [n, n_residues, 14, 3], nm, as the flow ends.
        positions: [n, n_residues, 14, 3], nm, relaxed where that was asked for, else the raw ones.
        oxt: [n, n_residues, 3], nm, second oxygen at the ends of segments.
        redrawn: [n], int64, residues that were drawn again because a bond passed through a ring.
        disulfides: pairs of residues with a bond between their SG.
        bad: frames found bad since the batch before.
    """

    frames: Tensor
    samples: Tensor
    times: Tensor
    given: Tensor
    raw: Tensor
    positions: Tensor
    oxt: Tensor
    redrawn: Tensor
    disulfides: tuple[tuple[int, int], ...]
    bad: tuple[BadFrame, ...]


@dataclass
class _Waiting:
    """Structures that wait until there are enough for a batch."""

    frames: list[int]
    samples: list[int]
    times: list[float]
    positions: list[Tensor]
    centroids: list[Tensor]
    noise: list[Tensor]


def sample_structures(trace: Trace, options: BackmapOptions, model: Sampler) -> Iterator[Structures]:
    """Draw all-atom structures of the frames of a trace, batch by batch, in the order of frames and then of samples.

    Args:
        trace: what is given.
        options: choices.
        model: draws the structures.

    Yields:
        Batches. The last one may be empty, where only bad frames are left to be named.

    Raises:
        BadFrameError: a frame is not that of a protein, and `on_bad_frame` is "stop".
    """
    streams = NoiseStreams(
        options.seed, options.samples, trace.chains.n_residues, options.coherence, options.correlation
    )
    builder = _Builder(trace, options, model, streams)
    size = max(1, options.batch_atoms // trace.chains.n_atoms)
    waiting, bad = _Waiting([], [], [], [], [], []), []
    for piece, row in _chosen(trace, options):
        frame, time, fault = int(piece.index[row]), float(piece.times[row]), piece.faults[row]
        if fault:
            bad.append(_judge(trace, options, BadFrame(frame, time, fault, written=False), piece.positions[row]))
            if not bad[-1].written:
                continue
        noise = streams.draw(frame)
        for sample in range(options.samples):
            waiting.frames.append(frame)
            waiting.samples.append(sample)
            waiting.times.append(time)
            waiting.positions.append(piece.positions[row])
            waiting.centroids.append(piece.centroids[row])
            waiting.noise.append(noise[sample])
            if len(waiting.frames) == size:
                yield builder.build(waiting, bad)
                waiting, bad = _Waiting([], [], [], [], [], []), []
    if waiting.frames or bad:
        yield builder.build(waiting, bad)


def _chosen(trace: Trace, options: BackmapOptions) -> Iterator[tuple[TraceFrames, int]]:
    for piece in trace.frames(_FRAMES_READ):
        for row, frame in enumerate(piece.index.tolist()):
            if options.is_past(frame):
                return
            if options.wants(frame):
                yield piece, row


def _judge(trace: Trace, options: BackmapOptions, bad: BadFrame, positions: Tensor) -> BadFrame:
    if options.on_bad_frame == "stop":
        fix = "repair it, or pass `--on-bad-frame skip` or `report` (`on_bad_frame`); what was written is complete"
        what = f"frame {bad.frame} of {trace.name}"
        raise BadFrameError(message(what, "positions of a protein", bad.fault, fix))
    written = options.on_bad_frame == "report" and bool(positions.isfinite().all())
    return BadFrame(bad.frame, bad.time, bad.fault, written)


class _Builder:
    """Turns waiting frames into structures."""

    def __init__(self, trace: Trace, options: BackmapOptions, model: Sampler, streams: NoiseStreams) -> None:
        self._trace, self._options, self._model, self._streams = trace, options, model, streams
        self._chains = trace.chains.to(options.device)
        self._known = trace.known.to(options.device)
        self._centroid_known = trace.centroid_known.to(options.device)
        self._guidance: Guidance | None = None
        self._pairs: tuple[tuple[int, int], ...] | None = None

    def build(self, waiting: _Waiting, bad: list[BadFrame]) -> Structures:
        if not waiting.frames:
            return _only_bad(self._trace, bad)
        given = torch.stack(waiting.positions).to(self._options.device)
        if self._pairs is None:
            self._pairs = self._bonded_cysteines(given[:1, :, SLOT_CA])
            self._guidance = self._guide(self._known)
        raw, redrawn = self._draw(given, waiting)
        relaxed = self._relax(raw) if self._options.relax else raw
        _, oxt = finish_termini(self._chains, relaxed)
        return Structures(
            torch.tensor(waiting.frames),
            torch.tensor(waiting.samples),
            torch.tensor(waiting.times, dtype=torch.float64),
            given.cpu(),
            raw.cpu(),
            relaxed.cpu(),
            oxt.cpu(),
            redrawn,
            self._pairs,
            tuple(bad),
        )

    def _bonded_cysteines(self, ca: Tensor) -> tuple[tuple[int, int], ...]:
        """Return pairs that the first frame allows: all, or those whose names say that they are bonded."""
        found = disulfides(self._chains, ca)
        named = {index for index, label in enumerate(self._chains.labels) if label.name == "CYX"}
        return tuple(pair for pair in found if self._options.disulfides or named.issuperset(pair))

    def _guide(self, known: Tensor) -> Guidance | None:
        terms = self._options.physics
        return Guidance(self._chains, known, terms=terms, disulfides=self._pairs or ()) if terms else None

    def _draw(self, given: Tensor, waiting: _Waiting) -> tuple[Tensor, Tensor]:
        """Return structures, and how many of their residues were drawn again because of a ring."""
        centroids = torch.stack(waiting.centroids) if bool(self._centroid_known.any()) else None
        noise = self._options.noise_scale * torch.stack(waiting.noise)
        drawn = self._sample(given, self._known, noise, centroids, self._guidance)
        if "rings" not in self._options.physics:
            return drawn, torch.zeros(len(drawn), dtype=torch.int64)

        def again(row: int, structure: Tensor, chosen: Tensor, attempt: int) -> Tensor:
            # Noise that was made small would lead to the same place again.
            noise = self._streams.again(waiting.frames[row], waiting.samples[row], attempt)[None]
            known = self._known | (self._chains.mask & ~chosen[:, None])
            own = None if centroids is None else centroids[row : row + 1]
            return self._sample(structure, known, noise, own, self._guide(known))

        return redraw_pierced(self._chains, drawn, again, disulfides=self._pairs or ())

    def _sample(
        self, given: Tensor, known: Tensor, noise: Tensor, centroids: Tensor | None, guidance: Guidance | None
    ) -> Tensor:
        """Draw what is not known; ends of chains are built by geometry."""
        options = self._options
        open_residues = (self._chains.mask & ~known).any(1)
        drawn = self._model.sample(
            self._chains,
            given,
            known,
            noise=noise.to(options.device),
            centroids=None if centroids is None else centroids.to(options.device),
            has_centroid=None if centroids is None else self._centroid_known & open_residues,
            steps=options.steps,
            solver=options.solver,
            guidance=guidance,
        )
        ended, _ = finish_termini(self._chains, drawn)
        return torch.where(known[:, :, None], given, ended)

    def _relax(self, raw: Tensor) -> Tensor:
        from flashmd.backmap.physics import relax

        return relax(self._chains, raw, self._known, disulfides=self._pairs or ()).positions


def _only_bad(trace: Trace, bad: list[BadFrame]) -> Structures:
    index, none = torch.empty(0, dtype=torch.int64), torch.empty(0, trace.chains.n_residues, N_SLOTS, 3)
    return Structures(index, index, index.double(), none, none, none, none[:, :, 0], index, (), tuple(bad))
