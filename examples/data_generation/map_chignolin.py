"""Map the all-atom runs of chignolin to C-alpha beads with the optimal linear force map.

    python examples/data_generation/map_chignolin.py runs/ladder runs/umbrella chignolin_ca.npz --skip 20

Reads the chunks that chignolin_allatom.py and chignolin_umbrella.py write, drops the first cycles as equilibration,
finds the constrained bonds from the data, fits the force map on frames of the even continuous trajectories and reports
the root mean square of the mapped forces for three maps on the odd ones, which the fit has not seen. The result is the
file that `flashmd train` reads.

Positions and forces belong to the same instant. Frames 20 fs apart carry almost independent force noise, and the
training averages it. Averaging forces over time beforehand would not do: the noise of an instant has mean zero at given
positions of that instant, not of others, since friction answers the motion. Means over 0.2 ps lose half the bond force.
"""

import argparse
import hashlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import flashmd
from flashmd.cg import (
    aggregation_force_map,
    constrained_pairs_from,
    interaction_lists,
    map_forces,
    map_structure,
    optimal_force_map,
)
from flashmd.train import ForceDataset, save_dataset

CYCLES_PER_CHUNK = 10
DEFAULT_L2 = 1e3  # (kJ/mol/nm)^2
FIT_STRIDE = 67  # frames; not a divisor of the frames per cycle, so all phases of a cycle are seen

log = logging.getLogger("map_chignolin")


def chunks(folders: list[Path], skip_cycles: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield the complete chunks of all runs after the first cycles; `trajectory` is unique over the runs."""
    offset = 0
    for folder in folders:
        highest = 0
        for path in sorted(folder.glob("chunk_*.npz")):
            if (int(path.stem.split("_")[1]) - 1) * CYCLES_PER_CHUNK < skip_cycles:
                continue
            with np.load(path) as file:
                chunk = {key: file[key] for key in ("positions", "forces", "temperature", "potential", "replica")}
            highest = max(highest, int(chunk["replica"].max()))
            chunk["trajectory"] = chunk.pop("replica") + offset
            yield chunk
        offset += highest + 1


def sample(folders: list[Path], skip_cycles: int) -> dict[str, np.ndarray]:
    """Return every FIT_STRIDE-th frame of all runs."""
    parts: dict[str, list[np.ndarray]] = {}
    for chunk in chunks(folders, skip_cycles):
        for key, values in chunk.items():
            parts.setdefault(key, []).append(values[::FIT_STRIDE])
    if not parts:
        raise SystemExit(f"error: no frames after cycle {skip_cycles} in {', '.join(map(str, folders))}")
    return {key: np.concatenate(values) for key, values in parts.items()}


def fit_force_map(data: dict[str, np.ndarray], beads: np.ndarray, l2: float) -> tuple[np.ndarray, dict[str, float]]:
    """Return the optimal map and the root mean square of unseen mapped forces for three maps."""
    n_atoms = data["forces"].shape[1]
    pairs = constrained_pairs_from(data["positions"][:: max(1, len(data["positions"]) // 200)])
    log.info("%d frames to fit the map, %d atoms, %d constrained pairs", len(data["forces"]), n_atoms, len(pairs))
    even = data["trajectory"] % 2 == 0
    plain = np.zeros((len(beads), n_atoms))
    plain[np.arange(len(beads)), beads] = 1.0
    maps = {
        "slice": plain,
        "aggregated": aggregation_force_map(n_atoms, beads, pairs),
        "optimal": optimal_force_map(data["forces"][even], beads, pairs, l2=l2),
    }
    rms = {name: float(np.sqrt(np.mean(map_forces(m, data["forces"][~even]) ** 2))) for name, m in maps.items()}
    for name, value in rms.items():
        log.info("|F|rms of the %s map: %.1f kJ/mol/nm", name, value)
    return maps["optimal"], rms


def to_dataset(frames: dict[str, np.ndarray], force_map: np.ndarray, template: dict) -> ForceDataset:
    """Map frames to beads."""
    beads = template["beads"]
    return ForceDataset(
        positions=torch.from_numpy(frames["positions"][:, beads].astype(np.float32)),
        forces=torch.from_numpy(map_forces(force_map, frames["forces"]).astype(np.float32)),
        types=template["types"],
        masses=template["masses"],
        trajectory=torch.from_numpy(frames["trajectory"].astype(np.int64)),
        temperature=torch.from_numpy(frames["temperature"].astype(np.float32)),
        interactions=template["interactions"],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders written by the two all-atom scripts")
    parser.add_argument("output", type=Path)
    parser.add_argument("--skip", type=int, default=0, help="cycles dropped at the start of every run")
    parser.add_argument("--stride", type=int, default=1, help="keep every how many frames")
    parser.add_argument("--l2", type=float, default=DEFAULT_L2, help="ridge on the weights, (kJ/mol/nm)^2")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)

    topology = arguments.runs[0] / "topology.pdb"
    structure = map_structure(topology, "ca")
    template = {
        "beads": structure.atom_indices.numpy(),
        "types": structure.types,
        "masses": structure.masses,
        "interactions": interaction_lists(structure),
    }
    fitted = sample(arguments.runs, arguments.skip)
    force_map, rms = fit_force_map(fitted, template["beads"], arguments.l2)
    parts = []
    for chunk in chunks(arguments.runs, arguments.skip):
        kept = {name: values[:: arguments.stride] for name, values in chunk.items()}
        parts.append(to_dataset(kept, force_map, template))
    provenance = {
        "script": "examples/data_generation/map_chignolin.py",
        "flashmd": flashmd.__version__,
        "sequence": list(structure.sequence),
        "runs": len(arguments.runs),
        "topology_sha256": hashlib.sha256(topology.read_bytes()).hexdigest(),
        "skipped_cycles": arguments.skip,
        "stride": arguments.stride,
        "force_map": {"fit_stride": FIT_STRIDE, "l2": arguments.l2, "rms_kJ_per_mol_nm": rms},
    }
    # Trajectory after trajectory in the order of time, which packs best.
    order = torch.argsort(torch.cat([part.trajectory for part in parts]), stable=True)
    joined = {
        name: torch.cat([getattr(part, name) for part in parts])[order]
        for name in ("positions", "forces", "trajectory", "temperature")
    }
    dataset = replace(parts[0], **joined, provenance=provenance)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_dataset(dataset, arguments.output)
    log.info("%d frames in %s", dataset.n_frames, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
