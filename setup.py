"""Build of the compiled operators; everything else about the package stands in setup.cfg.

The library is no Python module but is loaded by `torch.ops.load_library`. It uses LibTorch's stable ABI, so one binary
serves every torch from 2.11 on, with and without CUDA; only torch's headers and libtorch_cpu are needed to build it.
CUDA kernels are compiled where nvcc is found (environment variable FLASHMD_CUDA=AUTO|ON|OFF). A plugin for OpenMM,
which knows neither Python nor torch, is built of the same kernels where OpenMM is installed. Object files are kept
under build/ and compiled again only where a source, a header or the command changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"
SHIPPED = ("models", "structures")
TARGET_TORCH = "0x020b000000000000"
CUDA_ARCHITECTURES = ("arch=compute_80,code=sm_80", "arch=compute_90,code=[sm_90,compute_90]")
# No contraction to fused multiply-add: every instruction set and the PyTorch reference then round alike.
CXX_FLAGS = ["-std=c++20", "-O3", "-fPIC", "-Wall", "-Wextra", "-fvisibility=hidden"]
MATH_FLAGS = ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
# Sources in csrc/cpu/simd/ are compiled once for each instruction set, each time in a namespace of its own; the widest
# that the processor has is chosen at run time. They have their own tolerances, so fused multiply-add is welcome.
INSTRUCTION_SETS = {"baseline": [], "avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4"]}
SIMD_FLAGS = ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"]
# The headers of the intrinsics of GCC 12 warn about themselves.
SIMD_FLAGS += ["-Wno-psabi", "-Wno-maybe-uninitialized"]


# The plugin for OpenMM and the objects of the kernels that it shares with the operators: the same bits.
PLUGIN = "flashmd.libOpenMMFlashMD"
PLUGIN_OBJECTS = ("engine-", "openmm-", "cpu-isa.", "cpu-neighbor_list.", "cpu-displacement.", "cpu-schnet.")
PLUGIN_OBJECTS += ("cpu-tiles.", "cpu-priors.", "cpu-simd-schnet.", "cpu-simd-priors.")
PLUGIN_HEADER = CSRC / "openmm" / "include" / "FlashMDForce.h"


def openmm_folder() -> Path | None:
    """Return the folder with the headers and libraries of an installed OpenMM, or None."""
    spec = importlib.util.find_spec("openmm")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent.parent / "OpenMM.libs"
    return folder if (folder / "include" / "OpenMM.h").is_file() else None


def torch_folder() -> Path:
    """Return the folder of the installed torch without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "torch: expected an installed torch >= 2.11, got none. To fix it, run `pip install torch` first."
        )
    return Path(spec.origin).parent


def find_nvcc() -> str | None:
    """Return nvcc where CUDA kernels are to be built, and None where they are not."""
    wanted = os.environ.get("FLASHMD_CUDA", "AUTO").upper()
    if wanted not in ("AUTO", "ON", "OFF"):
        raise SystemExit(f"FLASHMD_CUDA: expected AUTO, ON or OFF, got {wanted!r}. To fix it, set one of them.")
    if wanted == "OFF":
        return None
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")
    if nvcc is None and wanted == "ON":
        raise SystemExit("FLASHMD_CUDA=ON: expected nvcc, got none. To fix it, install it or set CUDA_HOME.")
    return nvcc


