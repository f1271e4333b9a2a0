"""One directed edge for each unordered pair.

The filter of an edge depends on its distance alone, so an edge and its reverse share it. Networks that read each pair
once and send messages both ways need half the geometry, basis functions and filters, and half the memory.
"""

from __future__ import annotations

import torch

from flashmd.ops import Edges


def half_edges(edges: Edges) -> Edges:
    """Keep one edge of every pair of a symmetric list.

    Args:
        edges: directed edges that contain the reverse (t, s, -shift) of every edge (s, t, shift), as those of
            :func:`flashmd.ops.neighbor_list` do.

    Returns:
        The edges with receiver < sender, and of the images of an atom with itself those whose first non-zero lattice
        shift is positive.

    >>> import torch
    >>> edges = Edges.from_pairs(torch.tensor([0, 1, 1, 2]), torch.tensor([1, 0, 2, 1]), 3)
    >>> half = half_edges(edges)
    >>> half.receiver.tolist(), half.sender.tolist()
    ([0, 1], [1, 2])
    """
    chosen = edges.receiver < edges.sender
    if edges.periodic:
        sign = edges.shift.sign()
        leading = (sign * torch.tensor([4, 2, 1], device=sign.device)).sum(1)
        chosen |= (edges.receiver == edges.sender) & (leading > 0)
    # What is left keeps its order, both by receiver and by sender, so nothing need be sorted again.
    index = torch.nonzero(chosen)[:, 0]
    kept = torch.cumsum(chosen, 0) - 1
    by_sender = edges.transpose[chosen[edges.transpose]]
    before = torch.nn.functional.pad(torch.cumsum(chosen, 0), (1, 0))
    sent_before = torch.nn.functional.pad(torch.cumsum(chosen[edges.transpose], 0), (1, 0))
    return Edges(
        receiver=edges.receiver[index],
        sender=edges.sender[index],
        shift=edges.shift[index],
        row_ptr=before[edges.row_ptr],
        transpose=kept[by_sender],
        col_ptr=sent_before[edges.col_ptr],
        periodic=edges.periodic,
    )
