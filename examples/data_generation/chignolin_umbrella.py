"""All-atom umbrella sampling of chignolin along the fraction of native C-alpha contacts, with window exchange.

The replica exchange of `chignolin_allatom.py` is too short to fold or unfold, so it neither visits the transition
region nor weighs the basins. Here harmonic windows along Q cover the whole path at one temperature. The bias depends
on C-alpha positions only, so it leaves the conditional mean force at given C-alpha positions, which force matching
learns, unchanged; recorded forces and energies are those of the unbiased system. The windows are joined by MBAR to
the reference free-energy profile.

Even windows start from an unfolding pull, odd ones from a refolding pull. Files are those of `chignolin_allatom.py`
with two more arrays:
    center  [n_frames]  window centre q0 of the bias SPRING / 2 (Q - q0)^2
    q       [n_frames]  Q at the frame

    python examples/data_generation/chignolin_umbrella.py native.pdb runs/umbrella --nanoseconds 5
"""

import argparse
import logging
import sys
import time
from pathlib import Path

import chignolin_allatom as ladder
import numpy as np
import openmm
from openmm import app, unit

TEMPERATURE = 340.0  # K
CENTERS = tuple(np.round(np.linspace(0.05, 0.95, 12), 4).tolist())
SPRING = 450.0  # kJ/mol
CONTACT_DISTANCE = 0.8  # nm, native C-alpha pairs below it count
CONTACT_SOFTNESS = 50.0  # 1/nm, Best, Hummer and Eaton (10.1073/pnas.1311599110), eq. 1
CONTACT_TOLERANCE = 1.2  # factor on the native distance, likewise; smaller than for heavy atoms
MINIMUM_SEPARATION = 3  # residues
PULL_STEPS = 2_500  # per window
BIAS_GROUP = 1

log = logging.getLogger("chignolin")


def contact_force(topology: app.Topology, native: np.ndarray) -> openmm.CustomCVForce:
    """Return the harmonic bias on Q; `native` [n_atoms, 3] in nm defines the contacts."""
    alpha = [atom.index for atom in topology.atoms() if atom.name == "CA"]
    distance = np.linalg.norm(native[alpha][:, None] - native[alpha], axis=-1)
    pairs = [
        (i, j)
        for i in range(len(alpha))
        for j in range(i + MINIMUM_SEPARATION, len(alpha))
        if distance[i, j] < CONTACT_DISTANCE
    ]
    q = openmm.CustomBondForce(f"{1.0 / len(pairs)} / (1 + exp({CONTACT_SOFTNESS} * (r - {CONTACT_TOLERANCE} * r0)))")
    q.addPerBondParameter("r0")
    for i, j in pairs:
        q.addBond(alpha[i], alpha[j], [distance[i, j]])
    bias = openmm.CustomCVForce(f"{SPRING / 2.0} * (q - q0)^2")
    bias.addCollectiveVariable("q", q)
    bias.addGlobalParameter("q0", 1.0)
    bias.setForceGroup(BIAS_GROUP)
    log.info("%d native contacts", len(pairs))
    return bias


def pull(context: openmm.Context, positions: np.ndarray, centers: list[float]) -> dict[float, np.ndarray]:
    """Move the window centre along `centers` and return the last positions of each."""
    context.setPositions(positions)
    context.setVelocitiesToTemperature(TEMPERATURE, 1)
    reached = {}
    for center in centers:
        context.setParameter("q0", center)
        context.getIntegrator().step(PULL_STEPS)
        reached[center] = context.getState(positions=True).getPositions(asNumpy=True)._value
    return reached


def start(context: openmm.Context, folded: np.ndarray, seed: int) -> ladder.Replicas:
    """Fill the windows from an unfolding pull (even) and a refolding pull (odd)."""
    generator = np.random.default_rng(seed)
    down = pull(context, folded, list(CENTERS[::-1]))
    up = pull(context, down[CENTERS[0]], list(CENTERS))
    positions = np.array([(up if w % 2 else down)[center] for w, center in enumerate(CENTERS)])
    scale = np.sqrt(ladder.BOLTZMANN * TEMPERATURE / 12.0)
    velocities = generator.normal(0.0, scale, positions.shape)
    n = len(CENTERS)
    return ladder.Replicas(positions, velocities, np.zeros(n), np.arange(n), 0, generator)


