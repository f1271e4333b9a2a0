"""All-atom replica exchange of chignolin (CLN025), the reference data of the first coarse-grained model.

Amber14SB with GBn2 implicit solvent, hydrogen masses of 3 Da and a time step of 4 fs, Langevin middle integrator.
Half of the replicas start from the experimental hairpin, half from chains unfolded at high temperature.
Temperatures are exchanged between neighbours of the ladder after every cycle. Coordinates, forces (without those of
the bond constraints) and potential energies are written in chunks; the run continues from its checkpoint when it is
started again with the same output folder.

    python examples/data_generation/chignolin_allatom.py native.pdb runs/allatom --nanoseconds 10

Each chunk file `chunk_NNNNN.npz` holds
    positions    [n_frames, n_atoms, 3]  nm
    forces       [n_frames, n_atoms, 3]  kJ/mol/nm
    potential    [n_frames]              kJ/mol
    temperature  [n_frames]              K
    replica      [n_frames]              continuous trajectory the frame belongs to
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import openmm
from openmm import app, unit

TEMPERATURES = (280.0, 300.0, 320.0, 340.0, 365.0, 390.0, 420.0, 450.0)
TIME_STEP = 0.004  # ps
FRICTION = 1.0  # 1/ps
HYDROGEN_MASS = 3.0  # Da
STEPS_PER_FRAME = 5  # 20 fs; the noise of the mapped forces is forgotten within 12 fs
FRAMES_PER_CYCLE = 100
CYCLES_PER_CHUNK = 10
UNFOLDING_TEMPERATURE = 800.0  # K
UNFOLDING_TIME_STEP = 0.002  # ps
UNFOLDING_STEPS = 10_000  # between two unfolded starting structures
FORCE_TOLERANCE = 1e-3  # relative force error of the platform against the Reference platform
BOLTZMANN = 0.00831446261815324  # kJ/mol/K

log = logging.getLogger("chignolin")


@dataclass
class Replicas:
    """State of the ladder between two cycles; `slot[r]` is the index of replica r's temperature."""

    positions: np.ndarray  # [n_replicas, n_atoms, 3], nm
    velocities: np.ndarray  # [n_replicas, n_atoms, 3], nm/ps
    potential: np.ndarray  # [n_replicas], kJ/mol
    slot: np.ndarray  # [n_replicas]
    cycle: int
    generator: np.random.Generator

    def save(self, handle: BinaryIO) -> None:
        """Write everything needed to continue, random state included."""
        random = json.dumps(self.generator.bit_generator.state)
        arrays = {"positions": self.positions, "velocities": self.velocities, "potential": self.potential}
        np.savez(handle, **arrays, slot=self.slot, cycle=self.cycle, random=random)

    @classmethod
    def load(cls, path: Path) -> "Replicas":
        """Read what `save` wrote."""
        with np.load(path) as file:
            generator = np.random.default_rng()
            generator.bit_generator.state = json.loads(str(file["random"]))
            arrays = [file[key] for key in ("positions", "velocities", "potential", "slot")]
            return cls(*arrays, int(file["cycle"]), generator)


def build_system(pdb: Path) -> tuple[app.Topology, openmm.System, np.ndarray]:
    """Protonate the first model of `pdb` at pH 7 and parameterise it; positions in nm."""
    structure = app.PDBFile(str(pdb))
    field = app.ForceField("amber14/protein.ff14SB.xml", "implicit/gbn2.xml")
    model = app.Modeller(structure.topology, structure.positions)
    model.deleteWater()
    model.delete([a for a in model.topology.atoms() if a.element is not None and a.element.symbol in ("H", "D")])
    model.addHydrogens(field, pH=7.0, platform=openmm.Platform.getPlatformByName("Reference"))
    system = field.createSystem(
        model.topology,
        nonbondedMethod=app.NoCutoff,
        constraints=app.HBonds,
        hydrogenMass=HYDROGEN_MASS * unit.amu,
    )
    return model.topology, system, np.array(model.positions.value_in_unit(unit.nanometer))


