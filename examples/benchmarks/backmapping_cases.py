"""Native structures whose C-alpha traces are backmapped: validation chains, two CASP targets and fast folders."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.dataset import load_structures
from flashmd.backmap.quality import read_structures
from flashmd.backmap.quality.bonded import disulfide_pairs
from flashmd.backmap.residues import SLOT_CA

SMALLEST, LARGEST = 60, 210
"""Residues of a validation chain."""
TARGETS = ("T0862", "T0869")


@dataclass(frozen=True)
class Case:
    """A native structure.

    Attributes:
        name: for tables.
        group: "validation", "target" or "fast folder".
        chains: the residues.
        native: [n_residues, 14, 3], nm, float64.
    """

    name: str
    group: str
    chains: Chains
    native: Tensor

    @property
    def trace(self) -> Tensor:
        """CA positions, [n_residues, 3], nm, as a PDB file has them."""
        return (self.native[:, SLOT_CA] * 1e4).round() / 1e4


def load_cases(data: Path, n_validation: int) -> list[Case]:
    """Read the cases from a folder.

    Args:
        data: folder with `backmapping/` and `fast_folders/native/`; what is not there is left out.
        n_validation: number of validation chains, unbound ones without gaps and disulfides, of 60 to 210 residues,
            each sequence once, spread over the file.
    """
    cases = list(_validation(data / "backmapping" / "validation_chains.npz"))
    number = min(n_validation, len(cases))
    chosen = [cases[len(cases) * index // number] for index in range(number)]
    paths = [(name, "target", data / "backmapping" / f"test-full-scs-multi_FM_{name}.pdb") for name in TARGETS]
    natives = sorted((data / "fast_folders" / "native").glob("*.pdb"))
    paths += [(path.stem.split("_")[0], "fast folder", path) for path in natives]
    return chosen + [case for name, group, path in paths if path.is_file() for case in _complete(name, group, path)]


def _validation(path: Path) -> Iterator[Case]:
    seen = set()
    for entry in load_structures(path) if path.is_file() else []:
        chains, sequence = entry.chains, tuple(entry.chains.types.tolist())
        whole = bool(chains.joined[:-1].all()) and SMALLEST <= chains.n_residues <= LARGEST
        unbound = "_u:" in entry.name
        if (
            unbound
            and whole
            and sequence not in seen
            and not len(disulfide_pairs(chains, entry.positions[None].double().numpy()))
        ):
            seen.add(sequence)
            yield Case(entry.name.split("_")[0] + entry.name[-1], "validation", chains, entry.positions.double())


def _complete(name: str, group: str, path: Path) -> Iterator[Case]:
    """Yield the first model of a file, if no heavy atom is missing."""
    structure = read_structures(path, replace=("common",))
    native = next(structure.frames(1))[0].double()
    if bool(native[structure.chains.mask].isfinite().all()):
        chains = structure.chains
        yield Case(name, group, chains, torch.where(chains.mask[:, :, None], native, native[:, SLOT_CA, None]))
