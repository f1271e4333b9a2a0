"""Mapped frames of one molecule with reference forces, and their split into training, validation and test sets.

Frames of one continuous trajectory are correlated, so a trajectory lies in one set as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from flashmd.errors import message
from flashmd.system import System
from flashmd.train.packing import pack, unpack

_REQUIRED = ("positions", "forces", "types", "masses", "trajectory", "temperature")
_INTERACTIONS = "interactions/"
_POSITION_UNIT = 1e-3  # nm; the stiffest terms change by a tenth of the force noise over half of it
_FORCE_UNIT = 25.0  # kJ/mol/nm; rounding adds 7 to a noise of 500


@dataclass(frozen=True)
class ForceDataset:
    """Frames of one molecule.

    Attributes:
        positions: [n_frames, n_beads, 3], float32, nm.
        forces: [n_frames, n_beads, 3], float32, kJ/mol/nm, mapped from atoms.
        types: [n_beads], int64.
        masses: [n_beads], float64, Da.
        trajectory: [n_frames], int64, continuous trajectory of each frame.
        temperature: [n_frames], float32, K.
        interactions: lists of terms by name, int64 [n_terms, order].
        provenance: how the data were made.
    """

    positions: Tensor
    forces: Tensor
    types: Tensor
    masses: Tensor
    trajectory: Tensor
    temperature: Tensor
    interactions: Mapping[str, Tensor] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_frames, n_beads = self.trajectory.shape[0], self.types.shape[0]
        expected = {
            "positions": (n_frames, n_beads, 3),
            "forces": (n_frames, n_beads, 3),
            "masses": (n_beads,),
            "temperature": (n_frames,),
        }
        check_arrays({name: (getattr(self, name), shape) for name, shape in expected.items()})

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.positions.shape[0]

    @property
    def n_beads(self) -> int:
        """Number of beads of the molecule."""
        return self.types.shape[0]

    def subset(self, frames: Tensor) -> ForceDataset:
        """Return the frames of an index or mask [n]."""
        return ForceDataset(
            positions=self.positions[frames],
            forces=self.forces[frames],
            types=self.types,
            masses=self.masses,
            trajectory=self.trajectory[frames],
            temperature=self.temperature[frames],
            interactions=self.interactions,
            provenance=self.provenance,
        )

    def between(self, lowest: float, highest: float) -> ForceDataset:
        """Return the frames sampled at temperatures in [lowest, highest] K."""
        return self.subset(sampled_between(self.temperature, lowest, highest))

    def system(self, n_copies: int = 1, *, dtype: torch.dtype = torch.float32) -> System:
        """Return a batch of `n_copies` of the molecule at the positions of the first frame."""
        single = System.single(
            self.positions[0].to(dtype), self.types, masses=self.masses.to(dtype), interactions=self.interactions
        )
        return single.replicate(n_copies)


def check_arrays(arrays: Mapping[str, tuple[Tensor, tuple[int, ...]]]) -> None:
    """Refuse arrays, by name, of another shape than the one given with them or with values that are not finite."""
    for name, (tensor, shape) in arrays.items():
        if tuple(tensor.shape) != shape:
            fix = "write all arrays of the data set from the same frames"
            raise ValueError(message(f"`{name}`", f"shape {shape}", f"{tuple(tensor.shape)}", fix))
        if not torch.isfinite(tensor).all():
            raise ValueError(message(f"`{name}`", "finite numbers", "NaN or infinity", "drop the broken frames"))


def sampled_between(temperature: Tensor, lowest: float, highest: float) -> Tensor:
    """Return which frames [n_frames] were sampled at temperatures in [lowest, highest] K; refuse none at all."""
    inside = (temperature >= lowest) & (temperature <= highest)
    if not inside.any():
        got = f"temperatures {temperature.min():g} to {temperature.max():g} K"
        fix = "widen the range"
        raise ValueError(message(f"temperature range {lowest:g} to {highest:g} K", "frames", got, fix))
    return inside


def load_dataset(path: str | PathLike[str]) -> ForceDataset:
    """Read a data set from an npz file.

    Args:
        path: file with the arrays `positions`, `forces`, `types`, `masses`, `trajectory`, `temperature`, the lists
            `interactions/NAME` and the JSON text `provenance`. Positions and forces may be packed by `save_dataset`.

    Raises:
        ValueError: an array is missing or has a wrong shape.
    """
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in _REQUIRED if name not in file.files and f"{name}/low" not in file.files]
        if missing:
            got, fix = ", ".join(file.files), "write the file with map_chignolin.py or in its format"
            raise ValueError(message(f"data set {path}", f"arrays {', '.join(missing)}", got, fix))
        interactions = {
            name.removeprefix(_INTERACTIONS): torch.from_numpy(file[name].astype(np.int64))
            for name in file.files
            if name.startswith(_INTERACTIONS)
        }
        return ForceDataset(
            positions=torch.from_numpy(_frames(file, "positions")),
            forces=torch.from_numpy(_frames(file, "forces")),
            types=torch.from_numpy(file["types"].astype(np.int64)),
            masses=torch.from_numpy(file["masses"].astype(np.float64)),
            trajectory=torch.from_numpy(file["trajectory"].astype(np.int64)),
            temperature=torch.from_numpy(file["temperature"].astype(np.float32)),
            interactions=interactions,
            provenance=json.loads(str(file["provenance"])) if "provenance" in file.files else {},
        )


def save_dataset(dataset: ForceDataset, path: str | PathLike[str]) -> None:
    """Write a data set packed: positions to 0.001 nm, forces to 25 kJ/mol/nm, a small part of their noise.

    Args:
        dataset: frames, best in the order of time within each trajectory.
        path: npz file.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {
        name: getattr(dataset, name).numpy() for name in ("types", "masses", "trajectory", "temperature")
    }
    packed = {
        "positions": pack(dataset.positions.numpy(), _POSITION_UNIT, order=1),
        "forces": pack(dataset.forces.numpy(), _FORCE_UNIT, order=0),
    }
    arrays |= {f"{name}/{part}": array for name, parts in packed.items() for part, array in parts.items()}
    arrays |= {f"{_INTERACTIONS}{name}": terms.numpy() for name, terms in dataset.interactions.items()}
    arrays["provenance"] = np.array(json.dumps(dict(dataset.provenance)))
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _frames(file: NpzFile, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    if name in file.files:
        return file[name].astype(np.float32)
    return unpack({part: file[f"{name}/{part}"] for part in ("low", "high", "unit", "order")})


@dataclass(frozen=True)
class Split:
    """Training, validation and test frames; no trajectory lies in two of them."""

    train: ForceDataset
    validation: ForceDataset
    test: ForceDataset | None


def split_by_trajectory(
    dataset: ForceDataset, *, validation_fraction: float = 0.15, test_fraction: float = 0.0, seed: int = 0
) -> Split:
    """Draw whole trajectories for validation and test.

    Args:
        dataset: frames of at least two trajectories (three with a test set).
        validation_fraction: share of the trajectories, rounded, at least one.
        test_fraction: share of the trajectories, rounded, at least one; 0 for no test set.
        seed: of the draw.

    Raises:
        ValueError: there are too few trajectories.
    """
    parts = {
        name: dataset.subset(torch.isin(dataset.trajectory, chosen))
        for name, chosen in draw_trajectories(
            dataset.trajectory, validation_fraction=validation_fraction, test_fraction=test_fraction, seed=seed
        ).items()
    }
    return Split(train=parts["train"], validation=parts["validation"], test=parts.get("test"))


def draw_trajectories(
    trajectory: Tensor, *, validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, Tensor]:
    """Return the trajectories of the sets "train", "validation" and, where its share is not zero, "test".

    Args:
        trajectory: [n_frames], trajectory of each frame.
        validation_fraction: see `split_by_trajectory`.
        test_fraction: see `split_by_trajectory`.
        seed: of the draw.

    Raises:
        ValueError: there are too few trajectories.
    """
    trajectories = torch.unique(trajectory)
    n = trajectories.shape[0]
    n_validation = max(1, round(n * validation_fraction))
    n_test = max(1, round(n * test_fraction)) if test_fraction > 0.0 else 0
    if n_validation + n_test >= n:
        expected = f"more than {n_validation + n_test} continuous trajectories"
        fix = "add independent runs or lower the validation and test fractions"
        raise ValueError(message("the data set", expected, f"{n}", fix))
    order = trajectories[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
    validation, test, train = order.split([n_validation, n_test, n - n_validation - n_test])
    return {"train": train, "validation": validation, **({"test": test} if n_test else {})}
