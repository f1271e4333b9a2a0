"""One layer of an E(n)-equivariant graph network (Satorras, Hoogeboom and Welling, arXiv:2102.09844, eq. 3 to 6).

    m_ij = phi_e(h_i, h_j, e_ij),   x_i' = x_i + sum_j (x_i - x_j) phi_x(m_ij),   h_i' = h_i + phi_h(h_i, sum_j m_ij)

| symbol | variable |
| --- | --- |
| h, x | `features`, `positions` |
| e_ij | `edge_features`, invariants of the pair chosen by the caller, such as functions of its distance |
| phi_e, phi_x, phi_h | `message`, `displacement`, `update` |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LIMIT = 2.0
_INITIAL = 1e-3
_DISPLACEMENT_WIDTH = 128


class EGNNLayer(nn.Module):
    """Messages along edges that come as the same number of neighbours for every node.

    Args:
        width: channels of a node.
        n_edge_features: invariants of an edge.

    Example:
        >>> import torch
        >>> layer = EGNNLayer(8, 1)
        >>> h, x = torch.rand(5, 8), torch.rand(5, 3)
        >>> near = torch.tensor([[1, 2], [0, 2], [0, 1], [4, 0], [3, 0]])
        >>> e = (x[near] - x[:, None]).square().sum(-1, keepdim=True)
        >>> [tuple(y.shape) for y in layer(h, x, near, e)]
        [(5, 8), (5, 3)]
    """

    def __init__(self, width: int, n_edge_features: int) -> None:
        super().__init__()
        n_inputs = 2 * width + n_edge_features
        self.message = nn.Sequential(
            nn.Linear(n_inputs, 2 * n_inputs), nn.SiLU(), nn.Linear(2 * n_inputs, width), nn.SiLU()
        )
        self.displacement = nn.Sequential(
            nn.Linear(width, _DISPLACEMENT_WIDTH), nn.SiLU(), nn.Linear(_DISPLACEMENT_WIDTH, 1)
        )
        self.norm = nn.LayerNorm(width)
        self.update = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=_INITIAL)

    def forward(
        self, features: Tensor, positions: Tensor, neighbors: Tensor, edge_features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return new features and positions.

        Args:
            features: [n, width].
            positions: [n, 3].
            neighbors: [n, k], int64.
            edge_features: [n, k, n_edge_features].
        """
        others = features[neighbors]
        pair = torch.cat([features[:, None].expand_as(others), others, edge_features], dim=-1)
        message = self.message(pair)
        weight = self.displacement(message).clamp(-_LIMIT, _LIMIT)
        moved = positions + (weight * (positions[:, None] - positions[neighbors])).sum(1)
        change: Tensor = self.update(torch.cat([self.norm(features), message.sum(1)], dim=-1))
        return features + change, moved
