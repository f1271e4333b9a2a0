"""The random numbers of structures: functions of the seed, the frame and the sample, and of nothing else.

A structure is a deterministic map of its trace and its noise. Frames of a trajectory that share their noise, or whose
noise changes slowly, therefore give side chains that move instead of jumping.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from flashmd.backmap.residues import N_SLOTS
from flashmd.errors import message
from flashmd.ops import philox_normal

Coherence = Literal["none", "shared", "ou"]
"""How the noise of one frame follows from that of the frame before."""

_MASK = (1 << 64) - 1
_SHARED = -1


def structure_seed(seed: int, frame: int, sample: int) -> int:
    """Return the seed of one structure, 64 bits mixed from three numbers (the finaliser of SplitMix64).

    Args:
        seed: of the run.
        frame: place of the frame in its trajectory, from 0.
        sample: from 0.

    Example:
        >>> structure_seed(1, 0, 0) == structure_seed(1, 0, 0) != structure_seed(1, 0, 1)
        True
    """
    state = 0
    for number in (seed, frame, sample):
        state = _mix(state ^ (number & _MASK))
    return state


class NoiseStreams:
    """Standard normal numbers for the samples of one frame after the other.

    "none" draws each frame anew; "shared" gives all frames of a sample the same numbers; "ou" lets them follow an
    Ornstein-Uhlenbeck process, z(k) = a z(k - d) + sqrt(1 - a^2) xi(k) with a = exp(-d / correlation), d frames later.

    Args:
        seed: of the run.
        n_samples: structures of each frame.
        n_residues: of the chains.
        coherence: one of the three.
        correlation: frames in which the correlation falls to 1/e; for "ou" only.

    Example:
        >>> streams = NoiseStreams(1, 2, 3)
        >>> streams.draw(0).shape
        torch.Size([2, 3, 14, 3])
    """

    def __init__(
        self, seed: int, n_samples: int, n_residues: int, coherence: Coherence = "none", correlation: float = 10.0
    ) -> None:
        if coherence not in get_args(Coherence):
            known = ", ".join(get_args(Coherence))
            raise ValueError(message("`coherence`", f"one of {known}", repr(coherence), "choose one of them"))
        if not (correlation > 0 and math.isfinite(correlation)):
            raise ValueError(message("`correlation`", "a positive number of frames", f"{correlation}", "pass one"))
        self._seed, self._n_samples, self._n_residues = seed, n_samples, n_residues
        self._coherence, self._correlation = coherence, correlation
        self._last: tuple[int, Tensor] | None = None

    def draw(self, frame: int) -> Tensor:
        """Return the noise of a frame, [n_samples, n_residues, 14, 3]; frames must come in rising order."""
        if self._coherence == "shared":
            if self._last is None:
                self._last = (frame, self._fresh(_SHARED))
            return self._last[1]
        fresh = self._fresh(frame)
        if self._coherence == "none":
            return fresh
        if self._last is not None:
            keep = math.exp((self._last[0] - frame) / self._correlation)
            fresh = keep * self._last[1] + math.sqrt(1.0 - keep * keep) * fresh
        self._last = (frame, fresh)
        return fresh

    def again(self, frame: int, sample: int, attempt: int) -> Tensor:
        """Return other noise for one structure, [n_residues, 14, 3]; each residue has a stream of its own.

        Args:
            frame: of the structure; with "shared" noise, all frames have the same.
            sample: of the structure.
            attempt: from 1; the noise of `draw` is that of attempt 0.
        """
        return self._normal(_SHARED if self._coherence == "shared" else frame, sample, attempt)

    def _fresh(self, frame: int) -> Tensor:
        return torch.stack([self._normal(frame, sample, 0) for sample in range(self._n_samples)])

    def _normal(self, frame: int, sample: int, attempt: int) -> Tensor:
        seed, residues = structure_seed(self._seed, frame, sample), torch.arange(self._n_residues)
        return philox_normal(seed, residues, attempt, 3 * N_SLOTS).view(-1, N_SLOTS, 3)


def _mix(state: int) -> int:
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
