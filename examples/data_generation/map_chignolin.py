"""Map the all-atom runs of chignolin_allatom.py to C-alpha beads with the optimal linear force map.

    python examples/data_generation/map_chignolin.py runs/allatom_1 runs/allatom_2 chignolin_ca.npz --skip 50

Reads the chunks of every run folder, drops the first cycles as equilibration, finds the constrained bonds from the
data, fits the force map on every `--stride`-th frame of the even continuous trajectories and writes one compressed file
that `flashmd train` reads. It reports the root mean square of the mapped forces for three maps, on the odd
trajectories, which the fit has not seen.
"""

import argparse
import hashlib
import json
import logging
import sys
from pathlib import Path

import numpy as np

import flashmd
from flashmd.cg import (
    aggregation_force_map,
    constrained_pairs_from,
    interaction_lists,
    map_forces,
    map_structure,
    optimal_force_map,
)

CYCLES_PER_CHUNK = 10
KEYS = ("positions", "forces", "potential", "temperature", "replica")
FRAMES_FOR_CONSTRAINTS = 200

log = logging.getLogger("map_chignolin")


def read_run(folder: Path, skip_cycles: int) -> dict[str, np.ndarray]:
    """Join the frames of one run after the first cycles; only complete chunks are visible, so a live run is fine."""
    parts: dict[str, list[np.ndarray]] = {}
    for path in sorted(folder.glob("chunk_*.npz")):
        first_cycle = (int(path.stem.split("_")[1]) - 1) * CYCLES_PER_CHUNK
        if first_cycle + CYCLES_PER_CHUNK <= skip_cycles:
            continue
        with np.load(path) as chunk:
            n_frames = chunk["potential"].shape[0]
            cycle = first_cycle + np.arange(n_frames) * CYCLES_PER_CHUNK // n_frames
            for key in KEYS:
                parts.setdefault(key, []).append(chunk[key][cycle >= skip_cycles])
    if not parts:
        raise SystemExit(f"error: no frames after cycle {skip_cycles} in {folder}")
    return {key: np.concatenate(values) for key, values in parts.items()}


def read_runs(folders: list[Path], skip_cycles: int) -> dict[str, np.ndarray]:
    """Join the runs; `trajectory` numbers the continuous trajectories of all runs."""
    parts: dict[str, list[np.ndarray]] = {}
    offset = 0
    for folder in folders:
        run = read_run(folder, skip_cycles)
        run["trajectory"] = run.pop("replica") + offset
        offset = int(run["trajectory"].max()) + 1
        for key, values in run.items():
            parts.setdefault(key, []).append(values)
    return {key: np.concatenate(values) for key, values in parts.items()}


def force_maps(data: dict[str, np.ndarray], beads: np.ndarray, stride: int, l2: float) -> dict[str, np.ndarray]:
    """Return the plain slice, the aggregated and the optimal map."""
    n_frames, n_atoms = data["forces"].shape[:2]
    pairs = constrained_pairs_from(data["positions"][:: max(1, n_frames // FRAMES_FOR_CONSTRAINTS)])
    log.info("%d frames, %d atoms, %d constrained pairs", n_frames, n_atoms, len(pairs))
    fitted = np.flatnonzero(data["trajectory"] % 2 == 0)[::stride]
    plain = np.zeros((len(beads), n_atoms))
    plain[np.arange(len(beads)), beads] = 1.0
    return {
        "slice": plain,
        "aggregated": aggregation_force_map(n_atoms, beads, pairs),
        "optimal": optimal_force_map(data["forces"][fitted], beads, pairs, l2=l2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders written by chignolin_allatom.py")
    parser.add_argument("output", type=Path)
    parser.add_argument("--skip", type=int, default=0, help="cycles dropped at the start of every run")
    parser.add_argument("--stride", type=int, default=5, help="every how many frames the force map is fitted to")
    parser.add_argument("--l2", type=float, default=1e3, help="ridge on the weights, (kJ/mol/nm)^2")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)

    structure = map_structure(arguments.runs[0] / "topology.pdb", "ca")
    beads = structure.atom_indices.numpy()
    data = read_runs(arguments.runs, arguments.skip)
    maps = force_maps(data, beads, arguments.stride, arguments.l2)
    unseen = np.flatnonzero(data["trajectory"] % 2 == 1)[:: arguments.stride]
    rms = {name: float(np.sqrt(np.mean(map_forces(m, data["forces"][unseen]) ** 2))) for name, m in maps.items()}
    for name, value in rms.items():
        log.info("|F|rms of the %s map: %.1f kJ/mol/nm", name, value)
    provenance = {
        "script": "examples/data_generation/map_chignolin.py",
        "flashmd": flashmd.__version__,
        "sequence": list(structure.sequence),
        "runs": len(arguments.runs),
        "topology_sha256": hashlib.sha256((arguments.runs[0] / "topology.pdb").read_bytes()).hexdigest(),
        "skipped_cycles": arguments.skip,
        "force_map": {"stride": arguments.stride, "l2": arguments.l2, "rms_kJ_per_mol_nm": rms},
    }
    arrays = {
        "positions": data["positions"][:, beads].astype(np.float32),
        "forces": map_forces(maps["optimal"], data["forces"]).astype(np.float32),
        "temperature": data["temperature"].astype(np.float32),
        "trajectory": data["trajectory"],
        "potential": data["potential"],
        "types": structure.types.numpy(),
        "masses": structure.masses.numpy(),
        "provenance": np.array(json.dumps(provenance)),
    }
    arrays.update({f"interactions/{name}": terms.numpy() for name, terms in interaction_lists(structure).items()})
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.output, **arrays)
    log.info("%d frames in %s", len(data["potential"]), arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
