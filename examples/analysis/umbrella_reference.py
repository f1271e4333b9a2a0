"""Join the windows of all-atom umbrella sampling into one weighted reference data set.

    python examples/analysis/umbrella_reference.py runs/umbrella_1 runs/umbrella_2 reference.npz --skip 30

Reads the chunks written by examples/data_generation/chignolin_umbrella.py, drops the first cycles as equilibration,
keeps the C-alpha atoms and gives every frame its MBAR weight without the bias. The weights are solved for again
in every sample of a block bootstrap (`resampled_weights`), so that errors include those of the windows' free energies.
`trajectory` numbers the continuous replicas, which no block crosses.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from flashmd.analysis import Blocks, effective_samples, mbar_weights, resampled_weights, umbrella_potentials
from flashmd.cg import map_structure

SPRING = 450.0  # kJ/mol, as in chignolin_umbrella.py
CYCLES_PER_CHUNK = 10
KEYS = ("positions", "potential", "temperature", "replica", "center", "q")


def read_run(folder: Path, skip_cycles: int, stride: int) -> dict[str, np.ndarray]:
    """Return the C-alpha frames of one run after the first cycles, every `stride`-th."""
    beads = map_structure(folder / "topology.pdb", "ca").atom_indices.numpy()
    parts: dict[str, list[np.ndarray]] = {key: [] for key in KEYS}
    for path in sorted(folder.glob("chunk_*.npz")):
        first_cycle = (int(path.stem.split("_")[1]) - 1) * CYCLES_PER_CHUNK
        with np.load(path) as chunk:
            n_frames = chunk["potential"].shape[0]
            keep = first_cycle + np.arange(n_frames) * CYCLES_PER_CHUNK // n_frames >= skip_cycles
            for key in KEYS:
                values = chunk[key][:, beads] if key == "positions" else chunk[key]
                parts[key].append(values[keep][::stride])
    if not sum(len(values) for values in parts["potential"]):
        raise SystemExit(f"error: no frames after cycle {skip_cycles} in {folder}")
    return {key: np.concatenate(values) for key, values in parts.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders written by chignolin_umbrella.py")
    parser.add_argument("output", type=Path)
    parser.add_argument("--skip", type=int, default=0, help="cycles dropped at the start of every run")
    parser.add_argument("--stride", type=int, default=1, help="keep every how many frames")
    parser.add_argument("--resamples", type=int, default=100, help="bootstrap samples")
    arguments = parser.parse_args()
    runs = [read_run(folder, arguments.skip, arguments.stride) for folder in arguments.runs]
    offsets = np.cumsum([0] + [int(run["replica"].max()) + 1 for run in runs[:-1]])
    trajectory = np.concatenate([run["replica"] + offset for run, offset in zip(runs, offsets, strict=True)])
    data = {key: np.concatenate([run[key] for run in runs]) for key in KEYS}
    temperature = float(data["temperature"][0])
    u_kn, window = umbrella_potentials(data["q"], data["center"], spring=SPRING, temperature=temperature)
    unbiased = np.zeros(window.size)
    weights = mbar_weights(u_kn, np.bincount(window), unbiased)
    blocks = Blocks(n_resamples=arguments.resamples)
    resampled = resampled_weights(u_kn, window, unbiased, trajectory=trajectory, blocks=blocks)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        arguments.output,
        positions=data["positions"].astype(np.float32),
        temperature=temperature,
        potential=data["potential"],
        trajectory=trajectory,
        weights=weights,
        resampled_weights=resampled.astype(np.float32),
    )
    n_frames, effective = weights.size, effective_samples(weights)
    sys.stdout.write(f"{n_frames} frames worth {effective:.0f} unbiased ones in {arguments.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
