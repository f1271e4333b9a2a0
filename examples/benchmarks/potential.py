"""Compare implementations of one SchNet: time of a step of dynamics, peak memory, agreement.

    python examples/benchmarks/potential.py --beads 49 269 --replicas 1 16 --threads 2 --csv potential.csv

Batches of 49, 269 and 1,000 beads at protein density and 1, 16 and 64 replicas; see `workloads`. The contestants (see
`contestants`) take turns in one process, at positions that move as in dynamics; memory is measured for each in a
process of its own. One that is not installed, needs too much memory or takes too long is listed with the reason.
"""

import argparse
import copy
import dataclasses
import statistics
import sys
import warnings
from collections.abc import Mapping

import torch
from contestants import CONTESTANTS, Step, make
from figures import draw_comparison
from machine import Machine, counted, default_memory_limit, set_up
from options import add_common, add_sizes, check_common, check_names
from peak_memory import Limits, measure
from results import HEADER, Row, line, ns_per_day, write_csv
from timing import Rounds, Runner, race, ratio
from workloads import build_network, build_system

from flashmd.nn import SchNet
from flashmd.ops import neighbor_list
from flashmd.potential import SchNetPotential
from flashmd.system import System


def main() -> int:
    arguments, rounds = _parse()
    machine = set_up(arguments.threads, arguments.device)
    warnings.simplefilter("ignore")
    limits = Limits(int(arguments.memory_limit * 2**30), arguments.time_limit)
    print(machine)
    rows: list[Row] = []
    for n_beads in arguments.beads:
        for n_replicas in arguments.replicas:
            rows += compare(arguments.contestants, (n_beads, n_replicas), machine, limits=limits, rounds=rounds)
            if arguments.csv:
                write_csv(arguments.csv, rows, machine)
    if arguments.figure:
        draw_comparison(arguments.figure, rows, machine)
    return 0


def compare(names: list[str], size: tuple[int, int], machine: Machine, *, limits: Limits, rounds: Rounds) -> list[Row]:
    """Measure all contestants at one size and print a table."""
    device = machine.device
    start = build_system(*size).to(device=device)
    network = build_network().to(device)
    edges = neighbor_list(start, network.config.cutoff_upper).n_edges
    print(f"\n{size[0]} beads, {counted(size[1], 'replica')}, {edges} directed edges\n{HEADER}", flush=True)
    needs = {name: measure(name, size, device=device, threads=machine.threads, limits=limits) for name in names}
    fit = [name for name in names if not needs[name].failure]
    runners = race({name: make(name, network, start) for name in fit}, start, machine, rounds=rounds)
    alone = build_system(size[0], 1).to(device=device)
    rows = []
    for name in names:
        row = Row(name, *size, edges, failure=needs[name].failure)
        if name in fit:
            error = force_error(make(name, network, alone), network, alone)
            memory = {"peak_bytes": needs[name].peak_bytes, "setup_bytes": needs[name].setup_bytes}
            row = dataclasses.replace(row, **memory, force_error=error, **_times(runners[name], runners, size[1]))
        print(line(row), flush=True)
        rows.append(row)
    return rows


def _times(runner: Runner, runners: Mapping[str, Runner], n_replicas: int) -> dict[str, float | int | None]:
    """Columns that come from the clock."""
    seconds = statistics.median(runner.seconds)
    return {
        "seconds_per_step": seconds,
        "ns_per_day": ns_per_day(seconds, n_replicas),
        "fastest": min(runner.seconds),
        "slowest": max(runner.seconds),
        "ratio": ratio(runners["reference"], runner) if "reference" in runners else None,
        "ratio_pyg": ratio(runners["pyg"], runner) if "pyg" in runners else None,
        "steps": runner.n_steps,
    }


def force_error(step: Step, network: SchNet, system: System) -> float:
    """Norm of the difference from the forces in float64, relative to their norm."""
    exact = SchNetPotential(copy.deepcopy(network).double()).evaluate(system.to(dtype=torch.float64)).forces
    return float((step(system).forces - exact).norm() / exact.norm())


def _parse() -> tuple[argparse.Namespace, Rounds]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sizes(parser, beads=(49, 269, 1000), replicas=(1, 16, 64))
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-limit", type=float, default=default_memory_limit() / 2**30, help="GiB")
    parser.add_argument("--time-limit", type=float, default=180.0, help="s, for the first steps of a contestant")
    add_common(parser)
    arguments = parser.parse_args()
    check_names(parser, "contestants", arguments.contestants, list(CONTESTANTS))
    return arguments, check_common(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
