"""All-atom structures of a replica-exchange run, and how calmly their side chains move with each kind of noise.

flashmd simulate examples/01_chignolin.yaml
python examples/backmap_run.py runs/chignolin --temperature 340 --frames 50
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from flashmd.backmap import BackmapOptions, backmap, open_model, read_trace
from flashmd.backmap.run_folders import run_trajectory

SLOT_CB = 4


def step_length(structures: Tensor) -> float:
    """Return the mean distance that atoms of side chains move against their CA from frame to frame, nm."""
    ca, side = structures[:, :, 1:2], structures[:, :, SLOT_CB:]
    return float((side - ca).diff(dim=0).norm(dim=-1).mean())


def main() -> int:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--temperature", type=float, help="K; the lowest of the run by default")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--model", default="default")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    chosen = run_trajectory(arguments.folder, arguments.temperature)
    trace = read_trace(chosen.topology, chosen.trajectory)
    model = open_model(arguments.model)
    options = BackmapOptions(seed=1, frames=(0, arguments.frames, 1))
    for coherence in ("none", "ou", "shared"):
        structures = backmap(trace, options=replace(options, coherence=coherence), model=model).structures
        assert structures is not None  # there is no output file
        print(f"noise {coherence}: side chains move by {step_length(structures):.4f} nm from frame to frame")
    result = backmap(trace, output=chosen.output, options=replace(options, coherence="ou"), model=model, overwrite=True)
    print(f"wrote {result.n_structures} structures to {chosen.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
