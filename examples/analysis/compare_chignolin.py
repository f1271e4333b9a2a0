"""Compare a run of a coarse-grained model with all-atom data: free energies, populations, smallest RMSD.

    python examples/analysis/compare_chignolin.py runs/chignolin reference.npz native.pdb comparison

RUN_DIR is the output of `flashmd simulate`. DATASET holds `positions` [n_frames, n_beads, 3] in nm and `temperature`
in K, and where they apply `potential` in kJ/mol, `trajectory`, and `weights` of a biased simulation
(umbrella_reference.py makes such a file). OUT_DIR gets comparison.png, comparison.json and comparison.md.
"""

import argparse
import sys
from pathlib import Path

from flashmd.report import write_comparison
from flashmd.units import parse_quantity


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path, help="folder written by `flashmd simulate`")
    parser.add_argument("dataset", type=Path, help="all-atom data set (NPZ)")
    parser.add_argument("native", type=Path, help="native structure (PDB)")
    parser.add_argument("output", type=Path, help="folder for picture, numbers and table")
    parser.add_argument("--temperature", default="340 K")
    parser.add_argument("--discard", type=float, default=0.1, help="fraction of the run left out at its start")
    arguments = parser.parse_args()
    paths = write_comparison(
        arguments.run_dir,
        arguments.dataset,
        native_pdb=arguments.native,
        output=arguments.output,
        temperature=parse_quantity(arguments.temperature, "K"),
        discard=arguments.discard,
    )
    sys.stdout.write(paths.table.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
