"""Sample mean forces of chignolin at fixed C-alpha positions: the truth that force matching approaches, and its noise.

The squared error of a force-matched model is the noise of the mapped forces plus the error of its mean force, and
nothing in the training data tells the two apart. Here frames of the all-atom runs are held at their C-alpha positions,
by masses so large that those atoms do not move, while everything else samples its equilibrium given them. The
spread of the mapped forces is the noise; their mean, with its standard error, is the mean force.

    python examples/data_generation/chignolin_mean_forces.py native.pdb mean_forces.npz runs/ladder runs/umbrella

The file holds positions [n, n_beads, 3] nm, mean_forces and standard_error [n, n_beads, 3] kJ/mol/nm, noise [n], the
mean square scatter of a force component, and the temperature, K. The force map is fitted as map_chignolin.py does.
"""

import argparse
import logging
import sys
from pathlib import Path

import chignolin_allatom as ladder
import map_chignolin as mapping
import numpy as np
import openmm
from openmm import unit

TEMPERATURE = 340.0  # K
BEAD_MASS = 1e9  # Da; moves 1e-4 nm within the sampling
EQUILIBRATION_STEPS = 1_000
N_SAMPLES = 500
STEPS_PER_SAMPLE = 5
N_BLOCKS = 10  # of the standard error; 1 ps each

log = logging.getLogger("chignolin")


def pick_frames(folders: list[Path], n_frames: int, seed: int) -> np.ndarray:
    """Draw all-atom frames [n_frames, n_atoms, 3] from random chunks of the runs."""
    generator = np.random.default_rng(seed)
    paths = [path for folder in folders for path in sorted(folder.glob("chunk_*.npz"))]
    frames = []
    for path in generator.choice(np.array(paths, dtype=object), n_frames):
        with np.load(path) as chunk:
            frames.append(chunk["positions"][generator.integers(len(chunk["potential"]))])
    return np.array(frames, dtype=np.float64)


def sample(context: openmm.Context, positions: np.ndarray, force_map: np.ndarray, seed: int) -> np.ndarray:
    """Return mapped forces [N_SAMPLES, n_beads, 3] at fixed beads."""
    context.setPositions(positions)
    context.setVelocitiesToTemperature(TEMPERATURE, seed)
    context.getIntegrator().step(EQUILIBRATION_STEPS)
    forces = np.empty((N_SAMPLES, force_map.shape[0], 3))
    for index in range(N_SAMPLES):
        context.getIntegrator().step(STEPS_PER_SAMPLE)
        forces[index] = force_map @ context.getState(forces=True).getForces(asNumpy=True)._value
    return forces


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pdb", type=Path, help="experimental structure, as given to the other scripts")
    parser.add_argument("output", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", help="all-atom runs: frames and force map come from them")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--platform", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)

    topology, system, _ = ladder.build_system(arguments.pdb)
    beads = np.array([atom.index for atom in topology.atoms() if atom.name == "CA"])
    force_map, _ = mapping.fit_force_map(mapping.sample(arguments.runs, 0), beads, mapping.DEFAULT_L2)
    for bead in beads.tolist():
        system.setParticleMass(bead, BEAD_MASS * unit.amu)
    remover = next(i for i, force in enumerate(system.getForces()) if isinstance(force, openmm.CMMotionRemover))
    system.removeForce(remover)
    context = ladder.make_context(system, arguments.platform, arguments.seed)
    context.getIntegrator().setTemperature(TEMPERATURE)
    frames = pick_frames(arguments.runs, arguments.frames, arguments.seed)
    ladder.check_platform(context, ladder.reference_context(system), frames[0])

    means, errors, noise = [], [], []
    for number, positions in enumerate(frames, start=1):
        forces = sample(context, positions, force_map, arguments.seed + number)
        blocks = forces.reshape(N_BLOCKS, -1, *forces.shape[1:]).mean(axis=1)
        means.append(forces.mean(axis=0))
        errors.append(blocks.std(axis=0, ddof=1) / np.sqrt(N_BLOCKS))
        noise.append(forces.var(axis=0, ddof=1).mean())
        log.info("frame %d: noise %.0f, mean force to %.0f kJ/mol/nm", number, noise[-1] ** 0.5, np.mean(errors[-1]))
    np.savez_compressed(
        arguments.output,
        positions=frames[:, beads].astype(np.float32),
        mean_forces=np.array(means, dtype=np.float32),
        standard_error=np.array(errors, dtype=np.float32),
        noise=np.array(noise, dtype=np.float32),
        temperature=TEMPERATURE,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
