"""Small PDB files of C-alpha traces, and the parts of real entries that lie beside the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
TWO_CHAINS, GAP, MODIFIED = DATA / "4zhl_parts.pdb", DATA / "2xhe_gap.cif", DATA / "1a8o_mse.pdb"
SEQUENCE = ("GLY", "ALA", "TRP", "LYS", "PRO", "TYR")


def helix(n_residues: int) -> np.ndarray:
    """C-alpha positions of a helix, Å: [n_residues, 3]; neighbours are 3.8 Å apart."""
    turn = np.deg2rad(100.0) * np.arange(n_residues)
    return np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.47 * np.arange(n_residues)], axis=1)


def atom_line(serial: int, name: str, residue: str, chain: str, number: str, position: Sequence[float]) -> str:
    """A PDB record; `number` may carry an insertion code."""
    code = number[-1] if number[-1].isalpha() else " "
    value = int(number.rstrip("ABCDEFGH"))
    x, y, z = position
    place = f"{residue:>3} {chain}{value:4d}{code}"
    return f"ATOM  {serial:5d} {name:^4} {place}   {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           {name[0]}\n"


def write_trace(
    path: Path,
    positions: np.ndarray | None = None,
    *,
    names: Sequence[str] = SEQUENCE,
    chains: str | None = None,
    numbers: Sequence[str] | None = None,
    atom: str = "CA",
) -> Path:
    """Write models of one atom for each residue; positions are [n_models, n_residues, 3] or [n_residues, 3] in Å."""
    frames = helix(len(names)) if positions is None else positions
    frames = frames[None] if frames.ndim == 2 else frames
    chains = "A" * len(names) if chains is None else chains
    numbers = [str(index + 1) for index in range(len(names))] if numbers is None else numbers
    text = []
    for model, frame in enumerate(frames, start=1):
        text.append(f"MODEL     {model:4d}\n")
        rows = zip(names, chains, numbers, frame, strict=True)
        text += [atom_line(i, atom, *row) for i, row in enumerate(rows, start=1)]
        text.append("ENDMDL\n")
    path.write_text("".join([*text, "END\n"]), encoding="utf-8")
    return path
