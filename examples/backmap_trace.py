"""All-atom structures of one C-alpha trace: an ensemble, how its members differ, and a file of all of them.

python examples/backmap_trace.py --samples 8 --output runs/chignolin_all_atom.pdb
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from flashmd.backmap import BackmapOptions, backmap, read_trace
from flashmd.backmap.quality import assess

STRUCTURES = Path(__file__).parents[1] / "data" / "structures"
SLOT_CB = 4


def main() -> int:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structure", type=Path, default=STRUCTURES / "chignolin_native_ca.pdb")
    parser.add_argument("--output", type=Path, default=Path("chignolin_all_atom.pdb"))
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--model", default="default")
    arguments = parser.parse_args()

    trace = read_trace(arguments.structure)
    options = BackmapOptions(samples=arguments.samples, seed=1, model=arguments.model)
    ensemble = backmap(trace, options=options).structures
    assert ensemble is not None  # there is no output file

    side = ensemble[:, :, SLOT_CB:]
    spread = (side - side.mean(0)).square().sum(-1).mean((0, 2)).sqrt()
    for label, nanometres in zip(trace.chains.labels, spread.tolist(), strict=True):
        print(f"{label}: side chain spreads by {10 * nanometres:.2f} A")
    contacts = torch.as_tensor(assess(trace.chains, ensemble)["contacts"])
    print(f"pairs below 2.6 A per 1000 atoms: {', '.join(f'{each:.1f}' for each in contacts.tolist())}")

    # The same seed gives the same structures again, this time in a file.
    written = backmap(trace, output=arguments.output, options=options, overwrite=True)
    print(f"wrote {written.n_structures} structures; model {int(contacts.argmin()) + 1} has the fewest contacts")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
