"""Names of the random streams of a run.

A random number depends on (seed, stream, counter) and on nothing else. The stream of a bead is made of the identity of
its replica and of its index inside the replica, and the counter is the step. Hence a replica meets the same noise in
every batch, however the steps are cut into chunks, and after any restart.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BEAD_BITS = 32
_TEMPERATURE_BITS = 14
_EXCHANGE_FLAG = 1 << 62

VELOCITY_COUNTER = 0
"""Counter of the initial velocities; the noise that leads to step s has counter s >= 1."""


def replica_identities(n_temperatures: int, n_walkers: int) -> Tensor:
    """Return the identity of every replica, temperature-major, [n_temperatures * n_walkers] int64.

    The identity holds the walker in its high bits, so that the first ladder of a run with many walkers equals the
    ladder of a run with one walker.
    """
    temperature = torch.arange(n_temperatures)[:, None]
    walker = torch.arange(n_walkers)[None, :]
    return ((walker << _TEMPERATURE_BITS) + temperature).reshape(-1)


def bead_streams(identities: Tensor, ptr: Tensor) -> Tensor:
    """Return the stream of every bead.

    Args:
        identities: [n_systems], int64, identity of each replica.
        ptr: [n_systems + 1], int64, first bead of each replica.

    Returns:
        [n_atoms], int64.
    """
    counts = ptr[1:] - ptr[:-1]
    replica = torch.repeat_interleave(identities.to(ptr.device), counts)
    first = torch.repeat_interleave(ptr[:-1], counts)
    return (replica << _BEAD_BITS) + torch.arange(replica.shape[0], device=ptr.device) - first


def exchange_streams(n_temperatures: int, n_walkers: int) -> Tensor:
    """Return the stream of every neighbouring pair of temperatures, [n_temperatures - 1, n_walkers] int64."""
    identities = replica_identities(n_temperatures, n_walkers).reshape(n_temperatures, n_walkers)
    return identities[:-1] + _EXCHANGE_FLAG
