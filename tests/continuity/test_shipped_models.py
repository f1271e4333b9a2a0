"""Models in data/models keep their bytes, their energies and their distance from the true mean force.

The energies are those of the model in float64 when it was released; the mean forces are all-atom averages
(examples/data_generation/chignolin_mean_forces.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flashmd.cg import build_system, map_structure
from flashmd.potential import SumPotential, checkpoint

DATA = Path(__file__).resolve().parents[2] / "data"
NATIVE = DATA / "structures" / "chignolin_native_ca.pdb"
SHA256 = "9c2f783d34ced7a3efc9d0a4e2b3a4a401578688fb98a6b05381c5c21e6548b0"
ENERGIES = {  # kJ/mol, native structure; its PDB holds 1e-4 nm, so these digits are of the model
    "SchNet": 4.857942304184833,
    "bonds": 16.42845688081218,
    "angles": 5.3526465097066325,
    "dihedrals": -60.6058693635521,
    "non_bonded": 15.251037720331222,
}
# Another order of summation in float64.
DOUBLE = 1e-9
# Cancelling terms of tens of kJ/mol in float32.
SINGLE = 1e-4
MEAN_FORCE_ERROR = 88.0  # kJ/mol/nm, docs/guide/chignolin.md


def _native(dtype: torch.dtype):
    return build_system(map_structure(NATIVE, "ca"), dtype=dtype)


def test_chignolin_keeps_its_bytes() -> None:
    assert checkpoint.model_hash(DATA / "models" / "chignolin_ca.safetensors") == SHA256


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, DOUBLE), (torch.float32, SINGLE)])
def test_chignolin_keeps_its_energies(dtype: torch.dtype, tolerance: float) -> None:
    terms = checkpoint.load("chignolin-ca", dtype=dtype).terms(_native(dtype))
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        ENERGIES, abs=tolerance, rel=tolerance
    )


def test_chignolin_is_close_to_the_mean_force() -> None:
    model = checkpoint.load("chignolin-ca", dtype=torch.float64)
    assert isinstance(model, SumPotential)
    with np.load(DATA / "datasets" / "chignolin_mean_forces.npz") as file:
        positions, mean, error = (
            torch.from_numpy(file[k]).double() for k in ("positions", "mean_forces", "standard_error")
        )
    system = _native(torch.float64).replicate(len(positions)).with_positions(positions.reshape(-1, 3))
    residual = model.evaluate(system).forces.reshape(mean.shape) - mean
    rms = (residual.square().mean() - error.square().mean()).sqrt().item()
    assert rms == pytest.approx(MEAN_FORCE_ERROR, abs=0.5)
    assert rms < 0.25 * mean.square().mean().sqrt().item()
