"""Langevin dynamics of a protein of beads with OpenMM.

    python examples/openmm_md.py data/structures/chignolin_native_ca.pdb --steps 250000 --output runs/openmm

The folder then holds the topology of the beads (topology.pdb, with bonds to draw), the trajectory (trajectory.dcd), a
table of energies (log.csv) and the end of the run (end.xml). Time steps are in fs, temperatures in K.
"""

import argparse
import sys
from pathlib import Path

import openmm
import openmm.app
from openmm import unit

from flashmd.interfaces.openmm import coarse_grain, create_system


def main() -> int:
    """Minimise, then run."""
    options = _options()
    topology, positions = coarse_grain(options.structure, options.resolution)
    system = create_system(topology, options.model)
    friction = 1 / unit.picosecond
    integrator = openmm.LangevinMiddleIntegrator(options.temperature, friction, options.time_step * unit.femtosecond)
    integrator.setRandomNumberSeed(options.seed)
    # Few beads and no other forces: the Reference platform has the least to do beside the model.
    platform = openmm.Platform.getPlatform(options.platform)
    simulation = openmm.app.Simulation(topology, system, integrator, platform)
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(options.temperature, options.seed)

    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "topology.pdb").open("w", encoding="utf-8") as file:
        openmm.app.PDBFile.writeFile(topology, simulation.context.getState(positions=True).getPositions(), file)
    interval = max(1, options.steps // options.frames)
    simulation.reporters.append(openmm.app.DCDReporter(str(options.output / "trajectory.dcd"), interval))
    columns = {"time": True, "potentialEnergy": True, "temperature": True, "speed": True}
    simulation.reporters.append(openmm.app.StateDataReporter(str(options.output / "log.csv"), interval, **columns))
    simulation.step(options.steps)
    simulation.saveState(str(options.output / "end.xml"))
    energy = simulation.context.getState(energy=True).getPotentialEnergy()
    print(f"{options.steps} steps of {system.getNumParticles()} beads, potential energy at the end {energy}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structure", type=Path, help="structure file of atoms or of beads")
    parser.add_argument("--model", default="chignolin-ca", help="model file or name of a shipped model")
    parser.add_argument("--resolution", default="ca", choices=("ca", "five_bead"), help="that of the model")
    parser.add_argument("--temperature", type=float, default=340.0)
    parser.add_argument("--time-step", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=250_000)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--platform", default="Reference")
    parser.add_argument("--output", type=Path, default=Path("runs/openmm"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
