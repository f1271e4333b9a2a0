"""Write what the C++ program reads: the compiled potential of chignolin and positions of its beads.

python examples/openmm_cpp/prepare.py --output runs/openmm_cpp
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mdtraj
import numpy as np

from flashmd.interfaces.model import open_model
from flashmd.interfaces.molecule import system_of
from flashmd.interfaces.openmm import write_compiled

STRUCTURE = Path("data/structures/chignolin_native_ca.pdb")


def main() -> None:
    """Write model.flashmd and positions.txt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/openmm_cpp"), help="folder to write to")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    trajectory = mdtraj.load(str(STRUCTURE))
    model = open_model("chignolin-ca")
    system = system_of(trajectory.topology, model.potential, dtype=model.options.dtype)
    path, sha256 = write_compiled(model, system, folder / "model.flashmd")
    np.savetxt(folder / "positions.txt", trajectory.xyz[0])
    print(f"{path}: {system.n_atoms} beads, SHA-256 {sha256}")


if __name__ == "__main__":
    main()
