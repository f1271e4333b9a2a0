"""SchNet on many frames of one small molecule, all pairs connected: the fast path of training.

Every frame has the same pairs, so gathering from and summing over them are products with constant matrices of ones,
which stay matrix products under differentiation. Pairs beyond the cutoff contribute exactly zero, hence the energy is
that of the network on a neighbour list.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from flashmd.nn.schnet import InteractionBlock, SchNet


class FrameEnergies(nn.Module):
    """Energies of frames of one molecule.

    The cost grows with the square of the number of beads; it is meant for molecules not much larger than the cutoff.

    Args:
        network: the network, shared and not copied.
        types: [n_beads], int64.

    Example:
        >>> import torch
        >>> from flashmd.nn import SchNet, SchNetConfig
        >>> network = SchNet(SchNetConfig(n_types=3, n_channels=8, n_filters=4, n_basis=5, n_blocks=1, readout=(4,)))
        >>> FrameEnergies(network, torch.tensor([1, 2, 1]))(torch.rand(7, 3, 3)).shape
        torch.Size([7])
    """

    def __init__(self, network: SchNet, types: Tensor) -> None:
        super().__init__()
        self.network = network
        n_beads = types.shape[0]
        first, second = torch.triu_indices(n_beads, n_beads, 1)
        ones = torch.eye(n_beads, dtype=network.embedding.weight.dtype)
        self.types: Tensor
        self._first: Tensor
        self._second: Tensor
        self.register_buffer("types", types, persistent=False)
        self.register_buffer("_first", ones[first], persistent=False)
        self.register_buffer("_second", ones[second], persistent=False)

    @property
    def n_pairs(self) -> int:
        """Number of pairs of a frame."""
        return self._first.shape[0]

    def forward(self, positions: Tensor) -> Tensor:
        """Return the energies [n_frames], kJ/mol, of positions [n_frames, n_beads, 3], nm."""
        network, n_frames = self.network, positions.shape[0]
        distance = torch.linalg.vector_norm((self._second - self._first) @ positions, dim=-1)
        filters = network.filters(distance.reshape(-1)).unflatten(1, (n_frames, self.n_pairs))
        features = network.embedding(self.types).expand(n_frames, -1, -1)
        for module, weight in zip(network.blocks, filters.unbind(0), strict=True):
            block = cast("InteractionBlock", module)
            sent = block.project(features)
            messages = self._first.t() @ (weight * (self._second @ sent))
            messages = messages + self._second.t() @ (weight * (self._first @ sent))
            features = block.respond(features, messages)
        energy: Tensor = network.readout(features)
        return energy.squeeze(-1).sum(1)