def run_cycle(context: openmm.Context, bias: openmm.CustomCVForce, replicas: ladder.Replicas) -> dict[str, list]:
    """Advance every replica in its window; `replicas.potential` holds the last Q of each."""
    frames: dict[str, list] = {
        k: [] for k in ("positions", "forces", "potential", "temperature", "replica", "center", "q")
    }
    for r, window in enumerate(replicas.slot):
        context.setParameter("q0", CENTERS[window])
        context.setPositions(replicas.positions[r])
        context.setVelocities(replicas.velocities[r])
        for _ in range(ladder.FRAMES_PER_CYCLE):
            context.getIntegrator().step(ladder.STEPS_PER_FRAME)
            state = context.getState(positions=True, forces=True, energy=True, velocities=True, groups={0})
            q = bias.getCollectiveVariableValues(context)[0]
            if not np.isfinite(state.getPotentialEnergy()._value):
                raise FloatingPointError(f"replica {r} has a non-finite energy in cycle {replicas.cycle}")
            frames["positions"].append(state.getPositions(asNumpy=True)._value.astype(np.float32))
            frames["forces"].append(state.getForces(asNumpy=True)._value.astype(np.float32))
            frames["potential"].append(state.getPotentialEnergy()._value)
            frames["temperature"].append(TEMPERATURE)
            frames["replica"].append(r)
            frames["center"].append(CENTERS[window])
            frames["q"].append(q)
        replicas.positions[r] = state.getPositions(asNumpy=True)._value
        replicas.velocities[r] = state.getVelocities(asNumpy=True)._value
        replicas.potential[r] = q
    return frames


def exchange(replicas: ladder.Replicas) -> int:
    """Swap neighbouring windows, even and odd pairs in turn; return the number of accepted swaps."""
    accepted = 0
    beta = 1.0 / (ladder.BOLTZMANN * TEMPERATURE)
    holder = np.argsort(replicas.slot)
    for low in range(replicas.cycle % 2, len(CENTERS) - 1, 2):
        a, b = holder[low], holder[low + 1]
        q_a, q_b = replicas.potential[[a, b]]
        before = (q_a - CENTERS[low]) ** 2 + (q_b - CENTERS[low + 1]) ** 2
        after = (q_a - CENTERS[low + 1]) ** 2 + (q_b - CENTERS[low]) ** 2
        if np.log(replicas.generator.uniform()) < beta * SPRING / 2.0 * (before - after):
            replicas.slot[a], replicas.slot[b] = low + 1, low
            accepted += 1
    return accepted


def prepare(pdb: Path, output: Path, *, platform: str, seed: int):
    """Build the biased system and start or continue the windows in `output`."""
    output.mkdir(parents=True, exist_ok=True)
    topology, system, positions = ladder.build_system(pdb)
    bias = contact_force(topology, positions)
    system.addForce(bias)
    reference = ladder.reference_context(system)
    minimum = ladder.minimise(reference, positions)
    context = ladder.make_context(system, platform, seed)
    context.getIntegrator().setTemperature(TEMPERATURE)
    ladder.check_platform(context, reference, minimum)
    with (output / "topology.pdb").open("w") as handle:
        app.PDBFile.writeFile(topology, minimum * unit.nanometer, handle)
    checkpoint = output / "checkpoint.npz"
    replicas = ladder.Replicas.load(checkpoint) if checkpoint.exists() else start(context, minimum, seed)
    return replicas, context, bias


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pdb", type=Path, help="experimental structure, first model is used")
    parser.add_argument("output", type=Path)
    parser.add_argument("--nanoseconds", type=float, default=5.0, help="total over all windows")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--platform", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    output = arguments.output
    replicas, context, bias = prepare(arguments.pdb, output, platform=arguments.platform, seed=arguments.seed)
    per_cycle = len(CENTERS) * ladder.FRAMES_PER_CYCLE * ladder.STEPS_PER_FRAME * ladder.TIME_STEP / 1000.0
    while replicas.cycle * per_cycle < arguments.nanoseconds:
        begin, accepted = time.time(), 0
        chunk: dict[str, list] = {}
        for _ in range(ladder.CYCLES_PER_CHUNK):
            for key, values in run_cycle(context, bias, replicas).items():
                chunk.setdefault(key, []).extend(values)
            accepted += exchange(replicas)
            replicas.cycle += 1
        ladder.write_chunk(output, replicas, chunk)
        speed = per_cycle * ladder.CYCLES_PER_CHUNK / (time.time() - begin) * 86400.0
        log.info("%.2f ns, %.0f ns/day, %d swaps", replicas.cycle * per_cycle, speed, accepted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
