"""Compare ways to take one step of force matching: time, peak memory, agreement of the gradients.

    python examples/benchmarks/training_step.py --beads 269 --frames 1 --threads 2 --csv training_step.csv

A step computes the forces of a batch of frames, their mean square error, and its gradient with respect to all
parameters: forward, backward, and double backward. All contestants have the same network, of the published sizes, and
neighbour lists that are ready. They take turns in one process; memory is measured for each in a process of its own.
"""

import argparse
import csv
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from machine import Machine, PeakMemory, set_up
from torch import Tensor
from workloads import build_network, build_system

from flashmd.nn import SchNet
from flashmd.ops import edge_geometry, neighbor_list, segment_sum
from flashmd.potential import SchNetPotential
from flashmd.system import System
from flashmd.train import TrainingSettings

N_KNOTS = TrainingSettings().n_knots
DISPLACEMENT = 0.02  # nm, of every bead of every frame

Energy = Callable[[System], Tensor]
Step = Callable[[], dict[str, Tensor]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One contestant at one size."""

    contestant: str
    beads: int
    frames: int
    pairs: int  # unordered, within the cutoff, of all frames
    seconds_per_step: float  # median of the rounds
    fastest: float
    slowest: float
    ratio: float  # how many times faster than `reference`, median over the rounds
    peak_bytes: int  # beyond what the process had before the first step
    gradient_error: float  # norm of the difference from the gradient of `reference`, relative


def frames_of(n_beads: int, n_frames: int) -> tuple[System, Tensor]:
    """Return frames around one compact chain, and random target forces."""
    generator = torch.Generator().manual_seed(1)
    batch = build_system(n_beads, n_frames)
    moved = batch.positions + DISPLACEMENT * torch.randn(batch.positions.shape, generator=generator)
    return batch.with_positions(moved), 100.0 * torch.randn(moved.shape, generator=generator)


def directed(network: SchNet, batch: System) -> Energy:
    """Plain PyTorch over directed edges, every pair twice, as the common implementations of SchNet do."""
    edges = neighbor_list(batch, network.config.cutoff_upper)

    def energy(system: System) -> Tensor:
        distance = edge_geometry(system, edges, backend="reference")[1]
        atoms = network(system.types, edges, distance, backend="reference")
        return segment_sum(atoms.double(), system.ptr, backend="reference")

    return energy


CONTESTANTS: dict[str, Callable[[SchNet, System], Energy]] = {
    "reference": lambda network, _: SchNetPotential(network, backend="reference").energy,
    "directed": directed,
    "fused": lambda network, _: SchNetPotential(network).energy,
    "table": lambda network, _: SchNetPotential(network, n_knots=N_KNOTS).energy,
}


def make(name: str, size: tuple[int, int]) -> Step:
    """Return the step of a contestant, which gives the gradients by name."""
    network = build_network()
    batch, target = frames_of(*size)
    energy = CONTESTANTS[name](network, batch)
    names = [name for name, _ in network.named_parameters()]

    def step() -> dict[str, Tensor]:
        positions = batch.positions.clone().requires_grad_()
        total = energy(batch.with_positions(positions)).sum()
        (gradient,) = torch.autograd.grad(total, positions, create_graph=True)
        loss = (gradient + target).square().mean()
        found = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
        return dict(zip(names, found, strict=True))

    return step


def race(steps: Mapping[str, Step], n_rounds: int, turn: float) -> dict[str, list[float]]:
    """Let the contestants take turns and return seconds per step of each turn."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_index in range(n_rounds + 1):
        for name, step in steps.items():
            begin, count = time.perf_counter(), 0
            while count == 0 or time.perf_counter() - begin < turn:
                step()
                count += 1
            if round_index:  # the first round builds lists and warms caches
                seconds[name].append((time.perf_counter() - begin) / count)
    return seconds


def peak_bytes(name: str, size: tuple[int, int], threads: int) -> int:
    """Measure the memory of a contestant in a process of its own."""
    options = ["--contestants", name, "--beads", size[0], "--frames", size[1], "--threads", threads, "--peak-of-one"]
    command = [str(word) for word in (sys.executable, __file__, *options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def print_own_peak(name: str, size: tuple[int, int]) -> None:
    """Take a small step, so that libraries are loaded, then measure the real ones."""
    make(name, (10, 1))()
    step = make(name, size)
    memory = PeakMemory("cpu")
    for _ in range(3):
        step()
    sys.stdout.write(json.dumps(memory.take()) + "\n")


def compare(names: list[str], size: tuple[int, int], arguments: argparse.Namespace) -> list[Row]:
    """Measure all contestants at one size and print a table."""
    batch = frames_of(*size)[0]
    pairs = neighbor_list(batch, build_network().config.cutoff_upper).n_edges // 2
    print(f"\n{size[0]} beads, {size[1]} frames, {pairs} pairs, {N_KNOTS} knots")
    print(f"{'contestant':<12}{'ms/step':>10}{'spread':>8}{'x ref.':>8}{'peak MB':>10}{'error':>10}", flush=True)
    steps = {name: make(name, size) for name in names}
    exact = torch.cat([each.double().flatten() for each in steps["reference"]().values()])
    seconds = race(steps, arguments.rounds, arguments.turn)
    rows = []
    for name, step in steps.items():
        found = torch.cat([each.double().flatten() for each in step().values()])
        ratios = [slow / fast for slow, fast in zip(seconds["reference"], seconds[name], strict=True)]
        row = Row(
            name,
            *size,
            pairs,
            seconds_per_step=statistics.median(seconds[name]),
            fastest=min(seconds[name]),
            slowest=max(seconds[name]),
            ratio=statistics.median(ratios),
            peak_bytes=peak_bytes(name, size, arguments.threads),
            gradient_error=float((found - exact).norm() / exact.norm()),
        )
        rows.append(row)
        spread = (row.slowest - row.fastest) / row.seconds_per_step
        print(
            f"{name:<12}{1e3 * row.seconds_per_step:>10.2f}{spread:>8.0%}{row.ratio:>8.1f}"
            f"{row.peak_bytes / 1e6:>10.1f}{row.gradient_error:>10.1e}",
            flush=True,
        )
    return rows


def write_csv(path: Path, rows: list[Row], machine: Machine) -> None:
    """Write one line for each row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = [{**dataclasses.asdict(row), **dataclasses.asdict(machine)} for row in rows]
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--beads", type=int, nargs="+", default=[269])
    parser.add_argument("--frames", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--turn", type=float, default=0.5, help="least length of a turn, s")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--peak-of-one", action="store_true", help="print the peak memory of one contestant, bytes")
    arguments = parser.parse_args()
    machine = set_up(arguments.threads, "cpu")
    if arguments.peak_of_one:
        print_own_peak(arguments.contestants[0], (arguments.beads[0], arguments.frames[0]))
        return 0
    print(machine)
    names = ["reference", *(name for name in arguments.contestants if name != "reference")]
    rows: list[Row] = []
    for n_beads in arguments.beads:
        for n_frames in arguments.frames:
            rows += compare(names, (n_beads, n_frames), arguments)
            if arguments.csv:
                write_csv(arguments.csv, rows, machine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
