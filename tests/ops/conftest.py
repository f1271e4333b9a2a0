"""Systems and graphs that the operators are tried on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flashmd.ops import Edges


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)


@pytest.fixture
def numbers(generator: torch.Generator) -> Callable[..., Tensor]:
    """Float64 standard normal numbers of a given shape."""
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def random_edges(n_atoms: int, n_edges: int, generator: torch.Generator, n_isolated: int = 0) -> Edges:
    """Random directed pairs, repeated ones included; the last atoms may be isolated."""
    ends = torch.randint(0, n_atoms - n_isolated, (2, n_edges), generator=generator)
    return Edges.from_pairs(ends[0], ends[1], n_atoms)


def graphs() -> dict[str, Edges]:
    generator = torch.Generator().manual_seed(21)
    none = torch.zeros(0, dtype=torch.int64)
    return {
        "random": random_edges(7, 20, generator),
        "isolated": random_edges(6, 9, generator, n_isolated=2),
        "one_atom": Edges.from_pairs(none, none, 1),
        "one_atom_own_image": Edges.from_pairs(none.new_zeros(2), none.new_zeros(2), 1),
        "no_edges": Edges.from_pairs(none, none, 4),
        "no_atoms": Edges.from_pairs(none, none, 0),
    }


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    """Both devices run the same test bodies."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param


@pytest.fixture(params=list(graphs()))
def edges(request: pytest.FixtureRequest, device: str) -> Edges:
    return graphs()[request.param].to(device)


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def instruction_set(request: pytest.FixtureRequest) -> int:
    """Number of an instruction set of the vectorised kernels; those that this processor lacks are skipped."""
    level = ["baseline", "avx2", "avx512"].index(request.param)
    form = (0, 0.0, 0, 0.0, 1.0)
    try:
        torch.ops.flashmd.radial_basis(*(torch.zeros(n) for n in (0, 1, 1)), *form, level)
    except RuntimeError as error:
        pytest.skip(str(error))
    return level
