"""What a user may choose about backmapping, checked at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from flashmd.backmap.beads import Beads
from flashmd.backmap.connectivity import Gaps
from flashmd.backmap.noise import Coherence
from flashmd.backmap.physics import TERMS
from flashmd.errors import message

OnBadFrame = Literal["stop", "skip", "report"]
"""What happens at a frame that cannot be right."""


@dataclass(frozen=True)
class BackmapOptions:
    """Choices of a backmapping run.

    Attributes:
        beads: which atoms to take from the input, see `read_trace`.
        replace: modified residues to read as standard ones, see `read_trace`.
        gaps: what tells a gap from a wrong distance, see `read_trace`.
        samples: structures drawn for each frame.
        seed: of all random numbers.
        model: name of a shipped model, or a file.
        steps: steps of the flow.
        solver: "euler" or "heun".
        noise_scale: factor of the noise where the flow starts; below one, structures are likelier and less diverse.
        physics: terms that correct the flow, see `flashmd.backmap.physics.TERMS`.
        relax: minimise each structure, CA fixed, as the last stage of coordinates without hydrogens.
        hydrogens: add hydrogens, and energies to the table.
        md_check: run short dynamics of each structure; adds hydrogens.
        disulfides: bond cysteines where the trace of the first frame allows it.
        coherence: "none", "shared" or "ou", see `NoiseStreams`.
        correlation: frames, of the noise "ou".
        frames: first frame, end and step; an end of None is the end of the trajectory.
        on_bad_frame: "stop" with an error; "skip", leave out every frame that is not that of a protein; "report", mark
            it in the table, and leave it out only where positions are not finite.
        batch_atoms: heavy atoms that are drawn together; a matter of speed and memory alone.
        device: of the computation.

    Example:
        >>> BackmapOptions(samples=4, relax=True).steps
        20
    """

    beads: Beads = "auto"
    replace: tuple[str, ...] = ()
    gaps: Gaps = "numbering"
    samples: int = 1
    seed: int = 0
    model: str = "default"
    steps: int = 20
    solver: Literal["euler", "heun"] = "euler"
    noise_scale: float = 1.0
    physics: tuple[str, ...] = TERMS
    relax: bool = False
    hydrogens: bool = False
    md_check: bool = False
    disulfides: bool = False
    coherence: Coherence = "none"
    correlation: float = 10.0
    frames: tuple[int, int | None, int] = (0, None, 1)
    on_bad_frame: OnBadFrame = "stop"
    batch_atoms: int = 20_000
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("samples", "steps", "batch_atoms"):
            if getattr(self, name) < 1:
                raise ValueError(message(f"`{name}`", "at least 1", f"{getattr(self, name)}", "pass a positive number"))
        for name, known in (("solver", ("euler", "heun")), ("on_bad_frame", get_args(OnBadFrame))):
            if getattr(self, name) not in known:
                got, expected = repr(getattr(self, name)), f"one of {', '.join(known)}"
                raise ValueError(message(f"`{name}`", expected, got, "choose one of them"))
        if not 0 <= self.noise_scale <= 1:
            fix = "1 draws from what was learned, 0 gives one typical structure"
            raise ValueError(message("`noise_scale`", "a number from 0 to 1", f"{self.noise_scale}", fix))
        start, stop, step = self.frames
        if start < 0 or step < 1 or (stop is not None and stop <= start):
            fix = "pass first frame, end and step, such as (0, 1000, 10)"
            raise ValueError(message("`frames`", "0 <= start < stop and step >= 1", f"{self.frames}", fix))

    def wants(self, frame: int) -> bool:
        """Whether a frame is among the chosen ones."""
        start, stop, step = self.frames
        return frame >= start and (stop is None or frame < stop) and (frame - start) % step == 0

    def is_past(self, frame: int) -> bool:
        """Whether a frame and all after it are beyond the chosen ones."""
        return self.frames[1] is not None and frame >= self.frames[1]


def parse_frames(text: str) -> tuple[int, int | None, int]:
    """Read START:STOP:STEP, each of which may be left out.

    >>> parse_frames("100::10"), parse_frames("5")
    ((100, None, 10), (5, 6, 1))
    """
    parts = text.split(":")
    try:
        numbers = [int(part) if part.strip() else None for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or (len(numbers) == 1 and numbers[0] is None):
        raise ValueError(message("`--frames`", "START:STOP:STEP or one frame", repr(text), "write `0:1000:10`"))
    if len(numbers) == 1:
        return int(parts[0]), int(parts[0]) + 1, 1
    start, stop, step = (*numbers, None)[:3]
    return start or 0, stop, 1 if step is None else step
