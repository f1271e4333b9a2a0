"""A model that needs no training: atoms scattered around their CA by the noise that it is handed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashmd.backmap.residues import SLOT_CA

SPREAD = 0.1
"""nm."""


class Scatter:
    """Keeps what it was asked, for tests of what reaches a model."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.asked: dict[str, Any] = {}

    def sample(self, chains: Any, positions: Tensor, known: Tensor, *, noise: Tensor, **rest: Any) -> Tensor:
        self.sizes.append(positions.shape[0])
        self.asked = rest
        ca = positions[:, :, SLOT_CA, None]
        drawn = torch.where(chains.mask[:, :, None], ca + SPREAD * noise, ca)
        return torch.where(known[:, :, None], positions, drawn)
