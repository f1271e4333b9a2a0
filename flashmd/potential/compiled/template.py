"""A cluster on which the accuracy of a compiled network is measured where no structure is at hand.

It follows from the network alone, so that a model file is compiled to the same tables wherever it is opened.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flashmd.potential.schnet_potential import SchNetPotential
from flashmd.system import System

ATOMS_ALONG_EDGE = 5
ATOMS_PER_CUTOFF = 4.0
"""Bonded atoms are 0.1 to 0.15 nm apart where networks reach 0.5 nm, C-alpha beads 0.38 nm where they reach 1.5 nm."""
JITTER = 0.1
"""Standard deviation of the places, in units of their distance."""
SEED = 0


def standard_cluster(potential: SchNetPotential, bead_types: Mapping[str, int] | None, like: Tensor) -> System:
    """Return atoms of all types of a network, at distances as in molecules.

    Args:
        potential: the network; tells cutoff and number of types.
        bead_types: types in use by name; all rows of the embedding table where names are not known.
        like: a tensor with dtype and device of the positions.
    """
    generator = torch.Generator().manual_seed(SEED)
    ticks = torch.arange(ATOMS_ALONG_EDGE, dtype=torch.float64)
    places = torch.cartesian_prod(ticks, ticks, ticks)
    noise = torch.randn(places.shape, generator=generator, dtype=torch.float64)
    positions = potential.cutoff / ATOMS_PER_CUTOFF * (places + JITTER * noise)
    known = torch.tensor(sorted(set(bead_types.values())) if bead_types else range(potential.config.n_types))
    types = known[torch.randperm(len(places), generator=generator) % len(known)]
    return System.single(positions.to(like), types.to(like.device))
