"""What is given of a protein: residues, which of their atoms are known, and frames of those, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flashmd.backmap.beads import Beads, Selection, select_beads
from flashmd.backmap.chains import Chains
from flashmd.backmap.connectivity import Gaps, connect, frame_faults
from flashmd.backmap.frame_sources import ArraySource, FrameSource, open_structure, open_trajectory
from flashmd.backmap.names import parse_replacements
from flashmd.backmap.residues import N_SLOTS, SLOT_CA
from flashmd.backmap.site_tables import SiteTable, table_of_mdtraj
from flashmd.errors import message


@dataclass(frozen=True)
class TraceFrames:
    """Consecutive frames of what is given.

    Attributes:
        index: [n_frames], int64, place of each frame in its trajectory, from 0.
        times: [n_frames], float64, ps; the index where the input has no times.
        positions: [n_frames, n_residues, 14, 3], float32, nm; the CA position where nothing is known.
        centroids: [n_frames, n_residues, 3], float32, nm, of side chains; the CA position where none is given.
        faults: for each frame what makes it unusable or doubtful, "" for a good one.
    """

    index: Tensor
    times: Tensor
    positions: Tensor
    centroids: Tensor
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """The given beads of one or more protein chains, and where their frames come from.

    Attributes:
        chains: residues with their identity and the bonds between them.
        known: [n_residues, 14], bool, atoms that are given and are not moved; CA always is.
        centroid_known: [n_residues], bool, side chains whose centroid is given.
        beads: "ca", "backbone", "five_bead", "centroid" or "all".
        notes: what was noticed while reading, in sentences.
    """

    chains: Chains
    known: Tensor
    centroid_known: Tensor
    beads: Beads
    notes: tuple[str, ...]
    _source: FrameSource
    _selection: Selection

    @property
    def n_frames(self) -> int | None:
        """Number of frames; None where only reading to the end would tell."""
        return self._source.n_frames

    @property
    def name(self) -> str:
        """What errors call the input."""
        return self._source.name

    def frames(self, size: int = 64) -> Iterator[TraceFrames]:
        """Hand out all frames in pieces, from the first.

        Args:
            size: frames in one piece.

        Example:
            >>> import torch
            >>> trace = trace_from_positions("GAW", torch.tensor([[0.0, 0, 0], [0.38, 0, 0], [0.5, 0.36, 0]]))
            >>> [piece.positions.shape for piece in trace.frames()]
            [torch.Size([1, 3, 14, 3])]
        """
        for raw in self._source.read(self._selection.atoms, size):
            positions, centroids = self._selection.place(raw.positions, self.chains.n_residues)
            faults = frame_faults(self.chains, positions[..., SLOT_CA, :], raw.positions)
            yield TraceFrames(raw.index, raw.times, positions, centroids, faults)


def read_trace(
    structure: str | PathLike[str] | Any,
    trajectory: str | PathLike[str] | None = None,
    *,
    beads: Beads | str = "auto",
    replace: tuple[str, ...] = (),
    gaps: Gaps | str = "numbering",
) -> Trace:
    """Read what is given of a protein.

    Args:
        structure: PDB or mmCIF file, which may hold many models, another topology file of mdtraj, or an mdtraj
            trajectory.
        trajectory: XTC, DCD, TRR or HDF5 file, or PDB file of many models, of the atoms of `structure`.
        beads: which atoms to take: "ca"; "backbone", N CA C O; "five_bead", N CA CB C O; "centroid", CA and the
            centroid of each side chain; "all" heavy atoms, of which some residues may have fewer; "auto", all of the
            former that there are, for input that is coarse-grained.
        replace: modified residues to read as standard ones, such as "MSE=MET", or "common".
        gaps: "numbering", neighbours too far apart for a peptide bond are an error unless numbers are missing between
            them; "distance", they are always the ends of a gap.

    Raises:
        ValueError: the input cannot be read, or is no protein trace; every residue concerned is named.

    Example:
        >>> trace = read_trace("data/structures/chignolin_native_ca.pdb")
        >>> trace.chains.n_residues, trace.beads, str(trace.chains.labels[0])
        (10, 'ca', 'A:TYR1')
    """
    table, source = _open(structure, trajectory)
    choice = select_beads(table, beads=beads, replacements=parse_replacements(replace), what=source.name)
    first = next(iter(source.read(choice.selection.atoms, 1)), None)
    if first is None:
        raise ValueError(message(source.name, "at least one frame", "none", "pass a file that holds frames"))
    positions, _ = choice.selection.place(first.positions, len(choice.labels))
    joined, notes = connect(choice, positions[0, :, SLOT_CA], gaps=gaps, what=source.name)
    return Trace(
        Chains(choice.types, joined, choice.labels),
        choice.known,
        choice.centroid_known,
        choice.beads,
        (*choice.notes, *notes),
        source,
        choice.selection,
    )


def trace_from_positions(sequence: str | list[str] | Chains, ca: Tensor) -> Trace:
    """Make a trace of C-alpha positions in memory.

    Args:
        sequence: one-letter codes, a list of them for several chains, or the residues.
        ca: [n_frames, n_residues, 3] or [n_residues, 3], nm.

    Raises:
        ValueError: shapes do not agree, or the positions are not those of a protein.

    Example:
        >>> import torch
        >>> trace = trace_from_positions("GA", torch.tensor([[0.0, 0.0, 0.0], [0.38, 0.0, 0.0]]))
        >>> trace.chains.n_residues, trace.n_frames
        (2, 1)
    """
    chains = sequence if isinstance(sequence, Chains) else Chains.from_sequence(sequence)
    frames = ca[None] if ca.ndim == 2 else ca
    n = chains.n_residues
    if frames.ndim != 3 or frames.shape[1:] != (n, 3) or not frames.shape[0]:
        expected, got = f"shape (n_frames, {n}, 3) for {n} residues", f"{tuple(ca.shape)}"
        raise ValueError(message("`ca`", expected, got, "pass one position in nm for each residue"))
    known = torch.zeros(n, N_SLOTS, dtype=torch.bool)
    known[:, SLOT_CA] = True
    source = ArraySource("`ca`", frames.detach().cpu(), torch.arange(frames.shape[0]))
    selection = Selection.of_ca(n)
    if fault := frame_faults(chains, frames[:1].cpu(), frames[:1].cpu())[0]:
        expected = "finite positions with neighbours a peptide bond apart"
        raise ValueError(message("the first frame of `ca`", expected, fault, "give positions in nm"))
    return Trace(chains, known, torch.zeros(n, dtype=torch.bool), "ca", (), source, selection)


def _open(structure: Any, trajectory: str | PathLike[str] | None) -> tuple[SiteTable, FrameSource]:
    if not isinstance(structure, str | PathLike):
        table = table_of_mdtraj(structure.topology)
        positions, times = torch.from_numpy(structure.xyz), torch.from_numpy(structure.time)
        own: FrameSource | None = ArraySource("the trajectory", positions, times)
    else:
        table, own = open_structure(Path(structure))
    if trajectory is not None:
        return table, open_trajectory(Path(trajectory), table.n_atoms)
    if own is None:
        fix = "pass a trajectory as well"
        raise ValueError(message(f"structure `{structure}`", "positions", "names of atoms alone", fix))
    return table, own
