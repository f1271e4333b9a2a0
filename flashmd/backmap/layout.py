"""The atoms of outputs: one flat list with the identity of the input, and a carboxylate at the end of each segment.

A segment is a run of residues joined by peptide bonds: a chain, or its part up to a gap. Programs that read a structure
bond neighbours of one chain, so a gap ends a segment like the end of a chain does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains, ResidueLabel
from flashmd.backmap.residues import ATOMS, RESIDUES


@dataclass(frozen=True)
class AtomLayout:
    """Names of the atoms of an output.

    Attributes:
        labels: identity of each residue.
        segments: index of the segment of each residue.
        residues: index of the residue of each atom.
        names: of the atoms.
        elements: symbols.

    Example:
        >>> heavy_layout(Chains.from_sequence("GA")).names
        ('N', 'CA', 'C', 'O', 'N', 'CA', 'C', 'O', 'CB', 'OXT')
    """

    labels: tuple[ResidueLabel, ...]
    segments: tuple[int, ...]
    residues: tuple[int, ...]
    names: tuple[str, ...]
    elements: tuple[str, ...]

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.names)

    def ends_segment(self, atom: int) -> bool:
        """Whether an atom is the last one of its segment."""
        last = atom + 1 == self.n_atoms
        return last or self.segments[self.residues[atom]] != self.segments[self.residues[atom + 1]]


def segments_of(chains: Chains) -> tuple[int, ...]:
    """Return the index of the segment of each residue."""
    ends = ~chains.joined
    return tuple((ends.cumsum(0) - ends.long()).tolist())


def heavy_layout(chains: Chains) -> AtomLayout:
    """Return the atoms of structures without hydrogens."""
    residues: list[int] = []
    names: list[str] = []
    for index, (kind, joined) in enumerate(zip(chains.types.tolist(), chains.joined.tolist(), strict=True)):
        own = [*ATOMS[RESIDUES[kind]], *([] if joined else ["OXT"])]
        residues += [index] * len(own)
        names += own
    elements = tuple(name[0] for name in names)
    return AtomLayout(chains.labels, segments_of(chains), tuple(residues), tuple(names), elements)


def heavy_positions(chains: Chains, positions: Tensor, oxt: Tensor) -> Tensor:
    """Return the positions of the atoms of `heavy_layout`: [n_frames, n_atoms, 3], nm.

    Args:
        chains: the residues.
        positions: [n_frames, n_residues, 14, 3], nm.
        oxt: [n_frames, n_residues, 3], nm, read at the ends of segments.
    """
    mask = torch.cat([chains.mask, ~chains.joined[:, None]], dim=1)
    return torch.cat([positions, oxt[:, :, None]], dim=2)[:, mask]
