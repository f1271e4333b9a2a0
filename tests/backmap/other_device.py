"""A second device for machines that have none: tensors in memory that call themselves "meta" and refuse company.

Operations between them and ordinary tensors fail as they would between a GPU and the host, so a test can tell whether
everything that has to be on the device of a computation is there. Numbers are those of the CPU, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "meta"
_TAKE_HOST_INDICES = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::copy_")


class OnDevice(Tensor):
    """A tensor of the second device around one of the host."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> OnDevice:
        made: OnDevice = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, host.size(), strides=host.stride(), dtype=host.dtype, device=torch.device(NAME)
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.host.tolist()


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def other_device() -> Iterator[None]:
    """Let `device="meta"` mean the second device."""
    plain: Callable[..., Tensor] = torch.tensor

    def tensor(data: Any, *, device: Any = None, **rest: Any) -> Tensor:
        made = plain(data, **rest)
        return made if device is None or torch.device(device).type != NAME else OnDevice(made)

    with _Mode(), patch("torch.tensor", tensor):
        yield


def moved(module: nn.Module) -> nn.Module:
    """Put the parameters and buffers of a module on the second device."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(OnDevice(value.detach()), requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = OnDevice(buffer)
    return module


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    here = [isinstance(each, OnDevice) for each in leaves]
    name = func._schema.name
    at_home = [each for each, is_here in zip(leaves, here, strict=True) if not is_here and each.ndim]
    if any(here) and at_home and not (name in _TAKE_HOST_INDICES and here[0]):
        raise RuntimeError(f"{name}: tensors on two devices, of shapes {[tuple(each.shape) for each in leaves]}")
    device = kwargs.get("device")
    if device is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args, kwargs = tree_map(lambda each: each.host if isinstance(each, OnDevice) else each, (args, kwargs))
    result = func(*args, **kwargs)
    if name.endswith("_"):
        return leaves[0]
    there = any(here) if device is None else torch.device(device).type == NAME
    return tree_map(lambda each: OnDevice(each) if isinstance(each, Tensor) else each, result) if there else result
