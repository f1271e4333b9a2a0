"""Loading of the compiled operators and the way they are called.

The library is loaded once, at import, if it is there. A missing library is no error until an operator is called with
``backend="kernel"``: the package imports and the reference backend works without a compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from flashmd.errors import ExtensionNotBuiltError, message
from flashmd.ops.nvrtc import KERNELS


def _load() -> str:
    """Load the library and return what went wrong, or nothing."""
    folder = Path(__file__).resolve().parent.parent
    found = sorted(folder.glob("_kernels*.so"))
    if not found:
        return f"no file `_kernels*.so` in {folder}"
    try:
        torch.ops.load_library(str(found[0]))
    except OSError as error:
        return f"{found[0].name}, which cannot be loaded ({error})"
    KERNELS.attach(found[0])
    return ""


_PROBLEM = _load()


def use_kernels(backend: str) -> bool:
    """Return True for the kernel backend and False for the reference.

    Raises:
        ValueError: the name is neither.
        ExtensionNotBuiltError: kernels are wanted and missing.
    """
    if backend == "kernel":
        if _PROBLEM:
            fix = 'build it with `python setup.py build_ext --inplace`, or pass `backend="reference"`'
            raise ExtensionNotBuiltError(message("the compiled operators", "a built extension", _PROBLEM, fix))
        return True
    if backend == "reference":
        return False
    raise ValueError(message("`backend`", "'kernel' or 'reference'", repr(backend), "choose one of them"))


class Operator:
    """A compiled operator together with its shapes for tracing and its derivative.

    Both are registered with torch, so that `torch.compile`, `opcheck` and direct calls of ``torch.ops.flashmd`` work.
    Eager calls take a shorter way to the same functions: the registered path spends 30 us in Python where no gradient
    is wanted and 100 us where one is, which is more than the kernels need on a small batch.

    Args:
        name: operator in the namespace `flashmd`.
        fake: function of the operator's arguments that returns empty results.
        backward: derivative ``(ctx, grad) -> gradients``, made of differentiable operators; None for integer results.
        setup_context: ``(ctx, inputs, output)``, saves what `backward` needs.
        n_differentiable: how many leading arguments have derivatives.
    """

    def __init__(
        self,
        name: str,
        fake: Callable[..., Any],
        backward: Callable[..., Any] | None = None,
        *,
        setup_context: Callable[..., None] | None = None,
        n_differentiable: int = 0,
    ) -> None:
        self._n_differentiable = n_differentiable
        if _PROBLEM:
            return
        if not hasattr(torch.ops.flashmd, name):
            self._overload = self._differentiable = _outdated(name)
            return
        self._overload = getattr(torch.ops.flashmd, name).default
        torch.library.register_fake(f"flashmd::{name}")(fake)
        if backward is not None and setup_context is not None:
            torch.library.register_autograd(f"flashmd::{name}", backward, setup_context=setup_context)
            self._differentiable = differentiable(name, self._forward, backward, setup_context)

    def __call__(self, *args: Any) -> Any:
        """Call the operator; arguments are those of its schema."""
        if torch.compiler.is_compiling():
            return self._overload(*args)
        leading = args[: self._n_differentiable]
        if torch.is_grad_enabled() and any(arg is not None and arg.requires_grad for arg in leading):
            return self._differentiable(*args)
        return self._forward(*args)

    def _forward(self, *args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return self._overload(*args)


def _outdated(name: str) -> Callable[..., Any]:
    """Return a function that says that the library was built from an older source than this package."""

    def call(*args: Any) -> Any:
        del args
        fix = "build it again with `python setup.py build_ext --inplace`"
        raise ExtensionNotBuiltError(message(f"operator {name!r}", "in the built extension", "an older one", fix))

    return call


def differentiable(
    name: str, forward: Callable[..., Any], backward: Callable[..., Any], setup_context: Callable[..., None]
) -> Callable[..., Any]:
    """Return a function with the given derivative, free of the bookkeeping of registered operators."""
    methods = {"forward": forward, "backward": backward, "setup_context": setup_context}
    body = {key: staticmethod(method) for key, method in methods.items()}
    function: Any = type(name, (torch.autograd.Function,), body)
    apply: Callable[..., Any] = function.apply
    return apply


def no_derivative(name: str) -> Callable[..., Any]:
    """Return the backward of an operator that stands for the second derivatives of operator `name`: it raises."""

    def backward(ctx: Any, *grads: Any) -> Any:
        del ctx, grads
        fix = 'pass `backend="reference"` where higher derivatives are wanted'
        raise NotImplementedError(message(f"derivatives of `{name}`", "first and second ones", "a third one", fix))

    return backward


def save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Set up the context of a backward that raises."""
    del ctx, inputs, output


def wanted_gradients(ctx: Any) -> tuple[bool, ...]:
    """Return which gradients the running backward pass will use, one entry for each argument of the operator.

    `ctx.needs_input_grad` says which arguments require a gradient at all. The pass that makes the forces asks for the
    gradient of the positions alone; everything else it computed would be thrown away.

    Args:
        ctx: context of a backward; the operator's tensor arguments come first.
    """
    needed: tuple[bool, ...] = ctx.needs_input_grad
    nodes = getattr(ctx, "next_functions", None)
    if nodes is None or torch.compiler.is_compiling():
        return needed
    used = [need and _is_used(node) for need, (node, _) in zip(needed, nodes, strict=False)]
    return (*used, *needed[len(used) :])


def _is_used(node: Any) -> bool:
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:  # the engine does not answer for leaves whose gradient is asked for, or outside its passes
        return True
