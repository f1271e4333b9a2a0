"""Rows of paths: where they begin, how they stand, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashmd.kinetics.dynamics import State

_VECTORS = ("row", "key", "sign", "age", "exit", "distance", "value", "control", "weight")


@dataclass(frozen=True)
class Starts:
    """Where paths begin; one row for each.

    Attributes:
        x: [rows, d].
        velocity: [rows, d], or None to draw it.
        key: [rows], int64, name of the random stream.
        sign: [rows], 1 or -1 for mirrored noise.
        before: [rows], surrogate at the start.
    """

    x: Tensor
    velocity: Tensor | None
    key: Tensor
    sign: Tensor
    before: Tensor


@dataclass(frozen=True)
class Payoffs:
    """What came of paths.

    Attributes:
        defect: [rows], draws of solution minus surrogate, without what has mean zero.
        control: [rows], what has mean zero; the martingale form is ``defect - control``.
        excess: [rows], bound on what truncation hides.
        steps: [rows], int64.
        truncated: [rows], bool.
    """

    defect: Tensor
    control: Tensor
    excess: Tensor
    steps: Tensor
    truncated: Tensor


@dataclass
class Pool:
    """Paths under way.

    Attributes:
        row: index of each path among all starts.
        key: its random stream.
        sign: of its noise.
        age: steps taken.
        exit: why it ended: number of a set, or one of the codes of `flashmd.kinetics.paths`.
        distance: to each set, [n, n_sets], as `Exits` measures it.
        value: what it has earned.
        control: the sum of mean zero so far.
        weight: of what it earns from now on.
        state: of the dynamics.
    """

    row: Tensor
    key: Tensor
    sign: Tensor
    age: Tensor
    exit: Tensor
    distance: Tensor
    value: Tensor
    control: Tensor
    weight: Tensor
    state: State

    def select(self, chosen: Tensor) -> Pool:
        """Return some of the paths; `chosen` are indices."""
        parts = {name: getattr(self, name)[chosen] for name in _VECTORS}
        return Pool(**parts, state=tuple(each[chosen] for each in self.state))

    def join(self, other: Pool) -> Pool:
        """Return the paths of both."""
        parts: dict[str, Any] = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in _VECTORS}
        pairs = zip(self.state, other.state, strict=True)
        return Pool(**parts, state=tuple(torch.cat(pair) for pair in pairs))