def make_context(system: openmm.System, platform: str, seed: int) -> openmm.Context:
    """Return a context on `platform` ("auto" lets OpenMM choose the fastest)."""
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURES[0], FRICTION, TIME_STEP)
    integrator.setRandomNumberSeed(seed)
    if platform == "auto":
        return openmm.Context(system, integrator)
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))


def reference_context(system: openmm.System) -> openmm.Context:
    """Return a context on the Reference platform, the truth the chosen platform is checked against."""
    return openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def minimise(reference: openmm.Context, positions: np.ndarray) -> np.ndarray:
    """Minimise on the Reference platform; positions in nm."""
    reference.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(reference, maxIterations=500)
    return reference.getState(positions=True).getPositions(asNumpy=True)._value


def check_platform(context: openmm.Context, reference: openmm.Context, positions: np.ndarray) -> None:
    """Raise when the platform's forces differ from the Reference platform's (some OpenCL drivers are wrong)."""
    rattled = positions + np.random.default_rng(0).normal(0.0, 0.005, positions.shape)
    forces = []
    for each in (reference, context):
        each.setPositions(rattled)
        forces.append(each.getState(forces=True).getForces(asNumpy=True)._value)
    error = np.linalg.norm(forces[1] - forces[0]) / np.linalg.norm(forces[0])
    log.info("platform %s, relative force error %.1e", context.getPlatform().getName(), error)
    if not error < FORCE_TOLERANCE:
        raise RuntimeError(f"forces differ from the Reference platform by {error:.1e}; choose another --platform")


def start(context: openmm.Context, folded: np.ndarray, seed: int) -> Replicas:
    """Even replicas start folded, odd ones from chains unfolded one after the other at high temperature."""
    generator = np.random.default_rng(seed)
    integrator = context.getIntegrator()
    integrator.setTemperature(UNFOLDING_TEMPERATURE)
    integrator.setStepSize(UNFOLDING_TIME_STEP)
    context.setPositions(folded)
    context.setVelocitiesToTemperature(UNFOLDING_TEMPERATURE, int(generator.integers(1, 2**31)))
    integrator.step(4 * UNFOLDING_STEPS)
    positions, velocities = [], []
    for index, temperature in enumerate(TEMPERATURES):
        if index % 2:
            integrator.step(UNFOLDING_STEPS)
            unfolded = context.getState(positions=True).getPositions(asNumpy=True)._value
        positions.append(unfolded if index % 2 else folded)
        velocities.append(generator.normal(0.0, 1.0, folded.shape) * np.sqrt(BOLTZMANN * temperature / 12.0))
    integrator.setStepSize(TIME_STEP)
    n = len(TEMPERATURES)
    return Replicas(np.array(positions), np.array(velocities), np.zeros(n), np.arange(n), 0, generator)


def run_cycle(context: openmm.Context, replicas: Replicas) -> dict[str, list]:
    """Advance every replica by one cycle and return the frames."""
    frames: dict[str, list] = {k: [] for k in ("positions", "forces", "potential", "temperature", "replica")}
    for r, slot in enumerate(replicas.slot):
        temperature = TEMPERATURES[slot]
        context.getIntegrator().setTemperature(temperature)
        context.setPositions(replicas.positions[r])
        context.setVelocities(replicas.velocities[r])
        for _ in range(FRAMES_PER_CYCLE):
            context.getIntegrator().step(STEPS_PER_FRAME)
            state = context.getState(positions=True, forces=True, energy=True, velocities=True)
            energy = state.getPotentialEnergy()._value
            if not np.isfinite(energy):
                raise FloatingPointError(
                    f"replica {r} at {temperature} K has energy {energy} in cycle {replicas.cycle}"
                )
            frames["positions"].append(state.getPositions(asNumpy=True)._value.astype(np.float32))
            frames["forces"].append(state.getForces(asNumpy=True)._value.astype(np.float32))
            frames["potential"].append(energy)
            frames["temperature"].append(temperature)
            frames["replica"].append(r)
        replicas.positions[r] = state.getPositions(asNumpy=True)._value
        replicas.velocities[r] = state.getVelocities(asNumpy=True)._value
        replicas.potential[r] = energy
    return frames


