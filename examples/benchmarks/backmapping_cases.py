"""Native structures whose C-alpha traces are backmapped: validation chains, two CASP targets and fast folders."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.dataset import Structure, load_structures
from flashmd.backmap.quality import read_structures
from flashmd.backmap.quality.bonded import disulfide_pairs
from flashmd.backmap.residues import SLOT_CA

SMALLEST, LARGEST = 60, 210
"""Residues of a validation chain where only some are taken."""
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


def load_cases(data: Path, n_validation: int | None) -> list[Case]:
    """Read the cases from a folder.

    Args:
        data: folder with `backmapping/` and `fast_folders/native/`; what is not there is left out.
        n_validation: number of validation chains, unbound ones without gaps and disulfides, of 60 to 210 residues,
            each sequence once, spread over the file; None for every chain, most proteins in a bound and an unbound
            form.
    """
    path = data / "backmapping" / "validation_chains.npz"
    structures = load_structures(path) if path.is_file() else []
    cases = [_case(structure) for structure in structures]
    if n_validation is None:
        chosen = cases
    else:
        plain = list(_plain(cases))
        number = min(n_validation, len(plain))
        chosen = [plain[len(plain) * index // number] for index in range(number)]
    paths = [(name, "target", data / "backmapping" / f"test-full-scs-multi_FM_{name}.pdb") for name in TARGETS]
    natives = sorted((data / "fast_folders" / "native").glob("*.pdb"))
    paths += [(path.stem.split("_")[0], "fast folder", path) for path in natives]
    return chosen + [case for name, group, path in paths if path.is_file() for case in _complete(name, group, path)]


def _case(structure: Structure) -> Case:
    """Name a chain by its entry, its letter and its form, such as 1KACA for `1KAC_r_u:A`."""
    form = "" if "_u:" in structure.name else "-bound"
    name = structure.name.split("_")[0] + structure.name[-1] + form
    return Case(name, "validation", structure.chains, structure.positions.double())


def _plain(cases: Iterable[Case]) -> Iterator[Case]:
    """Yield unbound chains of moderate length without gaps and disulfides, each sequence once."""
    seen = set()
    for case in cases:
        chains, sequence = case.chains, tuple(case.chains.types.tolist())
        whole = bool(chains.joined[:-1].all()) and SMALLEST <= chains.n_residues <= LARGEST
        bonded = len(disulfide_pairs(chains, case.native[None].numpy()))
        if not case.name.endswith("bound") and whole and sequence not in seen and not bonded:
            seen.add(sequence)
            yield case


def _complete(name: str, group: str, path: Path) -> Iterator[Case]:
    """Yield the first model of a file, if no heavy atom is missing."""
    structure = read_structures(path, replace=("common",))
    native = next(structure.frames(1))[0].double()
    if bool(native[structure.chains.mask].isfinite().all()):
        chains = structure.chains
        yield Case(name, group, chains, torch.where(chains.mask[:, :, None], native, native[:, SLOT_CA, None]))