def compile_commands(nvcc: str | None) -> dict[str, tuple[Path, list[str]]]:
    """Return source and compiler call, without the output, by the name of the object."""
    torch_include = ["-isystem", str(torch_folder() / "include"), f"-DTORCH_TARGET_VERSION={TARGET_TORCH}"]
    cxx = [os.environ.get("CXX", "g++"), *CXX_FLAGS, *MATH_FLAGS]
    sources = [*sorted(CSRC.glob("*.cpp")), *sorted((CSRC / "cpu").glob("*.cpp"))]
    sources += [CSRC / "cuda" / "stream.cpp"]
    commands = {object_name(source): (source, [*cxx, *torch_include, "-c", str(source)]) for source in sources}
    commands |= simd_commands([os.environ.get("CXX", "g++"), *CXX_FLAGS, *SIMD_FLAGS])
    commands |= plugin_commands(cxx)
    if nvcc:
        flags = ["-std=c++20", "-O3", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
        for architecture in CUDA_ARCHITECTURES:
            flags += ["-gencode", architecture]
        for source in sorted((CSRC / "cuda").glob("*.cu")):
            commands[object_name(source)] = (source, [nvcc, *flags, "-c", str(source)])
        return commands
    return commands | runtime_commands(cxx)


def runtime_commands(cxx: list[str]) -> dict[str, tuple[Path, list[str]]]:
    """Return the calls for a build without nvcc: launchers that have their kernels compiled when they are needed."""
    commands = {}
    for source in [CSRC / "cuda" / "runtime.cpp", *sorted((CSRC / "cuda").glob("*.cu"))]:
        call = [*cxx, "-DFLASHMD_RUNTIME", f'-DFLASHMD_FAMILY="{source.stem}"', "-x", "c++", "-c", str(source)]
        commands[object_name(source)] = (source, call)
    return commands


def simd_commands(cxx: list[str]) -> dict[str, tuple[Path, list[str]]]:
    """Return the calls for the vectorised sources: one for each instruction set, or one on other processors."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    commands = {}
    for source in sorted((CSRC / "cpu" / "simd").glob("*.cpp")):
        for name, flags in INSTRUCTION_SETS.items() if x86 else [("baseline", [])]:
            call = [*cxx, *flags, f"-DFLASHMD_ISA={name}", f"-DFLASHMD_ISA_{name.upper()}", "-c", str(source)]
            commands[f"{object_name(source)}-{name}"] = (source, call)
    return commands


def plugin_commands(cxx: list[str]) -> dict[str, tuple[Path, list[str]]]:
    """Return the calls for what the plugin has besides the kernels; none without OpenMM."""
    openmm = openmm_folder()
    if openmm is None:
        return {}
    call = [*cxx, "-isystem", str(openmm / "include"), "-c"]
    sources = [*sorted((CSRC / "engine").glob("*.cpp")), *sorted((CSRC / "openmm").glob("*.cpp"))]
    return {object_name(source): (source, [*call, str(source)]) for source in sources}


def object_name(source: Path) -> str:
    """Return the name of an object file without its suffix."""
    return source.relative_to(CSRC).as_posix().replace("/", "-")


def cuda_library_folders(nvcc: str) -> list[str]:
    """Return where the toolkit keeps its libraries; nvcc on the PATH may be a script that calls the real one."""
    listing = subprocess.run(
        [nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=True
    ).stderr
    top = next(Path(line.split("TOP=", 1)[1].strip()) for line in listing.splitlines() if "TOP=" in line)
    folders = (top / name for name in ("lib64", "lib", f"targets/{platform.machine()}-linux/lib"))
    return [str(folder.resolve()) for folder in folders if folder.is_dir()]


def link_command(nvcc: str | None) -> list[str]:
    """Return the linker call without inputs and output."""
    folders = [str(torch_folder() / "lib"), *(cuda_library_folders(nvcc) if nvcc else [])]
    options = ["-shared", "-Wl,--as-needed", "-Wl,-rpath,$ORIGIN/../torch/lib", *(f"-L{folder}" for folder in folders)]
    return [os.environ.get("CXX", "g++"), *options]


def plugin_link_command() -> list[str]:
    """Return the linker call of the plugin without inputs and output."""
    openmm = cast("Path", openmm_folder())
    options = ["-shared", "-Wl,-z,defs", "-Wl,-rpath,$ORIGIN/../OpenMM.libs/lib", f"-L{openmm / 'lib'}", "-pthread"]
    return [os.environ.get("CXX", "g++"), *options]


def compile_if_changed(command: list[str], source: Path, output: Path) -> None:
    """Compile unless the object stems from the same call and the same contents of the source and its headers."""
    listing = output.with_suffix(".d")
    command = [*command, "-MMD", "-MF", str(listing)]

    def included() -> list[Path]:
        words = listing.read_text().replace("\\\n", " ").split() if listing.exists() else []
        return [Path(word) for word in words[1:] if Path(word).exists()]

    run_if_changed(command, lambda: [source, *included()], output)


def run_if_changed(command: list[str], inputs: Callable[[], list[Path]], output: Path) -> None:
    """Run a compiler call unless its output stems from the same call and the same contents of the inputs."""

    def digest() -> str:
        state = hashlib.sha256(" ".join(command).encode())
        for path in inputs():
            state.update(path.read_bytes())
        return state.hexdigest()

    stamp = output.with_name(output.name + ".sha256")
    if output.exists() and stamp.exists() and stamp.read_text() == digest():
        return
    stamp.unlink(missing_ok=True)
    subprocess.run([*command, "-o", str(output)], check=True)
    # Which headers a source includes is known once it is compiled.
    stamp.write_text(digest())


def kernel_sources() -> list[Path]:
    """Return what a run-time compiler needs to compile the CUDA kernels."""
    own = [path for path in sorted((CSRC / "cuda").glob("*")) if path.suffix in (".h", ".cuh")]
    return [*own, *sorted((CSRC / "cuda" / "nvrtc").glob("*")), *sorted((CSRC / "include").glob("*.h"))]


class BuildKernels(build_ext):
    """Compile csrc/ into flashmd/_kernels.so and, where OpenMM is installed, its plugin."""

    def run(self) -> None:
        """Build all libraries; say so where one is left out."""
        if openmm_folder() is None:
            print("OpenMM is not installed: its plugin libOpenMMFlashMD is left out", file=sys.stderr)
        super().run()

    def get_ext_filename(self, fullname: str) -> str:
        """Name the library without a Python version: it does not depend on one."""
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, ext: Extension) -> None:
        """Compile what changed, link, and place the library where setuptools expects it."""
        nvcc, folder = find_nvcc(), ROOT / "build" / "kernels"
        outputs = self.compiled_objects(nvcc, folder)
        if ext.name == PLUGIN:
            inputs = [path for name, path in outputs.items() if name.startswith(PLUGIN_OBJECTS)]
            library, command, tail = folder / "libOpenMMFlashMD.so", plugin_link_command(), ["-lOpenMM"]
        else:
            inputs = [path for name, path in outputs.items() if not name.startswith(("engine-", "openmm-"))]
            library, command = folder / f"_kernels-{'cuda' if nvcc else 'cpu'}.so", link_command(nvcc)
            tail = ["-ltorch_cpu", *(["-lcudart_static", "-ldl", "-lrt", "-lpthread"] if nvcc else ["-ldl"])]
        run_if_changed([*command, *map(str, inputs), *tail], lambda: inputs, library)
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, target)

    def compiled_objects(self, nvcc: str | None, folder: Path) -> dict[str, Path]:
        """Compile what changed and return all objects by name."""
        folder.mkdir(parents=True, exist_ok=True)

        def compile_one(item: tuple[str, tuple[Path, list[str]]]) -> tuple[str, Path]:
            name, (source, command) = item
            output = folder / f"{name}.o"
            compile_if_changed(command, source, output)
            return name, output

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return dict(pool.map(compile_one, compile_commands(nvcc).items()))


class BuildPackage(build_py):
    """Place what lies outside the package inside a wheel: models and structures of data/, and the CUDA kernels."""

    def run(self) -> None:
        """Copy the modules, then the data; an editable install finds data/ where it is."""
        super().run()
        if not self.editable_mode:
            for name in SHIPPED:
                for path in sorted((ROOT / "data" / name).glob("*")):
                    target = Path(self.build_lib) / "flashmd" / "data" / name
                    target.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target)
            for path in [*kernel_sources(), PLUGIN_HEADER]:
                target = Path(self.build_lib) / "flashmd" / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)


class AnyPythonWheel(bdist_wheel):
    """Tag wheels for every Python 3 of the platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of interpreter, ABI and platform."""
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension(name, sources=[]) for name in ("flashmd._kernels", *([PLUGIN] if openmm_folder() else []))],
    cmdclass={"build_ext": BuildKernels, "build_py": BuildPackage, "bdist_wheel": AnyPythonWheel},
)
