"""Join the trajectories of `organic_xtb.py` into the data sets to train and to test on."""

from pathlib import Path

import numpy as np
import torch

from flashmd.train import MoleculeDataset, save_molecules

BEAD_TYPES = {"H": 1, "C": 2, "N": 3, "O": 4}
GROUPS = {
    "small": "small molecules",
    "peptide": "peptides",
    "cluster": "clusters",
    "contact": "close contacts",
    "unseen": "unseen molecules",
}
_TYPE_OF = np.array([0, 1, 0, 0, 0, 0, 2, 3, 4])  # by atomic number
_PROVENANCE = {
    "teacher": "GFN2-xTB, tblite 0.8",
    "sampling": "Langevin dynamics of the teacher, time step 0.5 fs, friction 10 / ps",
    "origin": "this project",
    "licence": "MIT",
    "script": "examples/data_generation/organic_xtb.py",
}


def _rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Round to a multiple of 2^-bits, far below what matters, so that the file compresses; 8e-6 nm, 0.1 kJ/mol/nm."""
    return np.ldexp(np.rint(np.ldexp(values, bits)), -bits).astype(np.float32).reshape(-1, 3)


def join(folder: Path, kind: str) -> MoleculeDataset:
    """Return the frames of all trajectories of a kind, "train" or "test"."""
    parts: dict[str, list[np.ndarray]] = {}
    for number, path in enumerate(sorted(folder.glob(f"*_{kind}_*.npz"))):
        words = path.stem.split("_")  # the name between the first and the last three may hold more of them
        group, temperature = words[0], words[-3]
        with np.load(path) as file:
            n_frames, n_atoms = file["positions"].shape[:2]
            arrays = {
                "positions": _rounded(file["positions"], 17),
                "forces": _rounded(file["forces"], 3),
                "energy": file["energy"],
                "types": np.tile(_TYPE_OF[file["numbers"]], n_frames),
                "sizes": np.full(n_frames, n_atoms),
                "trajectory": np.full(n_frames, number),
                "temperature": np.full(n_frames, float(temperature), dtype=np.float32),
                "group": np.full(n_frames, list(GROUPS).index(group)),
            }
        for name, array in arrays.items():
            parts.setdefault(name, []).append(array)
    joined = {name: torch.from_numpy(np.concatenate(arrays)) for name, arrays in parts.items()}
    sizes = joined.pop("sizes")
    return MoleculeDataset(
        **joined,
        ptr=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
        group_names=tuple(GROUPS.values()),
        bead_types=BEAD_TYPES,
        provenance=_PROVENANCE,
    )


def write(folder: Path, output: Path) -> None:
    """Write `organic_gfn2.npz` and `organic_gfn2_test.npz`."""
    output.mkdir(parents=True, exist_ok=True)
    save_molecules(join(folder, "train"), output / "organic_gfn2.npz")
    save_molecules(join(folder, "test"), output / "organic_gfn2_test.npz")
