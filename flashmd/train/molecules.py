"""Frames of many molecules with energies and forces, as quantum chemistry gives them.

The atoms of all frames lie one after the other, so that a batch of frames of different molecules is a gather.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.system import System
from flashmd.train.dataset import check_arrays, draw_trajectories, sampled_between

_DTYPES = {
    "positions": np.float32,
    "forces": np.float32,
    "energy": np.float64,
    "types": np.int64,
    "ptr": np.int64,
    "trajectory": np.int64,
    "temperature": np.float32,
    "group": np.int64,
}


@dataclass(frozen=True)
class MoleculeDataset:
    """Frames of molecules and clusters of any composition.

    Attributes:
        positions: [n_atoms, 3], float32, nm, frame after frame.
        forces: [n_atoms, 3], float32, kJ/mol/nm.
        energy: [n_frames], float64, kJ/mol.
        types: [n_atoms], int64.
        ptr: [n_frames + 1], int64, first atom of each frame and n_atoms.
        trajectory: [n_frames], int64, continuous trajectory of each frame.
        temperature: [n_frames], float32, K.
        group: [n_frames], int64, index into `group_names`.
        group_names: kinds of molecules, for error tables.
        bead_types: integer of each type by name.
        provenance: how the data were made.

    Example:
        >>> import torch
        >>> from flashmd.train import MoleculeDataset
        >>> zeros = torch.zeros(5, 3)
        >>> data = MoleculeDataset(
        ...     positions=torch.rand(5, 3),
        ...     forces=zeros,
        ...     energy=torch.tensor([-1.0, -2.0], dtype=torch.float64),
        ...     types=torch.tensor([4, 1, 1, 1, 1]),
        ...     ptr=torch.tensor([0, 3, 5]),
        ...     trajectory=torch.tensor([0, 1]),
        ...     temperature=torch.full((2,), 300.0),
        ...     group=torch.tensor([0, 0]),
        ...     group_names=("all",),
        ...     bead_types={"H": 1, "O": 4},
        ... )
        >>> data.subset(torch.tensor([1])).system().types.tolist()
        [1, 1]
    """

    positions: Tensor
    forces: Tensor
    energy: Tensor
    types: Tensor
    ptr: Tensor
    trajectory: Tensor
    temperature: Tensor
    group: Tensor
    group_names: tuple[str, ...]
    bead_types: Mapping[str, int]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_atoms, n_frames = self.types.shape[0], self.ptr.shape[0] - 1
        expected: dict[str, tuple[int, ...]] = {"positions": (n_atoms, 3), "forces": (n_atoms, 3)}
        expected |= dict.fromkeys(("energy", "trajectory", "temperature", "group"), (n_frames,))
        check_arrays({name: (getattr(self, name), shape) for name, shape in expected.items()})

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.ptr.shape[0] - 1

    @property
    def n_atoms(self) -> Tensor:
        """Number of atoms of each frame, [n_frames]."""
        return self.ptr.diff()

    def atoms_of(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the atoms of some frames, one frame after the other, and where each frame begins among them.

        Args:
            frames: [n], int64.

        Returns:
            [n_chosen_atoms] and [n + 1], int64.
        """
        counts = self.n_atoms[frames]
        ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        shift = self.ptr[frames] - ptr[:-1]
        return torch.arange(int(ptr[-1])) + shift.repeat_interleave(counts), ptr

    def subset(self, frames: Tensor) -> MoleculeDataset:
        """Return the frames of an index or mask [n]."""
        frames = torch.nonzero(frames)[:, 0] if frames.dtype == torch.bool else frames
        atoms, ptr = self.atoms_of(frames)
        return MoleculeDataset(
            **{name: getattr(self, name)[atoms] for name in ("positions", "forces", "types")},
            **{name: getattr(self, name)[frames] for name in ("energy", "trajectory", "temperature", "group")},
            ptr=ptr,
            group_names=self.group_names,
            bead_types=self.bead_types,
            provenance=self.provenance,
        )

    def between(self, lowest: float, highest: float) -> MoleculeDataset:
        """Return the frames sampled at temperatures in [lowest, highest] K."""
        return self.subset(sampled_between(self.temperature, lowest, highest))

    def of_group(self, name: str) -> MoleculeDataset:
        """Return the frames of one of `group_names`."""
        return self.subset(self.group == self.group_names.index(name))

    def system(self, *, dtype: torch.dtype = torch.float32) -> System:
        """Return all frames as one batch of open systems."""
        n_atoms, n_frames = self.types.shape[0], self.n_frames
        return System(
            positions=self.positions.to(dtype),
            types=self.types,
            masses=torch.ones(n_atoms, dtype=dtype),
            batch=torch.arange(n_frames).repeat_interleave(self.n_atoms),
            ptr=self.ptr,
            cell=torch.zeros(n_frames, 3, 3, dtype=dtype),
            pbc=torch.zeros(n_frames, 3, dtype=torch.bool),
        )

    def composition(self) -> Tensor:
        """Return how many atoms of each type every frame has, [n_frames, largest type + 1], float64."""
        counts = torch.zeros(self.n_frames, int(self.types.max()) + 1, dtype=torch.float64)
        frame = torch.arange(self.n_frames).repeat_interleave(self.n_atoms)
        return counts.index_put_((frame, self.types), counts.new_ones(()), accumulate=True)

    def split(
        self, *, validation_fraction: float, test_fraction: float = 0.0, seed: int = 0
    ) -> dict[str, MoleculeDataset]:
        """Divide by whole trajectories; see :func:`flashmd.train.split_by_trajectory`.

        Returns:
            The sets "train", "validation" and, with a share above zero, "test".
        """
        sets = draw_trajectories(
            self.trajectory, validation_fraction=validation_fraction, test_fraction=test_fraction, seed=seed
        )
        return {name: self.subset(torch.isin(self.trajectory, chosen)) for name, chosen in sets.items()}


def load_molecules(path: str | PathLike[str]) -> MoleculeDataset:
    """Read a data set written by `save_molecules`.

    Raises:
        ValueError: an array is missing or has a wrong shape.
    """
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in (*_DTYPES, "header") if name not in file.files]
        if missing:
            got, fix = ", ".join(file.files), "write the file with `flashmd.train.save_molecules`"
            raise ValueError(message(f"data set {path}", f"arrays {', '.join(missing)}", got, fix))
        arrays = {name: torch.from_numpy(file[name].astype(dtype)) for name, dtype in _DTYPES.items()}
        header = json.loads(str(file["header"]))
    return MoleculeDataset(
        **arrays,
        group_names=tuple(header["group_names"]),
        bead_types=header["bead_types"],
        provenance=header["provenance"],
    )


def save_molecules(dataset: MoleculeDataset, path: str | PathLike[str]) -> None:
    """Write a data set as a compressed npz file."""
    arrays = {name: getattr(dataset, name).numpy() for name in _DTYPES}
    header = {
        "group_names": list(dataset.group_names),
        "bead_types": dict(dataset.bead_types),
        "provenance": dict(dataset.provenance),
    }
    np.savez_compressed(path, allow_pickle=False, **arrays, header=np.array(json.dumps(header)))
