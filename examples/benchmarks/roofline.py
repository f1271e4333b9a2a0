"""How far the kernels are from what the machine can do.

    python examples/benchmarks/roofline.py --beads 269 --replicas 4

Operations and bytes of each kernel are counted from its sizes (`kernels`), the machine's rates are measured here: the
multiply-adds of a large matrix product, the triad a = b + s c in memory and in the first cache. A kernel can be no
faster than its operations at the first rate nor than its bytes at the rate of the place they come from; the table
shows the larger of the two times beside the time measured. One thread works, and its own time counts, so that other
work on the machine disturbs little.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch
from kernels import Kernel, Workload, kernels
from machine import set_up
from options import check_numbers
from results import write_csv

MATRIX = 1024
LARGE, SMALL = 2**26, 2**11  # numbers of an array: far beyond all caches; three arrays in the first one
REPEATS = 20000
HEADER = (
    f"{'kernel':<28}{'unit':<15}{'operations':>10}{'bytes':>9} {'from':<7}{'bound/ns':>10}{'time/ns':>10}{'bound':>8}"
)


@dataclass(frozen=True)
class Rates:
    """What one thread of the machine does in a second."""

    operations: float
    memory: float  # bytes
    cache: float  # bytes


@dataclass(frozen=True)
class Row:
    """One kernel."""

    kernel: str
    unit: str
    units: int
    operations_per_unit: float
    bytes_per_unit: float
    source: str  # of the bytes
    seconds: float  # the fastest of all rounds
    bound_seconds: float
    fraction: float  # of the bound


def measure_rates() -> Rates:
    """Measure the machine; each rate is the best of several tries."""
    left, right = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    product = torch.empty(MATRIX, MATRIX)
    operations = 2.0 * MATRIX**3 / _fastest(lambda: torch.mm(left, right, out=product))
    a, b, c = (torch.rand(LARGE) for _ in range(3))
    memory = 12.0 * LARGE / _fastest(lambda: torch.add(b, c, alpha=2.0, out=a))
    x, y, z = (np.random.default_rng(0).random(SMALL, dtype=np.float32) for _ in range(3))
    _triad(x, y, z, 1)
    cache = 12.0 * SMALL * REPEATS / _fastest(lambda: _triad(x, y, z, REPEATS))
    return Rates(operations, memory, cache)


@numba.njit(fastmath=True)
def _triad(a: np.ndarray, b: np.ndarray, c: np.ndarray, repeats: int) -> None:
    for k in range(repeats):
        scale = np.float32(k)
        for i in range(a.size):
            a[i] = b[i] + scale * c[i]


def _fastest(call: Callable[[], object], *, rounds: int = 20) -> float:
    times = []
    for _ in range(rounds):
        begin = time.thread_time()
        call()
        times.append(time.thread_time() - begin)
    return min(times)


def measure(kernel: Kernel, rates: Rates, *, rounds: int) -> Row:
    """Time a kernel and compare with the bound."""
    for call in (kernel.call, kernel.overhead or kernel.call):
        call()
    seconds = _fastest(kernel.call, rounds=rounds)
    if kernel.overhead is not None:
        seconds -= _fastest(kernel.overhead, rounds=rounds)
    unit, n_units = kernel.unit
    rate = rates.memory if kernel.source == "memory" else rates.cache
    bound = n_units * max(kernel.operations / rates.operations, kernel.bytes / rate)
    size = float(kernel.operations), float(kernel.bytes)
    return Row(kernel.name, unit, n_units, *size, kernel.source, seconds, bound, bound / seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beads", type=int, default=269)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10, help="the fastest counts")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    check_numbers(parser, arguments)
    machine = set_up(1, "cpu")
    warnings.simplefilter("ignore")
    rates = measure_rates()
    print(machine)
    print(
        f"matrix product {rates.operations / 1e9:.0f} GFLOP/s, triad in memory {rates.memory / 1e9:.1f} GB/s, "
        f"in the first cache {rates.cache / 1e9:.0f} GB/s\n{HEADER}"
    )
    work = Workload(arguments.beads, arguments.replicas)
    rows = []
    for kernel in kernels(work):
        rows.append(measure(kernel, rates, rounds=arguments.rounds))
        print(_line(rows[-1]), flush=True)
    if arguments.csv:
        write_csv(arguments.csv, rows, machine)
    return 0


def _line(row: Row) -> str:
    nanoseconds = 1e9 / row.units
    return (
        f"{row.kernel:<28}{row.unit:<15}{row.operations_per_unit:>10.0f}{row.bytes_per_unit:>9.0f} {row.source:<7}"
        f"{nanoseconds * row.bound_seconds:>10.2f}{nanoseconds * row.seconds:>10.2f}{row.fraction:>8.0%}"
    )


if __name__ == "__main__":
    sys.exit(main())
