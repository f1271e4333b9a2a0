"""Error of a model's mean force, apart from the noise of the mapped forces.

    python examples/analysis/mean_force_error.py chignolin-ca data/datasets/chignolin_mean_forces.npz

The data set (examples/data_generation/chignolin_mean_forces.py) holds mean forces sampled at fixed beads with their
standard errors. Prints, as root mean squares of a force component in kJ/mol/nm: the mean force, the error of the
priors alone and of the whole model, each with the sampling error of the reference taken out, and the noise that one
instantaneous mapped force has around its mean: the floor of the force-matching error.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from flashmd.cg import build_system, map_structure
from flashmd.potential import Potential, SumPotential, checkpoint

NATIVE = Path(__file__).parents[2] / "data" / "structures" / "chignolin_native_ca.pdb"


def forces(potential: Potential, positions: np.ndarray) -> np.ndarray:
    """Return forces [n_frames, n_beads, 3]."""
    system = build_system(map_structure(NATIVE, "ca"), dtype=torch.float64).replicate(len(positions))
    flat = torch.from_numpy(positions.reshape(-1, 3)).double()
    return potential.evaluate(system.with_positions(flat)).forces.reshape(positions.shape).numpy()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name or path of a model with priors")
    parser.add_argument("reference", type=Path, help="file of chignolin_mean_forces.py")
    arguments = parser.parse_args()
    model = checkpoint.load(arguments.model, dtype=torch.float64)
    if not isinstance(model, SumPotential):
        raise SystemExit("error: the model is not a sum of a network and priors")
    priors = SumPotential({name: part for name, part in model.potentials.items() if name != "SchNet"})
    with np.load(arguments.reference) as file:
        positions, mean, error, noise = (file[k] for k in ("positions", "mean_forces", "standard_error", "noise"))

    def rms(residual: np.ndarray) -> float:
        return float(np.sqrt(max(0.0, np.mean(residual**2) - np.mean(error**2))))

    result = {
        "frames": len(positions),
        "mean_force": rms(mean),
        "priors_error": rms(forces(priors, positions) - mean),
        "model_error": rms(forces(model, positions) - mean),
        "reference_standard_error": float(np.sqrt(np.mean(error**2))),
        "noise": float(np.sqrt(np.mean(noise))),
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
