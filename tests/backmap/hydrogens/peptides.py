"""Heavy atoms of peptides without a structure file: points on a wide helix, far enough apart for finite energies."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains

ALL_TYPES = "ARNDCQEGHILKMFPSTWYV"


def helix(chains: Chains, *, frames: int = 1, seed: int = 0) -> Tensor:
    """Return heavy atoms [frames, n_heavy, 3], nm, float64; neighbours in the list are about 0.17 nm apart."""
    along = torch.arange(chains.n_atoms, dtype=torch.float64)
    turn = 0.5 * along
    points = torch.stack([0.3 * turn.cos(), 0.3 * turn.sin(), 0.06 * along], dim=1)
    noise = torch.randn(frames, chains.n_atoms, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return points + 0.02 * noise
