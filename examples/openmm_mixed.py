"""Alanine dipeptide by a learned potential in water of a force field.

    python examples/openmm_mixed.py data/structures/alanine_dipeptide.pdb --steps 20000 --output runs/mixed

OpenMM-ML removes the force field's terms within the peptide and puts the model in their place; peptide and water keep
the force field's charges and Lennard-Jones terms between them (mechanical embedding). With --interpolate, the system
has a parameter that leads from the force field (0) to the model (1), and the energies on the way are printed. Time
steps are in fs, temperatures in K.
"""

import argparse
import sys
from pathlib import Path

import openmm
import openmm.app
from openmm import unit
from openmmml import MLPotential

MODEL_GROUP = 1


def main() -> int:
    """Solvate, minimise and run."""
    options = _options()
    pdb = openmm.app.PDBFile(str(options.structure))
    modeller = openmm.app.Modeller(pdb.topology, pdb.positions)
    field = openmm.app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller.addSolvent(field, padding=options.padding * unit.nanometer)
    atoms = list(range(pdb.topology.getNumAtoms()))
    classical = field.createSystem(
        modeller.topology,
        nonbondedMethod=openmm.app.PME,
        nonbondedCutoff=min(1.0, 0.95 * options.padding) * unit.nanometer,
        constraints=openmm.app.HBonds,
    )
    potential = MLPotential("flashmd", modelPath=options.model)
    choice = {"forceGroup": MODEL_GROUP, "interpolate": options.interpolate}
    system = potential.createMixedSystem(modeller.topology, classical, atoms, **choice)
    # Hydrogens of the peptide are free now, so the time step is that of an all-atom model.
    integrator = openmm.LangevinMiddleIntegrator(
        options.temperature, 1 / unit.picosecond, options.time_step * unit.femtosecond
    )
    platform = openmm.Platform.getPlatform(options.platform)
    simulation = openmm.app.Simulation(modeller.topology, system, integrator, platform)
    simulation.context.setPositions(modeller.positions)
    simulation.minimizeEnergy(maxIterations=options.minimize)
    simulation.context.setVelocitiesToTemperature(options.temperature, 1)

    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "topology.pdb").open("w", encoding="utf-8") as file:
        openmm.app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    interval = max(1, options.steps // options.frames)
    simulation.reporters.append(openmm.app.DCDReporter(str(options.output / "trajectory.dcd"), interval))
    simulation.step(options.steps)
    n_others = system.getNumParticles() - len(atoms)
    print(f"{options.steps} steps of {len(atoms)} atoms of the model and {n_others} of the force field")
    if options.interpolate:
        _print_path(simulation.context)
    else:
        print(f"energy of the model {_energy(simulation.context, {MODEL_GROUP})}, of all {_energy(simulation.context)}")
    return 0


def _print_path(context: openmm.Context) -> None:
    for weight in (0.0, 0.5, 1.0):
        context.setParameter("lambda_interpolate", weight)
        print(f"lambda_interpolate {weight}: {_energy(context)}")


def _energy(context: openmm.Context, groups: set[int] | int = -1) -> unit.Quantity:
    return context.getState(energy=True, groups=groups).getPotentialEnergy()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structure", type=Path, help="structure file with all hydrogens")
    parser.add_argument("--model", default="organic-gfn2", help="model file or name of a shipped model")
    parser.add_argument("--interpolate", action="store_true")
    parser.add_argument("--padding", type=float, default=1.2, help="water around the molecule, nm")
    parser.add_argument("--temperature", type=float, default=300.0)
    parser.add_argument("--time-step", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--minimize", type=int, default=200, help="steps of minimisation")
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--output", type=Path, default=Path("runs/mixed"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
