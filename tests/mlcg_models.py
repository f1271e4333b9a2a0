"""Small random models of the CGSchNet family, described as its software would write them (angstrom, kcal/mol)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from tests.mlcg_files import Described, Sparse, configuration, module

N_TYPES, N_CHANNELS, N_FILTERS, N_BASIS, CUTOFF = 6, 10, 7, 9, 12.0
TYPES = torch.tensor([1, 2, 3, 4, 5, 2, 1, 3])


def generator(seed: int = 0) -> torch.Generator:
    """Return a seeded source of random numbers."""
    return torch.Generator().manual_seed(seed)


def linear(n_in: int, n_out: int, rng: torch.Generator, *, bias: bool = True) -> Described:
    """Return a linear layer."""
    parameters: dict[str, Any] = {"weight": torch.randn(n_out, n_in, generator=rng) / math.sqrt(n_in)}
    parameters["bias"] = 0.3 * torch.randn(n_out, generator=rng) if bias else None
    return module("torch.nn.modules.linear.Linear", parameters=parameters)


def mlp(widths: list[int], rng: torch.Generator, activation: str = "Tanh") -> Described:
    """Return a perceptron without a bias in its last layer."""
    layers: dict[str, Any] = {}
    for index, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        last = index == len(widths) - 2
        layers[str(2 * index)] = linear(n_in, n_out, rng, bias=not last)
        if not last:
            layers[str(2 * index + 1)] = module(f"torch.nn.modules.activation.{activation}")
    return module(
        "mlcg.nn.mlp.MLP", modules={"layers": module("torch.nn.modules.container.Sequential", modules=layers)}
    )


def cutoff(kind: str = "CosineCutoff", lower: float = 0.0, upper: float = CUTOFF) -> Described:
    """Return an envelope."""
    return module(f"mlcg.nn.cutoff.{kind}", cutoff_lower=lower, cutoff_upper=upper)


def exp_normal(upper: float = CUTOFF) -> Described:
    """Return the exponential basis with the values its cutoffs define."""
    start = math.exp(-upper)
    means = torch.linspace(start, 1.0, N_BASIS)
    betas = torch.full((N_BASIS,), (2 / N_BASIS * (1 - start)) ** -2)
    return module(
        "mlcg.nn.radial_basis.exp_normal.ExpNormalBasis",
        buffers={"means": means, "betas": betas},
        modules={"cutoff": cutoff(upper=upper)},
        trainable=False,
        alpha=5.0 / upper,
    )


def gaussian(upper: float = CUTOFF) -> Described:
    """Return the Gaussian basis with the values its cutoffs define."""
    offset = torch.linspace(0.0, upper, N_BASIS)
    return module(
        "mlcg.nn.radial_basis.gaussian.GaussianBasis",
        buffers={"offset": offset, "coeff": -0.5 / (offset[1] - offset[0]) ** 2},
        modules={"cutoff": cutoff("IdentityCutoff", upper=upper)},
        trainable=False,
    )


def schnet(basis: Described | None = None, *, seed: int = 0, activation: str = "Tanh", n_blocks: int = 2) -> Described:
    """Return a network with random weights."""
    rng = generator(seed)
    blocks: dict[str, Any] = {}
    for index in range(n_blocks):
        conv = module(
            "mlcg.nn.schnet.CFConv",
            modules={
                "lin1": linear(N_CHANNELS, N_FILTERS, rng, bias=False),
                "lin2": linear(N_FILTERS, N_CHANNELS, rng),
                "filter_network": mlp([N_BASIS, N_FILTERS, N_FILTERS], rng, activation),
                "cutoff": cutoff(),
            },
            aggr="add",
        )
        parts = {
            "conv": conv,
            "activation": module(f"torch.nn.modules.activation.{activation}"),
            "lin": linear(N_CHANNELS, N_CHANNELS, rng),
        }
        blocks[str(index)] = module("mlcg.nn.schnet.InteractionBlock", modules=parts)
    embedding = {"weight": torch.randn(N_TYPES, N_CHANNELS, generator=rng)}
    return module(
        "mlcg.nn.schnet.StandardSchNet",
        modules={
            "embedding_layer": module("torch.nn.modules.sparse.Embedding", parameters=embedding),
            "rbf_layer": exp_normal() if basis is None else basis,
            "interaction_blocks": module("torch.nn.modules.container.Sequential", modules=blocks),
            "output_network": mlp([N_CHANNELS, 8, 5, 1], rng, activation),
        },
        max_num_neighbors=1000,
        self_interaction=False,
    )


def wrapped(name: str, model: Described) -> Described:
    """Return an energy in the wrapper that gives forces."""
    return module("mlcg.nn.gradients.GradientsOut", modules={"model": model}, name=name, targets=["forces"])


def summed(models: dict[str, Described]) -> Described:
    """Return the sum of wrapped energies."""
    table = module(
        "torch.nn.modules.container.ModuleDict", modules={name: wrapped(name, each) for name, each in models.items()}
    )
    return module("mlcg.nn.gradients.SumOut", modules={"models": table}, targets=["energy", "forces"])


def dense(order: int, rng: torch.Generator, low: float, high: float, rows: int | None = None) -> Tensor:
    """Return a table over types that is the same for both directions of a tuple."""
    shape = (N_TYPES,) * order
    full = torch.rand((*((rows,) if rows else ()), *shape), generator=rng) * (high - low) + low
    axes = list(range(full.dim()))
    begin = full.dim() - order
    return (full + full.permute(*axes[:begin], *reversed(axes[begin:]))) / 2


def sparse(table: Tensor) -> Sparse:
    """Return a dense table as a sparse one."""
    indices = table.nonzero().T
    return Sparse(indices.contiguous(), table[tuple(indices)].contiguous(), tuple(table.shape))


def configurations(lists: dict[str, Tensor], n_frames: int = 2, seed: int = 3) -> list[Described]:
    """Return random compact configurations of eight beads, masses in the scaled unit."""
    rng = generator(seed)
    line = torch.arange(8)[:, None] * torch.tensor([1.8, 1.2, 0.9])
    return [
        configuration(
            line + 1.2 * torch.randn(8, 3, generator=rng), TYPES, lists, torch.full((8,), 12.0).double() / 418.4
        )
        for _ in range(n_frames)
    ]


def consecutive(order: int) -> Tensor:
    """Return the list of consecutive beads."""
    return torch.stack([torch.arange(8 - order + 1) + shift for shift in range(order)], dim=1)


PAIRS = torch.tensor([(i, j) for i in range(8) for j in range(i + 3, 8)])
