"""Temperature replica exchange with OpenMM's own sampler.

    python examples/openmm_replica_exchange.py data/structures/chignolin_native_ca.pdb --output runs/openmm_rex

OpenMM steps one replica after the other in one Context; `flashmd simulate` evaluates all of them in one batch. This is
for those who want OpenMM's integrators, forces or output. The folder holds a trajectory for each temperature, the log
of exchanges and checkpoints; --resume goes on from there, with other random numbers than a run without a stop would
have had. Temperatures are in K, time steps in fs.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import openmm
import openmm.app
from openmm import unit

from flashmd.interfaces.openmm import coarse_grain, create_system


def main() -> int:
    """Equilibrate each replica at its temperature, then exchange."""
    options = _options()
    topology, positions = coarse_grain(options.structure)
    system = create_system(topology, options.model)
    integrator = openmm.LangevinMiddleIntegrator(
        options.coldest, 1 / unit.picosecond, options.time_step * unit.femtosecond
    )
    integrator.setRandomNumberSeed(options.seed)
    platform = openmm.Platform.getPlatform(options.platform)
    simulation = openmm.app.Simulation(topology, system, integrator, platform)
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(options.coldest, options.seed)

    ladder = np.geomspace(options.coldest, options.hottest, options.replicas)
    states = [{"temperature": float(temperature) * unit.kelvin} for temperature in ladder]
    sampler = openmm.app.ReplicaExchangeSampler(states, simulation, options.steps)
    if not options.resume:
        # The sampler takes the exponential of energy differences, which overflows where a start is far too high.
        for replica in range(options.replicas):
            sampler.simulateReplica(replica, options.equilibration)
    output = {"trajectoryPerState": True, "energy": True, "checkpoints": True, "resume": options.resume}
    reporter = openmm.app.ReplicaExchangeReporter(str(options.output), options.interval, sampler, **output)
    sampler.reporters.append(reporter)
    walks = np.empty((options.iterations, options.replicas), dtype=int)
    for iteration in range(options.iterations):
        sampler.simulate(1)
        walks[iteration] = sampler.replicaStateIndex
    with (options.output / "topology.pdb").open("w", encoding="utf-8") as file:
        openmm.app.PDBFile.writeFile(topology, positions, file)
    visited = [len(set(walk)) for walk in walks.T]
    print(f"iterations so far: {sampler.currentIteration}; temperatures that each replica visited now: {visited}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structure", type=Path, help="structure file of atoms or of beads")
    parser.add_argument("--model", default="chignolin-ca", help="model file or name of a shipped model")
    parser.add_argument("--coldest", type=float, default=300.0)
    parser.add_argument("--hottest", type=float, default=450.0)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=250, help="of each replica between two exchanges")
    parser.add_argument("--equilibration", type=int, default=2500, help="steps of each replica before")
    parser.add_argument("--interval", type=int, default=10, help="iterations between two frames")
    parser.add_argument("--time-step", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--platform", default="Reference")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("runs/openmm_rex"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
