"""How far side chains move from frame to frame with each kind of noise, beside an all-atom trajectory of chignolin.

    python examples/benchmarks/backmapping_coherence.py --frames 100

Runs chignolin in Amber14 with the GBn2 solvent at 340 K, takes the C-alpha trace of its frames, and makes all atoms of
them again. With `--coarse TOPOLOGY TRAJECTORY` a coarse-grained trajectory is backmapped instead, and stands alone.
Needs OpenMM.
"""

import argparse
from pathlib import Path

import torch
from machine import set_up
from torch import Tensor

from flashmd.backmap import BackmapOptions, backmap, open_model, read_trace, trace_from_positions
from flashmd.backmap.force_fields import Molecule, add_hydrogens, minimize
from flashmd.backmap.frames import local_frames, to_local
from flashmd.backmap.trace import Trace

NATIVE = Path(__file__).parents[2] / "data" / "structures" / "chignolin_native_ca.pdb"
KINDS: dict[str, dict[str, object]] = {
    "shared": {"coherence": "shared"},
    "ou, 100 frames": {"coherence": "ou", "correlation": 100.0},
    "ou, 10 frames": {"coherence": "ou", "correlation": 10.0},
    "none": {"coherence": "none"},
}
LAGS = (1, 10)
ALL_ATOMS = "all atoms"
TEMPERATURE, FRICTION, STEP = 340.0, 1.0, 0.002
"""K, 1/ps, ps."""
EQUILIBRATION = 20.0
"""ps."""


def all_atom_trajectory(trace: Trace, model: str, frames: int, interval: float) -> Tensor:
    """Run chignolin from a backmapped structure and return heavy atoms, [n_frames, n_residues, 14, 3], nm.

    Args:
        trace: of the native structure.
        model: backmapping model that makes the start.
        frames: number of frames.
        interval: ps between frames.
    """
    import openmm

    start = backmap(trace, options=BackmapOptions(seed=1, relax=True, model=model)).structures
    molecule = Molecule.of(trace.chains)
    lowest = minimize(molecule, add_hydrogens(molecule, start).positions, "amber14-gbn2", iterations=200)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, STEP)
    integrator.setRandomNumberSeed(1)
    system = molecule.system("amber14-gbn2", constrain_hydrogens=True)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPositions(lowest.positions[0].numpy())
    context.setVelocitiesToTemperature(TEMPERATURE, 1)
    integrator.step(round(EQUILIBRATION / STEP))
    found = []
    for _ in range(frames):
        integrator.step(round(interval / STEP))
        found.append(torch.tensor(context.getState(positions=True).getPositions(asNumpy=True)._value))
    return molecule.heavy_part(torch.stack(found))


def steps_of(trace: Trace, structures: Tensor, lag: int) -> float:
    """Return the mean length of the steps of side-chain atoms in the frames of their residues, A.

    Args:
        trace: the residues.
        structures: [n_frames * n_samples, n_residues, 14, 3], nm, frame by frame.
        lag: of a step, in rows: frames times samples.
    """
    ca = structures[:, :, 1]
    local = to_local(structures, ca, local_frames(ca, trace.chains.joined)[0])
    moved = (local[lag:] - local[:-lag]).norm(dim=-1)[:, :, 4:]
    return 10 * float(moved[:, trace.chains.mask[:, 4:]].mean())


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default", help="backmapping model, by name or file")
    parser.add_argument("--samples", type=int, default=4, help="noises to average over")
    parser.add_argument("--frames", type=int, default=100, help="frames of the trajectory")
    parser.add_argument("--interval", type=float, default=1.0, metavar="PS", help="between frames of all atoms")
    parser.add_argument("--coarse", nargs=2, type=Path, metavar="FILE", help="coarse-grained topology and trajectory")
    parser.add_argument("--stride", type=int, default=1, help="every so many frames of the coarse-grained trajectory")
    return parser.parse_args()


def main() -> int:
    """Make the trajectories and print the table."""
    arguments = parse()
    print(set_up(1, "cpu"))
    model, rows = open_model(arguments.model), {}
    frames: tuple[int, int | None, int] = (0, None, 1)
    if arguments.coarse:
        trace = read_trace(*arguments.coarse)
        frames = (0, arguments.frames * arguments.stride, arguments.stride)
    else:
        native = read_trace(NATIVE)
        atoms = all_atom_trajectory(native, arguments.model, arguments.frames, arguments.interval)
        trace = trace_from_positions(native.chains, atoms[:, :, 1])
        rows[ALL_ATOMS] = atoms
    for name, noise in KINDS.items():
        options = BackmapOptions(samples=arguments.samples, seed=1, frames=frames, **noise)  # type: ignore[arg-type]
        rows[name] = backmap(trace, options=options, model=model).structures
    print("noise".ljust(18) + "".join(f"{lag} frames later".rjust(18) for lag in LAGS) + "  A")
    for name, structures in rows.items():
        rows_per_frame = 1 if name == ALL_ATOMS else arguments.samples
        lengths = (steps_of(trace, structures, lag * rows_per_frame) for lag in LAGS)
        print(name.ljust(18) + "".join(f"{length:.3f}".rjust(18) for length in lengths))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
