"""Small proteins for the tests of backmapping, made without any file."""

import math

import pytest
import torch

from flashmd.backmap.chains import Chains
from flashmd.backmap.dataset import Structure
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.network import NetworkConfig
from flashmd.backmap.residues import ONE_LETTER

SMALL = NetworkConfig(width=16, edge_width=16, n_layers=2, n_neighbors=6, n_conformers=4)


def helix(n_residues: int) -> torch.Tensor:
    """CA atoms of an ideal alpha-helix, nm: [n_residues, 3]."""
    turn = torch.arange(n_residues) * math.radians(100.0)
    return torch.stack([0.23 * turn.cos(), 0.23 * turn.sin(), 0.15 * torch.arange(n_residues)], dim=-1)


@pytest.fixture
def structures() -> list[Structure]:
    """Four helices of all residue types with invented but chiral atoms."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for index in range(4):
        sequence = "".join(ONE_LETTER[int(k)] for k in torch.randperm(20, generator=generator))
        chains = Chains.from_sequence(sequence)
        ca = helix(20)
        offsets = 0.15 * torch.randn(20, 14, 3, generator=generator) * chains.mask[:, :, None]
        offsets[:, 1] = 0.0
        made.append(Structure(f"helix{index}", chains, ca[:, None] + offsets))
    return made


@pytest.fixture
def model(structures: list[Structure]) -> BackmapModel:
    """A model with random weights and tables of the invented structures."""
    torch.manual_seed(5)
    made = BackmapModel(SMALL)
    made.prior.fit(structures)
    for parameter in made.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.fixture
def ca_only() -> torch.Tensor:
    """Only the CA atoms of twenty residues are known."""
    known = torch.zeros(20, 14, dtype=torch.bool)
    known[:, 1] = True
    return known
