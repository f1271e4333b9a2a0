"""Structures that are disturbed and repaired."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from tests.backmap.peptides import peptide
from tests.backmap.structures import SHARED, read_heavy


def ca_only(chains: Chains) -> Tensor:
    """Return the mask of known atoms of a trace."""
    known = torch.zeros_like(chains.mask)
    known[:, 1] = True
    return known


def shaken(chains: Chains, positions: Tensor, size: float, seed: int = 1) -> Tensor:
    """Return positions with noise on all atoms but CA, nm."""
    noise = torch.randn(positions.shape, generator=torch.Generator().manual_seed(seed), dtype=positions.dtype)
    return positions + size * noise * (chains.mask & ~ca_only(chains))[:, :, None]


@pytest.fixture
def helix() -> tuple[Chains, Tensor]:
    """A helix of residues without rings: chains and [1, n_residues, 14, 3]."""
    chains, positions = peptide()
    return chains, positions[None]


@pytest.fixture(scope="module")
def native() -> tuple[Chains, Tensor]:
    """T0869: chains and [1, 104, 14, 3]."""
    path = SHARED / "backmapping" / "test-full-scs-multi_FM_T0869.pdb"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    chains, positions = read_heavy(path)
    return chains, positions[None]