def exchange(replicas: Replicas) -> int:
    """Swap temperatures of neighbouring slots, even and odd pairs in turn; return the number of accepted swaps."""
    accepted = 0
    holder = np.argsort(replicas.slot)
    for low in range(replicas.cycle % 2, len(TEMPERATURES) - 1, 2):
        a, b = holder[low], holder[low + 1]
        beta_a, beta_b = (1.0 / (BOLTZMANN * TEMPERATURES[s]) for s in (low, low + 1))
        log_ratio = (replicas.potential[a] - replicas.potential[b]) * (beta_a - beta_b)
        if np.log(replicas.generator.uniform()) < log_ratio:
            replicas.slot[a], replicas.slot[b] = low + 1, low
            scale = np.sqrt(TEMPERATURES[low + 1] / TEMPERATURES[low])
            replicas.velocities[a] = replicas.velocities[a] * scale
            replicas.velocities[b] = replicas.velocities[b] / scale
            accepted += 1
    return accepted


def write_atomically(path: Path, save: Callable[[BinaryIO], None]) -> None:
    """Write through a temporary file, so that a kill never leaves half a file."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as handle:
        save(handle)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def write_chunk(output: Path, replicas: Replicas, frames: dict[str, list]) -> None:
    """Write the frames of a chunk, then the state to continue from."""
    arrays = {key: np.array(values) for key, values in frames.items()}
    number = replicas.cycle // CYCLES_PER_CHUNK
    write_atomically(output / f"chunk_{number:05d}.npz", lambda handle: np.savez(handle, **arrays))
    write_atomically(output / "checkpoint.npz", replicas.save)


def prepare(pdb: Path, output: Path, *, platform: str, seed: int) -> tuple[Replicas, openmm.Context]:
    """Build the system, check the platform and start or continue the ladder in `output`."""
    output.mkdir(parents=True, exist_ok=True)
    topology, system, positions = build_system(pdb)
    reference = reference_context(system)
    minimum = minimise(reference, positions)
    context = make_context(system, platform, seed)
    check_platform(context, reference, minimum)
    with (output / "topology.pdb").open("w") as handle:
        app.PDBFile.writeFile(topology, minimum * unit.nanometer, handle)
    (output / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    checkpoint = output / "checkpoint.npz"
    if checkpoint.exists():
        replicas = Replicas.load(checkpoint)
        log.info("continue at cycle %d", replicas.cycle)
        return replicas, context
    return start(context, minimum, seed), context


def extend(context: openmm.Context, replicas: Replicas, *, output: Path, nanoseconds: float) -> None:
    """Run chunks of cycles until the total length is reached."""
    per_cycle = len(TEMPERATURES) * FRAMES_PER_CYCLE * STEPS_PER_FRAME * TIME_STEP / 1000.0
    n_cycles = int(np.ceil(nanoseconds / per_cycle / CYCLES_PER_CHUNK)) * CYCLES_PER_CHUNK
    while replicas.cycle < n_cycles:
        begin, accepted = time.time(), 0
        chunk: dict[str, list] = {}
        for _ in range(CYCLES_PER_CHUNK):
            for key, values in run_cycle(context, replicas).items():
                chunk.setdefault(key, []).extend(values)
            accepted += exchange(replicas)
            replicas.cycle += 1
        write_chunk(output, replicas, chunk)
        speed = per_cycle * CYCLES_PER_CHUNK / (time.time() - begin) * 86400.0
        log.info("%.2f ns, %.0f ns/day, %d swaps", replicas.cycle * per_cycle, speed, accepted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pdb", type=Path, help="experimental structure, first model is used")
    parser.add_argument("output", type=Path)
    parser.add_argument("--nanoseconds", type=float, default=10.0, help="total over all replicas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--platform", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)

    replicas, context = prepare(arguments.pdb, arguments.output, platform=arguments.platform, seed=arguments.seed)
    extend(context, replicas, output=arguments.output, nanoseconds=arguments.nanoseconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
