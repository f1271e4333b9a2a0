"""A bond through a ring, which drawn structures should not have."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains


def threaded() -> tuple[Chains, Tensor]:
    """A phenylalanine in the x-y plane with the bond CD-CE of a lysine through its ring."""
    chains = Chains.from_sequence(["K", "F"])
    positions = torch.zeros(1, 2, 14, 3, dtype=torch.float64)
    corner = torch.arange(6) * torch.pi / 3
    ring = 0.14 * torch.stack([corner.cos(), corner.sin(), torch.zeros(6)], 1)
    positions[0, 1, 5:11] = ring
    positions[0, 1, 4] = torch.tensor([0.29, 0.0, 0.0])
    positions[0, 1, [1, 0, 2, 3]] = torch.tensor(
        [[0.34, 0.14, 0.0], [0.3, 0.2, 0.1], [0.48, 0.15, 0.0], [0.55, 0.1, 0.1]]
    ).double()
    positions[0, 1, 11:] = positions[0, 1, 1]
    zigzag = torch.tensor([0.05, -0.04, 0.05, -0.04, 0.05, -0.04])
    positions[0, 0, [1, 4, 5, 6, 7, 8], 2] = torch.tensor([0.58, 0.455, 0.33, 0.07, -0.06, -0.19]).double() - 0.0
    positions[0, 0, [1, 4, 5, 6, 7, 8], 0] = 0.02 + zigzag.double()
    positions[0, 0, [0, 2, 3]] = torch.tensor([[0.1, 0.12, 0.6], [0.0, -0.1, 0.68], [0.1, -0.2, 0.7]]).double()
    positions[0, 0, 9:] = positions[0, 0, 1]
    return chains, positions
