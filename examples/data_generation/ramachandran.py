"""Find the regions of the Ramachandran plot that crystal structures populate.

    python examples/data_generation/ramachandran.py train_chains.npz flashmd/backmap/quality/ramachandran_table.py

For each class of residues, phi and psi are counted in bins of ten degrees and smoothed by a Gaussian of one bin; a
region is the smallest set of bins that holds 99.5 % of the residues.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from flashmd.backmap.dataset import load_structures
from flashmd.backmap.quality.ramachandran import CLASSES, N_BINS, bin_of, ramachandran_classes
from flashmd.backmap.quality.torsion_angles import torsions
from flashmd.errors import message

HELD = 0.995
"""Fraction of the residues of a class inside its region."""
HEAD = '''"""Regions of the Ramachandran plot that hold 99.5 % of the residues of {chains} chains of crystal structures.

Made by `examples/data_generation/ramachandran.py`. A row stands for ten degrees of phi, from -180 on; its nine
hexadecimal digits are 36 bits, one for each ten degrees of psi, from -180 on, the first bit foremost.
"""

REGIONS: dict[str, tuple[str, ...]] = {{
'''


def count(path: Path) -> tuple[np.ndarray, int]:
    """Return the residues of each class and bin, [4, 36, 36], and the number of chains."""
    counts = np.zeros((len(CLASSES), N_BINS**2))
    entries = load_structures(path)
    for entry in entries:
        place, there = bin_of(torsions(entry.chains, entry.positions))
        np.add.at(counts, (ramachandran_classes(entry.chains)[there[0]], place[0][there[0]]), 1)
    return counts.reshape(-1, N_BINS, N_BINS), len(entries)


def region(counts: np.ndarray) -> np.ndarray:
    """Return the smallest set of bins with a given part of the residues, densest bins of the smoothed counts first."""
    order = np.argsort(-gaussian_filter(counts, 1.0, mode="wrap"), axis=None, kind="stable")
    held = np.cumsum(counts.ravel()[order]) / counts.sum()
    allowed = np.zeros(counts.size, dtype=bool)
    allowed[order[: int(np.searchsorted(held, HELD)) + 1]] = True
    return allowed.reshape(counts.shape)


def rows_of(allowed: np.ndarray) -> list[str]:
    """Return one string of hexadecimal digits for each row of bins."""
    return [f"{int(''.join('1' if bit else '0' for bit in row), 2):09x}" for row in allowed]


def main() -> int:
    """Read the chains and write the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chains", type=Path, help="NPZ file of chains")
    parser.add_argument("module", type=Path, help="Python file to write")
    arguments = parser.parse_args()
    counts, n_chains = count(arguments.chains)
    empty = [name for name, each in zip(CLASSES, counts, strict=True) if not each.any()]
    if empty:
        fix = "use a file of many chains"
        raise SystemExit(
            message(f"residues of {arguments.chains}", "some of each class", f"no {', '.join(empty)}", fix)
        )
    lines = [HEAD.format(chains=n_chains)]
    for name, each in zip(CLASSES, counts, strict=True):
        rows = rows_of(region(each))
        lines.append(f'    "{name}": (\n')
        groups = (", ".join(f'"{row}"' for row in rows[first : first + 6]) for first in range(0, N_BINS, 6))
        lines.extend(f"        *({group}),\n" for group in groups)
        lines.append("    ),\n")
    arguments.module.write_text("".join([*lines, "}\n"]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
