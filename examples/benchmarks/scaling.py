"""How the time of a step grows with beads, replicas, pairs and threads.

    python examples/benchmarks/scaling.py --beads 49 269 1000 --replicas 1 4 16 64 --threads 1 2 --figure scaling.png

One batch at a time; the numbers of threads take turns. The slopes are those of straight lines through the logarithms:
one means that time is proportional to the number of replicas or pairs.
"""

import argparse
import statistics
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from contestants import CONTESTANTS, make
from figures import draw_scaling, exponent
from machine import Machine, counted, set_up
from options import add_common, add_sizes, check_common, check_names
from results import write_csv
from timing import Rounds, Runner, ratio
from workloads import build_network, build_system

from flashmd.ops import neighbor_list


@dataclass(frozen=True)
class Point:
    """One batch with one number of threads."""

    contestant: str
    beads: int
    replicas: int
    threads: int
    pairs: int  # within the cutoff, of all replicas together, at the start
    seconds_per_step: float  # median of the rounds
    fastest: float  # the quickest and the slowest round, s
    slowest: float
    speedup: float  # over the first number of threads, in the same run


def measure(
    name: str, size: tuple[int, int], *, threads: Sequence[int], machine: Machine, rounds: Rounds
) -> list[Point]:
    """Time one contestant on one batch with each number of threads in turn."""
    start = build_system(*size).to(device=machine.device)
    network = build_network().to(machine.device)
    pairs = neighbor_list(start, network.config.cutoff_upper).n_edges // 2
    step = make(name, network, start)
    runners = {each: Runner(step, start, device=machine.device, threads=max(threads)) for each in threads}
    for each, runner in runners.items():
        torch.set_num_threads(each)
        runner.warm_up(rounds.seconds)
    for _ in range(rounds.count):
        for each, runner in runners.items():
            torch.set_num_threads(each)
            runner.take_turn()
    return [
        Point(
            name,
            *size,
            each,
            pairs,
            seconds_per_step=statistics.median(runner.seconds),
            fastest=min(runner.seconds),
            slowest=max(runner.seconds),
            speedup=ratio(runners[threads[0]], runner),
        )
        for each, runner in runners.items()
    ]


def main() -> int:
    arguments, rounds = _parse()
    machine = set_up(max(arguments.threads), arguments.device)
    warnings.simplefilter("ignore")
    print(
        f"{machine}\n{'beads':>6}{'replicas':>9}{'threads':>8}{'pairs':>9}{'ms/step':>10}{'spread':>8}{'speed-up':>9}"
    )
    points: list[Point] = []
    for n_beads in arguments.beads:
        for n_replicas in arguments.replicas:
            size = (n_beads, n_replicas)
            new = measure(arguments.contestant, size, threads=arguments.threads, machine=machine, rounds=rounds)
            for point in new:
                print(_line(point), flush=True)
            points += new
    print(*_slopes(points), sep="\n")
    if arguments.csv:
        write_csv(arguments.csv, points, machine)
    if arguments.figure:
        draw_scaling(arguments.figure, points, f"{arguments.contestant}; {machine}")
    return 0


def _line(point: Point) -> str:
    spread = (point.slowest - point.fastest) / point.seconds_per_step
    return (
        f"{point.beads:>6}{point.replicas:>9}{point.threads:>8}{point.pairs:>9}"
        f"{1e3 * point.seconds_per_step:>10.3f}{spread:>8.0%}{point.speedup:>9.2f}"
    )


def _slopes(points: Sequence[Point]) -> list[str]:
    """Sentences about how time grows."""
    found = []
    for threads in sorted({point.threads for point in points}):
        own, name = [point for point in points if point.threads == threads], counted(threads, "thread")
        for n_beads in sorted({point.beads for point in own}):
            line = [point for point in own if point.beads == n_beads]
            if len(line) > 1:
                power = exponent([point.replicas for point in line], [point.seconds_per_step for point in line])
                found.append(f"{name}, {n_beads} beads: time grows as replicas to the power {power:.2f}")
        if len({point.pairs for point in own}) > 1:
            power = exponent([point.pairs for point in own], [point.seconds_per_step for point in own])
            found.append(f"{name}, all batches: time grows as pairs to the power {power:.2f}")
    return found


def _parse() -> tuple[argparse.Namespace, Rounds]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sizes(parser, beads=(49, 269, 1000), replicas=(1, 4, 16, 64))
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="the first is what others compare to")
    parser.add_argument("--contestant", default="compiled", metavar="NAME")
    add_common(parser)
    arguments = parser.parse_args()
    check_names(parser, "contestant", [arguments.contestant], list(CONTESTANTS))
    return arguments, check_common(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
