"""The CUDA sources compiled for the host: their kernels run in the tests without a GPU."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

FLAGS = ["-std=c++20", "-O2", "-g1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
FLAGS += ["-Wno-unused-function", "-ffp-contract=off", "-DFLASHMD_EMULATED"]
FLAGS += ["-DTORCH_TARGET_VERSION=0x020b000000000000"]


def sources(root):
    csrc = root / "csrc"
    own = root / "tests" / "cuda" / "emulation.cpp"
    bindings = [path for path in sorted(csrc.glob("*_ops.cpp")) if "FLASHMD_LIBRARY" in path.read_text()]
    return [own, *bindings, *sorted((csrc / "cuda").glob("*.cu"))]


def build(root, folder):
    """Compile the launchers, kernels and bindings with g++ and return the library."""
    torch_folder = Path(torch.__file__).parent
    command = [os.environ.get("CXX", "g++"), *FLAGS, "-isystem", str(torch_folder / "include"), "-x", "c++", "-c"]

    def compile_one(source):
        target = folder / f"{source.name}.o"
        call = [*command, f'-DFLASHMD_FAMILY="{source.stem}"', str(source), "-MMD", "-o", str(target)]
        stamp = target.with_suffix(".sha256")
        if not (stamp.exists() and stamp.read_text() == digest(call, target)):
            subprocess.run(call, check=True)
            stamp.write_text(digest(call, target))
        return str(target)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources(root)))
    library = folder / "emulated.so"
    link = ["g++", "-shared", "-o", str(library), *objects, f"-L{torch_folder / 'lib'}", "-ltorch_cpu"]
    subprocess.run(link, check=True)
    return library


def digest(call, target):
    """Identify a compiler call by what it says and by what it read when it was last made."""
    found = hashlib.sha256(" ".join(call).encode())
    listing = target.with_suffix(".d")
    for path in listing.read_text().replace("\\\n", " ").split()[1:] if listing.exists() else []:
        found.update(Path(path).read_bytes() if Path(path).exists() else b"gone")
    return found.hexdigest()


@pytest.fixture(scope="session")
def emulated(root):
    """The operators of the package with the CUDA kernels run by the host, for CPU tensors."""
    folder = root / "build" / "emulated"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        library = build(root, folder)
    torch.ops.load_library(str(library))
    return torch.ops.flashmd_emulated


@pytest.fixture
def in_both_orders(emulated):
    """Call a function with the threads of each block in ascending and in descending order; both must agree."""

    def run(function):
        results = []
        for descending in (False, True):
            emulated.set_thread_order(descending)
            results.append(function())
        emulated.set_thread_order(False)
        first, second = ([each] if isinstance(each, torch.Tensor) else list(each) for each in results)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), "a race: results depend on the order"
        return results[0]

    return run
