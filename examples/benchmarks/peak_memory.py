"""Peak memory of one contestant at one size, measured in a process of its own.

    python examples/benchmarks/peak_memory.py reference 269 1

A small batch is evaluated first, so that libraries are loaded and compiled code is ready. Then everything counts that
the contestant takes: `setup_bytes` while it is made for the batch (a compiled potential measures its accuracy there),
`peak_bytes` while it evaluates steps, with all that it keeps (tables, lists). Positions are not counted. Prints one
line of JSON with these and the `seconds` of the last step, or with a `failure`. Runs on Linux.
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass

import torch
from contestants import CONTESTANTS, UnavailableError, make
from machine import PeakMemory, default_memory_limit, limit_memory, set_up, synchronize
from workloads import Motion, build_network, build_system

STEPS = 3
SMALL = 10  # beads of the batch that loads what is loaded once


@dataclass(frozen=True)
class Limits:
    """Beyond which a contestant is not measured."""

    memory: int  # bytes
    seconds: float  # for loading, setting up and all steps


@dataclass(frozen=True)
class Footprint:
    """What one contestant needs; `failure` says why there are no numbers."""

    setup_bytes: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0
    failure: str = ""


def measure(contestant: str, size: tuple[int, int], *, device: str, threads: int, limits: Limits) -> Footprint:
    """Run this file for one contestant and one size (beads, replicas)."""
    options = ["--device", device, "--threads", threads, "--memory-limit", limits.memory]
    command = [str(word) for word in (sys.executable, __file__, contestant, *size, *options)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limits.seconds, check=False)
    except subprocess.TimeoutExpired:
        return Footprint(failure=f"took longer than {limits.seconds:g} s for {STEPS} steps")
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return Footprint(failure=f"ended with status {done.returncode}: {done.stderr.strip()[-200:]}")
    return Footprint(**found)


def run(contestant: str, size: tuple[int, int], device: str, *, limit: int) -> dict[str, float]:
    """Evaluate the small batch, then measure."""
    network = build_network().to(device)
    small = build_system(SMALL, 1).to(device=device)
    make(contestant, network, small)(small)
    start = build_system(*size).to(device=device)
    motion = Motion(start)
    frames = [motion.step() for _ in range(STEPS)]
    memory = PeakMemory(device)
    if device == "cpu":
        limit_memory(limit)
    step = make(contestant, network, start)
    setup = memory.take()
    for frame in frames:
        synchronize(device)
        begin = time.perf_counter()
        step(frame)
        synchronize(device)
        seconds = time.perf_counter() - begin
    return {"setup_bytes": setup, "peak_bytes": memory.take(), "seconds": seconds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("contestant", choices=CONTESTANTS)
    parser.add_argument("beads", type=int)
    parser.add_argument("replicas", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-limit", type=int, default=default_memory_limit(), help="bytes")
    arguments = parser.parse_args()
    set_up(arguments.threads, arguments.device)
    warnings.simplefilter("ignore")
    size = (arguments.beads, arguments.replicas)
    try:
        result = run(arguments.contestant, size, arguments.device, limit=arguments.memory_limit)
    except UnavailableError as error:
        result = {"failure": str(error)}
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "alloc" not in str(error):
            raise
        result = {"failure": f"needed more than {arguments.memory_limit / 2**30:.1f} GiB"}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
