"""Batches of structures: which proteins, cropped how, with which atoms given, at which times.

Everything random depends on the seed and on the number of the epoch or step alone, so that an interrupted training
continues with the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flashmd.backmap.dataset import Structure
from flashmd.backmap.flow import Batch
from flashmd.backmap.frames import to_local
from flashmd.backmap.graph import Trace, join_traces, make_graph, make_trace
from flashmd.backmap.residues import N_SLOTS, RESIDUES, SLOT_C, SLOT_CA, SLOT_CB, SLOT_N, SLOT_O

_SHARES = {"ca": 0.75, "backbone": 0.05, "five_bead": 0.1, "centroids": 0.05, "random": 0.05}
"""How often a protein is shown with which atoms given."""


@dataclass(frozen=True)
class Example:
    """A protein with its structure in local frames [n, 14, 3], nm; only CA known yet."""

    trace: Trace
    structure: Tensor


def make_example(structure: Structure) -> Example:
    """Prepare a structure."""
    known = torch.zeros(structure.chains.n_residues, N_SLOTS, dtype=torch.bool)
    known[:, SLOT_CA] = True
    trace = make_trace(structure.chains, structure.positions[None, :, SLOT_CA], known)
    return Example(trace, to_local(structure.positions, trace.ca, trace.axes))


def crop(example: Example, n_residues: int, generator: torch.Generator) -> Example:
    """Keep the residues closest to a random one, in their order along the chain."""
    size = example.trace.types.shape[0]
    if size <= n_residues:
        return example
    centre = int(torch.randint(size, (1,), generator=generator))
    distance = (example.trace.ca - example.trace.ca[centre]).norm(dim=-1)
    kept = distance.topk(n_residues, largest=False).indices.sort().values
    return Example(example.trace[kept], example.structure[kept])


def give_atoms(example: Example, generator: torch.Generator) -> Example:
    """Draw which atoms are given besides CA."""
    kind = list(_SHARES)[int(torch.multinomial(torch.tensor(list(_SHARES.values())), 1, generator=generator))]
    trace = example.trace
    if kind == "ca":
        return example
    if kind == "centroids":
        side = (trace.free & (torch.arange(N_SLOTS) >= SLOT_CB)).float()
        count = side.sum(1, keepdim=True)
        centroids = (example.structure * side[..., None]).sum(1) / count.clamp_min(1)
        return replace(example, trace=replace(trace, centroids=centroids, has_centroid=count[:, 0] > 0))
    known = trace.known.clone()
    if kind == "random":
        known |= torch.rand(known.shape, generator=generator) < torch.rand(known.shape[0], 1, generator=generator)
        known &= (torch.rand(known.shape[0], 1, generator=generator) < 0.5) | trace.known
    else:
        known[:, [SLOT_N, SLOT_C, SLOT_O]] = True
        known[:, SLOT_CB] = (trace.types != RESIDUES.index("GLY")) & (kind == "five_bead")
    return replace(example, trace=replace(trace, known=known & (trace.free | trace.known)))


def blur(trace: Trace, width: float, generator: torch.Generator) -> Trace:
    """Displace the C-alphas as residues see them of each other; frames and what is given inside them stay.

    Args:
        trace: residues.
        width: nm, standard deviation of a displacement along an axis.
        generator: of the noise.
    """
    ca = trace.ca + width * torch.randn(trace.ca.shape, generator=generator)
    place, there = trace.window[..., :3], trace.window[..., 3:]
    place = place + width * there * torch.randn(place.shape, generator=generator)
    return replace(trace, ca=ca, window=torch.cat([place, there], dim=-1))


def make_batch(
    examples: Sequence[Example], times: Tensor, n_neighbors: int, seen: Sequence[Trace] | None = None
) -> Batch:
    """Put proteins into one row.

    Args:
        examples: proteins.
        times: [n_proteins], in [0, 1].
        n_neighbors: of the network.
        seen: what the network is shown of the proteins, their own traces where left out.
    """
    sizes = [example.trace.types.shape[0] for example in examples]
    trace = join_traces([example.trace for example in examples])
    shown = trace if seen is None else join_traces(seen)
    return Batch(
        trace=trace,
        seen=shown,
        graph=make_graph(shown, sizes, n_neighbors),
        structure=torch.cat([example.structure for example in examples]),
        time=times.repeat_interleave(torch.tensor(sizes)),
    )


def epoch_batches(
    examples: Sequence[Example],
    *,
    batch_residues: int,
    crop_residues: int,
    n_neighbors: int,
    trace_noise: float,
    seed: int,
    epoch: int,
) -> Iterator[tuple[Batch, torch.Generator]]:
    """Yield the batches of an epoch with a generator for their noise.

    Each protein is shown once; the times within a batch are spread evenly.
    """
    order_generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    group: list[Example] = []
    size = 0
    for index in torch.randperm(len(examples), generator=order_generator).tolist():
        example = give_atoms(crop(examples[index], crop_residues, order_generator), order_generator)
        group.append(example)
        size += example.trace.types.shape[0]
        if size >= batch_residues:
            noise = torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=order_generator)))
            start = torch.rand(1, generator=noise)
            times = (start + torch.arange(len(group)) / len(group)) % 1.0
            widths = (trace_noise * torch.rand(len(group), generator=noise)).tolist()
            seen = [blur(each.trace, width, noise) for each, width in zip(group, widths, strict=True)]
            yield make_batch(group, times, n_neighbors, seen), noise
            group, size = [], 0
