"""SchNet on many frames of one molecule: the path of training.

Every frame has the same pairs, all of the molecule's, so no neighbour search is needed. Pairs beyond the cutoff
contribute exactly zero, and through a table they cost no more than their distance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flashmd.nn.filter_table import FilterTable, tabulate
from flashmd.nn.schnet import SchNet
from flashmd.ops import Edges, edge_geometry
from flashmd.system import System


class FrameEnergies(nn.Module):
    """Energies of frames of one molecule.

    Args:
        network: the network, shared and not copied.
        types: [n_beads], int64.
        n_knots: read the filters from a table of so many distances; None evaluates them for each pair.
        backend: "kernel" or "reference".

    Example:
        >>> import torch
        >>> from flashmd.nn import SchNet, SchNetConfig
        >>> network = SchNet(SchNetConfig(n_types=3, n_channels=8, n_filters=4, n_basis=5, n_blocks=1, readout=(4,)))
        >>> energies = FrameEnergies(network, torch.tensor([1, 2, 1]), n_knots=257, backend="reference")
        >>> energies(torch.rand(7, 3, 3)).shape
        torch.Size([7])
    """

    def __init__(self, network: SchNet, types: Tensor, *, n_knots: int | None = None, backend: str = "kernel") -> None:
        super().__init__()
        self.network = network
        self.n_knots = n_knots
        self.backend = backend
        self.types: Tensor
        self.register_buffer("types", types, persistent=False)
        self._batch: tuple[System, Edges] | None = None

    @property
    def n_beads(self) -> int:
        """Number of beads of the molecule."""
        return self.types.shape[0]

    @property
    def n_pairs(self) -> int:
        """Number of pairs of a frame."""
        return self.n_beads * (self.n_beads - 1) // 2

    def table(self) -> FilterTable | None:
        """Return the table of the network as it is now, differentiable in its parameters, or None without tables."""
        return None if self.n_knots is None else tabulate(self.network, self.n_knots)

    def forward(self, positions: Tensor, table: FilterTable | None = None) -> Tensor:
        """Return the energies of frames.

        Args:
            positions: [n_frames, n_beads, 3], nm.
            table: table of the network where one exists already, see `table`.

        Returns:
            [n_frames], kJ/mol.
        """
        n_frames = positions.shape[0]
        system, edges = self._frames(positions)
        system = system.with_positions(positions.reshape(-1, 3))
        distance = edge_geometry(system, edges, backend=self.backend)[1]
        table = self.table() if table is None else table
        atoms: Tensor = self.network(system.types, edges, distance, half=True, table=table, backend=self.backend)
        return atoms.view(n_frames, self.n_beads).sum(1)

    def _frames(self, positions: Tensor) -> tuple[System, Edges]:
        """Return types and pairs of a batch, kept until another number of frames, dtype or device is asked for."""
        n_frames, n_beads = positions.shape[0], self.n_beads
        like = None if self._batch is None else self._batch[0].positions
        wanted = (n_frames * n_beads, positions.dtype, positions.device)
        if self._batch is None or like is None or (like.shape[0], like.dtype, like.device) != wanted:
            first, second = torch.triu_indices(n_beads, n_beads, 1)
            offset = torch.arange(n_frames)[:, None] * n_beads
            edges = Edges.from_pairs((first + offset).view(-1), (second + offset).view(-1), n_frames * n_beads)
            single = System.single(positions.new_zeros(n_beads, 3), self.types)
            self._batch = single.replicate(n_frames), edges.to(positions.device)
        return self._batch
