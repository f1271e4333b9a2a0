"""Temperature replica exchange with the sampler of openmmtools.

    python examples/openmm_openmmtools.py data/structures/chignolin_native_ca.pdb --output runs/openmmtools.nc

openmmtools (`pip install openmmtools`, with its dependencies) copies the system for each state; the force travels by
its file, so nothing else is needed. Energies of all replicas at all temperatures are in the NetCDF file, ready for its
analysis. Temperatures are in K, time steps in fs.
"""

import argparse
import sys
from pathlib import Path

import openmm
from openmm import unit
from openmmtools import cache
from openmmtools.mcmc import LangevinDynamicsMove
from openmmtools.multistate import MultiStateReporter, ParallelTemperingSampler
from openmmtools.states import SamplerState, ThermodynamicState

from flashmd.interfaces.openmm import coarse_grain, create_system


def main() -> int:
    """Minimise, then exchange."""
    options = _options()
    topology, positions = coarse_grain(options.structure)
    system = create_system(topology, options.model)
    cache.global_context_cache.platform = openmm.Platform.getPlatform(options.platform)
    move = LangevinDynamicsMove(
        timestep=options.time_step * unit.femtosecond, collision_rate=1 / unit.picosecond, n_steps=options.steps
    )
    sampler = ParallelTemperingSampler(mcmc_moves=move, number_of_iterations=options.iterations)
    reporter = MultiStateReporter(str(options.output), checkpoint_interval=10)
    sampler.create(
        ThermodynamicState(system, options.coldest * unit.kelvin),
        SamplerState(positions),
        reporter,
        min_temperature=options.coldest * unit.kelvin,
        max_temperature=options.hottest * unit.kelvin,
        n_temperatures=options.replicas,
    )
    sampler.minimize()
    sampler.run()
    visited = [len(set(walk)) for walk in reporter.read_replica_thermodynamic_states().T]
    print(f"iterations: {sampler.iteration}; temperatures that each replica visited: {visited}")
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
    parser.add_argument("--time-step", type=float, default=4.0)
    parser.add_argument("--platform", default="Reference")
    parser.add_argument("--output", type=Path, default=Path("runs/openmmtools.nc"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
