"""Heavy atoms of PDB files that tests read without the package's own readers."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains, ResidueLabel
from flashmd.backmap.residues import ATOMS, RESIDUES, SLOT_C, SLOT_N

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
LONGEST_BOND = 0.2


def read_heavy(path: Path) -> tuple[Chains, Tensor]:
    """Return residues and padded positions of the first model, nm, float64; C and N that are close join residues."""
    labels: list[ResidueLabel] = []
    places: list[dict[str, list[float]]] = []
    for row in path.read_text().split("ENDMDL")[0].splitlines():
        if row.startswith("ATOM") and row[17:20] in RESIDUES:
            label = ResidueLabel(row[21].strip(), int(row[22:26]), row[26].strip(), row[17:20])
            if not labels or labels[-1] != label:
                labels.append(label)
                places.append({})
            places[-1][row[12:16].strip()] = [float(row[column : column + 8]) / 10 for column in (30, 38, 46)]
    padded = torch.tensor(
        [
            [place[name] for name in ATOMS[label.name]] + [place["CA"]] * (14 - len(ATOMS[label.name]))
            for label, place in zip(labels, places, strict=True)
        ],
        dtype=torch.float64,
    )
    close = (padded[1:, SLOT_N] - padded[:-1, SLOT_C]).norm(dim=-1) < LONGEST_BOND
    types = torch.tensor([RESIDUES.index(label.name) for label in labels])
    return Chains(types, torch.cat([close, close.new_zeros(1)]), tuple(labels)), padded


def write_heavy(path: Path, chains: Chains, frames: Tensor) -> Path:
    """Write models of heavy atoms, [n_frames, n_residues, 14, 3], nm, NaN where an atom is left out."""
    lines = []
    for number, frame in enumerate(frames.tolist(), start=1):
        lines.append(f"MODEL     {number:4d}")
        for label, kind, atoms in zip(chains.labels, chains.types.tolist(), frame, strict=True):
            for name, place in zip(ATOMS[RESIDUES[kind]], atoms, strict=False):
                if place[0] != place[0]:
                    continue
                x, y, z = (10 * value for value in place)
                lines.append(
                    f"ATOM  {len(lines) % 100000:5d}  {name:<3s} {label.name:3s} {label.chain or ' '}{label.number:4d}"
                    f"{label.insertion_code or ' '}   {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           {name[0]}"
                )
        lines.append("ENDMDL")
    path.write_text("\n".join([*lines, "END", ""]))
    return path
