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
        run_if_changed(call, target, target.with_suffix(".d"))
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources(root)))
    library = folder / "emulated.so"
    listing = folder / "emulated.d"
    listing.write_text(f"{library}: " + " ".join(map(str, objects)))
    link = ["g++", "-shared", "-o", str(library), *map(str, objects), f"-L{torch_folder / 'lib'}", "-ltorch_cpu"]
    # Another process may have loaded the library: it must stay the same file while nothing has changed.
    run_if_changed(link, library, listing)
    return library


def run_if_changed(call, target, listing):
    """Make `target` unless the call and the files that `listing` names are those of the last time."""
    stamp = target.with_name(target.name + ".sha256")
    if not (target.exists() and stamp.exists() and stamp.read_text() == digest(call, listing)):
        subprocess.run(call, check=True)
        stamp.write_text(digest(call, listing))


def digest(call, listing):
    """Identify a call by what it says and by the files that it reads, listed as for make."""
    found = hashlib.sha256(" ".join(call).encode())
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
