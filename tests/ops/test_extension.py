from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from flashmd.errors import ExtensionNotBuiltError
from flashmd.ops import _extension, philox_normal, segment_sum

OPERATORS = (
    "cfconv",
    "cfconv_transposed",
    "edge_product",
    "edge_difference",
    "edge_divergence",
    "segment_sum",
    "segment_expand",
    "philox_normal",
    "philox_uniform",
    "neighbor_list",
)
# Runs in a process of its own: the package as it is where the extension was never built.
WITHOUT_LIBRARY = """
import pathlib
pathlib.Path.glob = lambda self, pattern: iter(())
import torch
import flashmd.ops as ops
from flashmd.errors import ExtensionNotBuiltError
ptr = torch.tensor([0, 2])
assert ops.segment_sum(torch.ones(2), ptr, backend="reference").tolist() == [2.0]
try:
    ops.segment_sum(torch.ones(2), ptr)
except ExtensionNotBuiltError as error:
    print(error)
"""


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("key", ["CPU", "CUDA"])
def test_every_operator_has_a_kernel_for_both_devices(name, key):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"flashmd::{name}", key)


def test_missing_library_is_an_error_only_when_a_kernel_is_called(root):
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARY], cwd=root, capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.startswith("the compiled operators: expected a built extension, got no file `_kernels*.so` in ")
    assert (
        'To fix it, build it with `python setup.py build_ext --inplace`, or pass `backend="reference"`.' in run.stdout
    )


def test_operator_that_the_library_lacks_asks_for_a_new_build():
    newer = _extension.Operator("of_a_later_version", lambda values: values)
    with pytest.raises(ExtensionNotBuiltError, match="operator 'of_a_later_version'.*older.*build it again"):
        newer(torch.zeros(1))


def test_unusable_library_is_named(monkeypatch):
    monkeypatch.setattr(_extension, "_PROBLEM", "_kernels.so, which cannot be loaded (wrong ELF class)")
    edges_free = (torch.ones(2), torch.tensor([0, 2]))
    with pytest.raises(ExtensionNotBuiltError, match="got _kernels.so, which cannot be loaded \\(wrong ELF class\\)"):
        segment_sum(*edges_free)
    assert segment_sum(*edges_free, backend="reference").tolist() == [2.0]


@pytest.mark.cuda
def test_kernels_are_captured_in_a_cuda_graph():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    stream = torch.arange(100, device="cuda")
    ptr = torch.tensor([0, 40, 100], device="cuda")
    expected = segment_sum(philox_normal(1, stream, 2, 3), ptr)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = segment_sum(philox_normal(1, stream, 2, 3), ptr)
    graph.replay()
    assert torch.equal(found, expected)


def test_eager_and_registered_derivatives_are_the_same(numbers):
    ptr = torch.tensor([0, 2, 5])
    values = numbers(5, 3).requires_grad_()
    gradients = [
        torch.autograd.grad(torch.sin(function(values, ptr)).sum(), values, create_graph=True)[0]
        for function in (segment_sum, torch.ops.flashmd.segment_sum)
    ]
    assert torch.equal(*gradients)
    second = [torch.autograd.grad(gradient.square().sum(), values)[0] for gradient in gradients]
    assert torch.equal(*second)
    assert bool(second[0].abs().max() > 0)
