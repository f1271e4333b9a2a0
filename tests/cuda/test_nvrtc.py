"""The kernels stand alone: a run-time compiler, which has no host headers, compiles every one that is launched."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flashmd.ops.nvrtc import RuntimeKernels, kernel_folder, kernel_options, kernel_source

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = sorted(path.stem for path in (ROOT / "csrc" / "cuda").glob("*.cu"))


@pytest.fixture(scope="session")
def kernels(emulated, root):
    """Names of all kernels by family."""
    listing = ctypes.CDLL(str(root / "build" / "emulated" / "emulated.so")).flashmd_kernels
    listing.restype = ctypes.c_char_p
    lines = [line.split(" ", 1) for line in listing().decode().splitlines()]
    return {family: [name for key, name in lines if key == family] for family in FAMILIES}


@pytest.fixture(scope="session")
def nvrtc():
    """The run-time compiler that CUDA builds of torch bring along."""
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders for path in Path(folder).glob("*/lib/libnvrtc.so.*")]
    if not found:
        pytest.skip("NVRTC is not installed")
    return ctypes.CDLL(str(found[0]))


def compile_program(nvrtc, family, names):
    """Return what the compiler says and the name of each kernel in the binary."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), kernel_source(family).encode(), b"kernels.cu", 0, None, None)
    for name in names:
        assert nvrtc.nvrtcAddNameExpression(program, name.encode()) == 0
    options = [option.encode() for option in (*kernel_options(), "-arch=sm_90")]
    code = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert code == 0, log.value.decode()
    found = []
    for name in names:
        mangled = ctypes.c_char_p()
        assert nvrtc.nvrtcGetLoweredName(program, name.encode(), ctypes.byref(mangled)) == 0, name
        found.append(mangled.value)
    return log.value.decode(), found


@pytest.mark.parametrize("family", FAMILIES)
def test_nvrtc_compiles_all_kernels(family, nvrtc, kernels):
    log, found = compile_program(nvrtc, family, kernels[family])
    assert len(set(found)) == len(kernels[family]) > 0
    assert "warning" not in log


@pytest.mark.parametrize("family", FAMILIES)
def test_the_device_part_stands_alone(family, kernels, tmp_path):
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    source = tmp_path / "kernels.cu"
    # Addresses in device memory make the compiler generate the kernels without a launch.
    uses = [f"__device__ auto use{k} = &{name};" for k, name in enumerate(kernels[family])]
    source.write_text(kernel_source(family) + "\n".join(uses))
    options = ["-std=c++20", "-ptx", "-arch=sm_90", f"-I{kernel_folder() / 'cuda'}", "-o", str(tmp_path / "out.ptx")]
    run = subprocess.run([nvcc, *options, str(source)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    entries = re.findall(r"\.entry (\w+)", (tmp_path / "out.ptx").read_text())
    assert len(set(entries)) == len(kernels[family])


@pytest.fixture(scope="session")
def runtime_library(root, tmp_path_factory):
    """A launcher as a build without nvcc has it, and a function that calls it."""
    library = tmp_path_factory.mktemp("runtime") / "runtime.so"
    sources = [root / "csrc" / "cuda" / "runtime.cpp", root / "tests" / "cuda" / "runtime_launch.cpp"]
    flags = ["-std=c++20", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-DFLASHMD_RUNTIME"]
    subprocess.run(["g++", *flags, *map(str, sources), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.launch_scale.restype = ctypes.c_char_p
    return library, loaded


LAUNCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, *(ctypes.c_uint,) * 7, *(ctypes.c_void_p,) * 3)
ATTRIBUTE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
DEVICE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int))


def test_launches_pass_the_arguments_as_the_kernel_declares_them(runtime_library):
    library, loaded = runtime_library
    calls, compiled, attributes = [], [], []

    class Recorder(RuntimeKernels):
        def _compile(self, family, name):
            compiled.append((family, name))
            self._driver.launch = ctypes.cast(launch, ctypes.c_void_p)
            self._driver.set_attribute = ctypes.cast(attribute, ctypes.c_void_p)
            self._driver.current_device = ctypes.cast(device, ctypes.c_void_p)
            return 77

    @LAUNCH
    def launch(function, *rest):
        *shape, stream, parameters, extra = rest
        addresses = ctypes.cast(parameters, ctypes.POINTER(ctypes.c_void_p))
        types = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_float)
        values = [ctypes.cast(addresses[k], ctypes.POINTER(kind))[0] for k, kind in enumerate(types)]
        calls.append((function, shape, stream, values, extra))
        return 0

    @ATTRIBUTE
    def attribute(function, which, value):
        attributes.append((function, which, value))
        return 0

    @DEVICE
    def device(out):
        out[0] = 3
        return 0

    recorder = Recorder()
    recorder.attach(library)
    for _ in range(2):
        assert loaded.launch_scale(ctypes.c_void_p(1024), 100_000, 0) is None
    assert compiled == [("test", "scale_kernel<float>")]
    expected = (77, [391, 1, 1, 256, 1, 1, 100_000], None, [1024, 100_000, 2.5], None)
    assert calls == [expected] * 2
    assert attributes == [(77, 8, 100_000)] * 2
    assert loaded.launch_scale(ctypes.c_void_p(1024), 0, 0) is None
    assert len(calls) == 2


def test_without_cupy_the_message_names_the_extra(runtime_library, monkeypatch):
    library, loaded = runtime_library
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    kernels = RuntimeKernels()
    kernels.attach(library)
    text = loaded.launch_scale(ctypes.c_void_p(1024), 5, 1).decode()
    assert "the CUDA kernels: expected a build with nvcc, or CuPy to compile them at run time, got neither." in text
    assert "To fix it, run `pip install flashmd-cg[cuda]`, rebuild with" in text


def test_a_wheel_carries_all_that_the_kernels_include(root, tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    folder = tmp_path / "flashmd" / "csrc"
    assert sorted(path.stem for path in (folder / "cuda").glob("*.cuh") if path.stem in FAMILIES) == FAMILIES
    sources = [path for part in ("cuda", "include") for path in (folder / part).rglob("*.*")]
    for path in sources:
        for name in re.findall(r'#include "(.*)"', path.read_text()):
            assert (path.parent / name).resolve().is_file(), f"{path.name} includes {name}"
    assert {path.name for path in (folder / "cuda" / "nvrtc").iterdir()} == {"cmath", "cstdint", "cstring"}
