"""CUDA kernels for a library that was built without nvcc.

Such a library asks for each kernel when it is first launched. CuPy compiles it with NVRTC, from the sources that nvcc
would compile, and keeps the result on disk; the library launches it through the CUDA driver. CuPy is imported when the
first CUDA tensor arrives, and nothing of this happens in a library that has its kernels.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from flashmd.errors import message

_PACKAGE = Path(__file__).resolve().parents[1]
_OPTIONS = ("--std=c++20", "--device-as-default-execution-space")

_Load = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_char),
    ctypes.c_int,
)
_CALLS = {
    "current_device": "cuCtxGetDevice",
    "launch": "cuLaunchKernel",
    "set_attribute": "cuFuncSetAttribute",
    "copy_to_host": "cuMemcpyDtoHAsync_v2",
    "synchronize": "cuStreamSynchronize",
}


class _Driver(ctypes.Structure):
    """The structure `FlashmdDriver` of csrc/cuda/runtime.h."""

    _fields_ = [("load", _Load), *((name, ctypes.c_void_p) for name in _CALLS)]


def kernel_folder() -> Path:
    """Return the folder of the kernel sources: inside an installed package, beside it in a checkout."""
    inside = _PACKAGE / "csrc"
    return inside if inside.is_dir() else _PACKAGE.parent / "csrc"


def kernel_source(family: str) -> str:
    """Return the program that holds all kernels of a family."""
    return f'#include "{family}.cuh"\nusing namespace flashmd::cuda;\n'


def kernel_options() -> tuple[str, ...]:
    """Return the options of the run-time compiler."""
    folder = kernel_folder() / "cuda"
    return (*_OPTIONS, f"-I{folder}", f"-I{folder / 'nvrtc'}")


class RuntimeKernels:
    """Compiles kernels on demand; `attach` makes a library use it."""

    def __init__(self) -> None:
        self._modules: list[Any] = []
        self._driver = _Driver(_Load(self._load))

    def attach(self, library: Path) -> None:
        """Serve a loaded library, if it was built without CUDA kernels."""
        loaded = ctypes.CDLL(str(library))
        if hasattr(loaded, "flashmd_set_driver"):
            loaded.flashmd_set_driver(ctypes.byref(self._driver))

    def _load(self, family: bytes, name: bytes, function: Any, problem: Any, size: int) -> int:
        """Find a kernel; an exception must not leave a callback of C++, so its text is handed over."""
        try:
            function[0] = self._compile(family.decode(), name.decode())
        except Exception as error:  # noqa: BLE001
            text = str(error).encode()[: size - 1] + b"\0"
            ctypes.memmove(problem, text, len(text))
            return 1
        return 0

    def _compile(self, family: str, name: str) -> int:
        """Return the handle of a kernel of the present device."""
        try:
            import cupy
        except ImportError:
            expected = "a build with nvcc, or CuPy to compile them at run time"
            fix = (
                "run `pip install flashmd-cg[cuda]`, rebuild with `FLASHMD_CUDA=ON python setup.py build_ext "
                '--inplace`, pass `backend="reference"`, or move the tensors to the CPU'
            )
            raise ImportError(message("the CUDA kernels", expected, "neither", fix)) from None
        self._find_driver()
        module = cupy.RawModule(code=kernel_source(family), options=kernel_options(), name_expressions=[name])
        self._modules.append(module)
        handle: int = module.get_function(name).kernel.ptr
        return handle

    def _find_driver(self) -> None:
        if self._driver.launch:
            return
        library = ctypes.CDLL("libcuda.so.1")
        for name, symbol in _CALLS.items():
            setattr(self._driver, name, ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value)


KERNELS = RuntimeKernels()
