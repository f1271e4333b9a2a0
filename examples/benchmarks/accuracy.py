"""Accuracy of every way to compile a potential, against the network in double precision, as a table in Markdown.

    python examples/benchmarks/accuracy.py --case "chignolin-ca" chignolin-ca data/structures/chignolin_native_ca.pdb

A case is a title, a model, a file of structures (or "-" for those in the model's file) and, where the model is a
network alone, a file of priors. Force and energy errors of the network are those of the compiled potential's report:
on the structures, on copies with thermal noise and on contracted ones, the largest of the three. The drift is that of
the total energy in Newtonian dynamics of network and priors, from velocities at 300 K, all replicas alike in all rows:
the slope of a straight line through it, mean over the replicas and its standard error.
"""

import argparse
import sys
import time

import torch

from flashmd.cli._files import open_model, open_structures
from flashmd.errors import ToleranceNotMetError
from flashmd.md import VelocityVerlet, kinetic_energy
from flashmd.potential import Potential, SchNetPotential, SumPotential
from flashmd.potential.compiled import CompileReport
from flashmd.protocols import EnergyModel
from flashmd.system import System

TEMPERATURE = 300.0
SEED = 7
SINGLE, DOUBLE = torch.float32, torch.float64
MODES: dict[str, tuple[torch.dtype, dict[str, str]]] = {
    "network, double": (DOUBLE, {"filters": "network"}),
    "network, single": (SINGLE, {"filters": "network"}),
    "table, double": (DOUBLE, {}),
    "table, single": (SINGLE, {}),
    "table, float16": (SINGLE, {"precision": "float16"}),
    "table, bfloat16": (SINGLE, {"precision": "bfloat16"}),
    "table, int16": (SINGLE, {"precision": "int16"}),
    "network, float16": (SINGLE, {"filters": "network", "precision": "float16"}),
    "network, bfloat16": (SINGLE, {"filters": "network", "precision": "bfloat16"}),
    "network, int16": (SINGLE, {"filters": "network", "precision": "int16"}),
}


def main() -> int:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    for case in arguments.case:
        title, model, structures, *priors = case
        potential, frames = load_case(model, structures, priors)
        print(f"\n### {title}\n\n{describe(potential, frames)}\n")
        print("| mode | knots | force error | rounded plainly | energy error, kJ/mol per bead | drift, kJ/mol/ns |")
        print("|---|---|---|---|---|---|", flush=True)
        for mode, (dtype, options) in MODES.items():
            print(row(mode, potential, frames.to(dtype=dtype), options, arguments), flush=True)
    return 0


def load_case(model: str, structures: str, priors: list[str]) -> tuple[Potential, System]:
    """Return a potential in double precision and its frames."""
    potential, systems = open_model(model, dtype=DOUBLE)
    if potential is None:
        raise SystemExit(f"{model} holds no model")
    if structures != "-":
        systems = open_structures(
            structures, topology=None, model=potential, described=systems, resolution=None, dtype=DOUBLE
        )
    if priors:
        more = open_model(priors[0], dtype=DOUBLE)[0]
        terms = dict(more.potentials.items()) if isinstance(more, SumPotential) else {"priors": more}
        potential = SumPotential({"network": potential, **terms})
    return potential, System.concatenate(systems)


def describe(potential: Potential, frames: System) -> str:
    """Return a line on network and frames."""
    networks = [module.config for module in potential.modules() if isinstance(module, SchNetPotential)]
    sizes = ", ".join(
        f"{each.n_channels} channels, {each.n_filters} filters, {each.n_basis} {each.basis} functions, "
        f"{each.n_blocks} blocks, cutoff {each.cutoff_upper:g} nm"
        for each in networks
    )
    return f"{frames.n_atoms // frames.n_systems} beads; {sizes}; {frames.n_systems} structures."


def row(mode: str, potential: Potential, frames: System, options: dict[str, str], arguments: argparse.Namespace) -> str:
    """Compile in one mode and return its row."""
    begin = time.perf_counter()
    try:
        compiled = potential.compile(frames, **options)
    except ToleranceNotMetError as error:
        return f"| {mode} | refused: {error.achieved:.1e}, allowed {error.tolerance:.1e} | | | | |"
    print(f"{mode}: compiled in {time.perf_counter() - begin:.1f} s", file=sys.stderr, flush=True)
    report: CompileReport = next(iter(compiled.reports.values()))
    plain = "" if report.plain_force_error is None else f"{report.plain_force_error:.1e}"
    mean, error = drift(compiled, frames, arguments)
    knots = "" if report.n_knots is None else str(report.n_knots)
    errors = f"{report.force_error:.1e} | {plain} | {report.energy_error:.1e}"
    return f"| {mode} | {knots} | {errors} | {mean:+.2f} ± {error:.2f} |"


def drift(model: EnergyModel, frames: System, arguments: argparse.Namespace) -> tuple[float, float]:
    """Return the mean drift of the total energy of a molecule and its standard error, kJ/mol/ns."""
    systems = frames.split()
    start = System.concatenate([systems[k % len(systems)] for k in range(arguments.replicas)])
    integrator = VelocityVerlet(arguments.time_step * 1e-3, seed=SEED)
    state = integrator.init(start, model, temperature=TEMPERATURE)
    times, energies = [], []
    for step in range(1, arguments.steps + 1):
        state = integrator.step(state, model)
        if step % arguments.interval == 0:
            times.append(step * arguments.time_step * 1e-6)
            energies.append(state.energy + kinetic_energy(state))
    x = torch.tensor(times, dtype=DOUBLE)
    x = x - x.mean()
    y = torch.stack(energies)
    slopes = (x[:, None] * (y - y.mean(0))).sum(0) / x.square().sum()
    return float(slopes.mean()), float(slopes.std() / slopes.numel() ** 0.5)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", nargs="+", required=True, help="TITLE MODEL STRUCTURES [PRIORS]")
    parser.add_argument("--steps", type=int, default=20_000, help="of Newtonian dynamics")
    parser.add_argument("--interval", type=int, default=10, help="steps between energies")
    parser.add_argument("--time-step", type=float, default=1.0, help="fs")
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    for case in arguments.case:
        if len(case) not in (3, 4):
            parser.error("a case is TITLE MODEL STRUCTURES [PRIORS]")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
