"""Scrambled Sobol points as Brownian increments, the directions of largest variance of a path first."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.ops import philox_uniform

_BITS = 30


def sobol_increments(seed: int, streams: Tensor, paths: int, steps: int, d: int) -> Tensor:
    """Return increments of `paths` Brownian paths of unit step variance for each stream, [n * paths, steps, d].

    Every stream shifts one scrambled net digitally by numbers of its own, so that streams are independent unbiased
    replicates and depend on nothing but their names.

    Args:
        seed: any integer of 64 bits.
        streams: [n], int64.
        paths: points of the net, a power of two.
        steps: time steps.
        d: dimension of the space.
    """
    net = _net(seed, paths, steps * d).to(streams.device)
    shift = (philox_uniform(seed, streams, 0, steps * d, dtype=torch.float64) * (1 << _BITS)).to(torch.int64)
    bits = net[None] ^ shift[:, None]
    numbers = torch.special.ndtri((bits.to(torch.float64) + 0.5) / (1 << _BITS))
    modes = numbers.reshape(-1, steps, d)
    return torch.einsum("sm,nmd->nsd", _principal_modes(steps).to(modes), modes)


def check_sobol(paths: int, dimension: int) -> None:
    """Raise ValueError unless there is a Sobol net of this size."""
    if paths < 2 or paths & (paths - 1):
        raise ValueError(message("`sobol_paths`", "a power of two", str(paths), "choose 16 or 64, for example"))
    if dimension > torch.quasirandom.SobolEngine.MAXDIM:
        expected = f"at most {torch.quasirandom.SobolEngine.MAXDIM} numbers for each path"
        raise ValueError(message('variance "sobol"', expected, str(dimension), "reduce `steps` or leave it out"))


@functools.lru_cache(maxsize=8)
def _net(seed: int, paths: int, dimension: int) -> Tensor:
    engine = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=seed)
    return (engine.draw(paths, dtype=torch.float64) * (1 << _BITS)).to(torch.int64)


@functools.lru_cache(maxsize=8)
def _principal_modes(steps: int) -> Tensor:
    """Orthogonal [steps, steps]: column m holds the increments of the m-th principal component of a Brownian path."""
    times = torch.arange(1, steps + 1, dtype=torch.float64)
    variance, modes = torch.linalg.eigh(torch.minimum(times[:, None], times[None]))
    paths = (modes * variance.sqrt()).flip(1)
    return torch.diff(paths, dim=0, prepend=paths.new_zeros(1, steps))
