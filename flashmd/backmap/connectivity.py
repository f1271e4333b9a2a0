"""Which residues are bonded to the next one, and whether a frame can be a protein, from CA-CA distances.

CA atoms of neighbours are 0.38 nm apart, 0.29 nm where the peptide bond is cis; over a missing
residue it is 0.5 nm or more.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from flashmd.backmap.beads import BeadChoice
from flashmd.backmap.chains import Chains, ResidueLabel
from flashmd.backmap.protein import listed
from flashmd.backmap.residues import SLOT_C, SLOT_N
from flashmd.errors import message

Gaps = Literal["numbering", "distance"]
"""What tells a gap from a wrong distance."""

SHORTEST = 0.26
"""nm between CA atoms of bonded residues."""
LONGEST = 0.45
"""nm between CA atoms of bonded residues; thermal motion of coarse-grained models reaches 0.42 nm."""
LONGEST_CIS = 0.33
"""nm; below, the peptide bond between two residues is cis."""
_LONGEST_ACROSS_NUMBERS = 0.41
"""nm; neighbours whose numbers are not consecutive are bonded up to here."""


def connect(choice: BeadChoice, ca: Tensor, *, gaps: str, what: str) -> tuple[Tensor, list[str]]:
    """Find the peptide bonds of the first frame.

    Args:
        choice: the residues.
        ca: [n_residues, 3], nm, first frame.
        gaps: see `read_trace`.
        what: how errors call the input.

    Returns:
        joined: [n_residues], bool.
        notes: sentences on gaps and cis bonds.

    Raises:
        ValueError: a position is not finite, a distance is none of a peptide, or a chain has one residue.
    """
    if gaps not in get_args(Gaps):
        raise ValueError(message("`gaps`", f"one of {', '.join(get_args(Gaps))}", repr(gaps), "choose one of them"))
    labels = choice.labels
    _refuse_not_finite(ca, labels, what)
    distances = (ca[1:] - ca[:-1]).norm(dim=-1).tolist()
    joined, wrong, notes = [], [], []
    for index, distance in enumerate(distances):
        here, following = labels[index], labels[index + 1]
        if choice.chain_index[index] != choice.chain_index[index + 1]:
            joined.append(False)
            continue
        consecutive = _consecutive(here, following)
        bonded = SHORTEST <= distance <= (LONGEST if consecutive else _LONGEST_ACROSS_NUMBERS)
        joined.append(bonded)
        if bonded and distance < LONGEST_CIS:
            notes.append(f"cis peptide bond between {here} and {following}")
        elif not bonded and (distance < SHORTEST or (consecutive and gaps == "numbering")):
            wrong.append(f"{here} to {following} {distance:.3f} nm")
        elif not bonded:
            notes.append(f"gap between {here} and {following}, {distance:.2f} nm")
    joined.append(False)
    _refuse_distances(wrong, what)
    _refuse_single(joined, choice, what)
    return torch.tensor(joined), notes


def frame_faults(chains: Chains, ca: Tensor, given: Tensor) -> tuple[str, ...]:
    """Say what is wrong with each frame, "" where nothing is.

    Args:
        chains: the residues.
        ca: [n_frames, n_residues, 3], nm.
        given: [n_frames, n_beads, 3], nm, all beads.
    """
    steps = (ca[:, 1:] - ca[:, :-1]).norm(dim=-1)
    wrong = ((steps < SHORTEST) | (steps > LONGEST)) & chains.joined[:-1]
    finite = given.isfinite().flatten(1).all(1)
    faults = []
    for frame in range(ca.shape[0]):
        if not bool(finite[frame]):
            faults.append("positions that are not finite")
        elif bool(wrong[frame].any()):
            pairs = wrong[frame].nonzero().flatten().tolist()
            words = [f"{chains.labels[i]} to {chains.labels[i + 1]} {float(steps[frame, i]):.3f} nm" for i in pairs]
            faults.append(f"CA-CA distances that no peptide has: {listed(words)}")
        else:
            faults.append("")
    return tuple(faults)


def _consecutive(here: ResidueLabel, following: ResidueLabel) -> bool:
    return following.number - here.number in (0, 1)


def _refuse_not_finite(ca: Tensor, labels: tuple[ResidueLabel, ...], what: str) -> None:
    finite = ca.isfinite().all(1).tolist()
    if broken := [label for label, good in zip(labels, finite, strict=True) if not good]:
        got = f"numbers that are not finite at {listed(broken)}"
        raise ValueError(message(f"the first frame of {what}", "finite positions", got, "write the file again"))


def _refuse_distances(wrong: list[str], what: str) -> None:
    if wrong:
        expected = f"CA atoms of neighbours {SHORTEST} to {LONGEST} nm apart"
        fix = (
            "make molecules whole and check units (files are in their own, arrays in nm); where residues are missing "
            "without a jump in their numbers, pass `--gaps distance` (`gaps='distance'`)"
        )
        raise ValueError(message(f"the first frame of {what}", expected, listed(wrong), fix))


def _refuse_single(joined: list[bool], choice: BeadChoice, what: str) -> None:
    before = [False, *joined[:-1]]
    oriented = (choice.known[:, SLOT_N] & choice.known[:, SLOT_C]).tolist()
    rows = zip(choice.labels, before, joined, oriented, strict=True)
    if alone := [label for label, left, right, known in rows if not (left or right or known)]:
        fix = "delete them or pass a longer chain; a single CA does not tell where its residue points"
        raise ValueError(message(f"{listed(alone)} of {what}", "a chain of two residues or more", "one residue", fix))
