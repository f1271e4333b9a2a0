"""Models that take time and place in one tensor, as most networks and Gaussian processes do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from flashmd.errors import message, require
from flashmd.pde.checks import check_choice
from flashmd.pde.derivatives import second_along
from flashmd.pde.surrogate import Surrogate

_PLACES = ("first", "last")
# Settings of GPyTorch hold for all threads.
_SETTINGS = threading.Lock()


def column_surrogate(
    model: nn.Module | Callable[[Tensor], Tensor],
    *,
    time: str = "first",
    derivatives: str = "auto",
    smooth: bool | None = None,
) -> Surrogate:
    """Return a surrogate from a model of one tensor [n, d + 1], such as a network of another package.

    Args:
        model: maps [n, d + 1] to [n] or [n, 1].
        time: whether time is the "first" or the "last" column.
        derivatives: see `Surrogate`.
        smooth: see `Surrogate`.

    Example:
        >>> import torch
        >>> from flashmd.pde import column_surrogate
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        >>> column_surrogate(network, time="last").value(torch.zeros(5), torch.ones(5, 3)).shape
        torch.Size([5])
    """
    check_choice("time", time, _PLACES)
    return Surrogate(_Columns(model, time == "last"), derivatives=derivatives, smooth=smooth)


class TrainedModel(Protocol):
    """What is needed of a model of DeepXDE."""

    @property
    def net(self) -> Any:
        """The network: a torch module where the backend is PyTorch."""
        ...

    def predict(self, x: Any) -> Any:
        """Return the values at rows of columns, [n, 1]."""
        ...


def deepxde_surrogate(model: TrainedModel, *, time: str = "last", smooth: bool | None = None) -> Surrogate:
    """Return a surrogate from a model of DeepXDE with one output.

    With the backend PyTorch the network is differentiated; with any other the predictions are, by differences.

    Args:
        model: a trained `deepxde.Model` of [n, d + 1].
        time: whether time is the "first" or the "last" column, where DeepXDE puts it.
        smooth: see `Surrogate`.

    Example:
        >>> import torch
        >>> from flashmd.pde import deepxde_surrogate
        >>> class Model:  # stands for deepxde.Model(data, network)
        ...     net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        ...     predict = None
        >>> deepxde_surrogate(Model()).value(torch.zeros(5), torch.ones(5, 3)).shape
        torch.Size([5])
    """
    if isinstance(model.net, nn.Module):
        return column_surrogate(model.net, time=time, smooth=smooth)

    def predict(columns: Tensor) -> Tensor:
        return torch.as_tensor(model.predict(columns.numpy(force=True)))

    return column_surrogate(predict, time=time, derivatives="differences", smooth=smooth)


def gaussian_process_surrogate(model: nn.Module, *, time: str = "first") -> Surrogate:
    r"""Return the posterior mean of an exact Gaussian process of GPyTorch as a surrogate.

    The mean is :math:`m(c) + k(c, C)\,\alpha` with :math:`\alpha = (K + \Sigma)^{-1}(y - m(C))`, found once. Second
    derivatives are exact where PyTorch differentiates the kernel forward, as for the Gaussian one. Where it does not,
    as for Matern's, they are left out, and a correction takes the martingale form.

    Args:
        model: a trained `gpytorch.models.ExactGP` of columns [n, d + 1] with one output.
        time: whether time is the "first" or the "last" column.

    Raises:
        MissingDependencyError: GPyTorch is not installed.
        ValueError: the model is no exact process of one output.
    """
    check_choice("time", time, _PLACES)
    mean = _PosteriorMean(model)
    columns = mean.inputs[:1] + 0.1
    surrogate = Surrogate(_Columns(mean, time == "last"))
    try:
        second_along(surrogate.value, columns[:, 0], columns[:, 1:], torch.ones_like(columns[None, :, 1:]))
    except NotImplementedError:
        surrogate.derivatives = "none"
    return surrogate


class _PosteriorMean:
    """The posterior mean as a function of columns [n, d + 1], made of operations that can be differentiated."""

    def __init__(self, model: nn.Module) -> None:
        try:
            import gpytorch
        except ImportError as error:
            raise require("gpytorch", "surrogates") from error
        if not isinstance(model, gpytorch.models.ExactGP) or model.train_targets.dim() != 1:
            got, fix = type(model).__name__, "pass `column_surrogate` a function that returns the mean"
            raise ValueError(message("the model", "an exact Gaussian process with one output", got, fix))
        self._model = model
        # Without it kernels take shortcuts that cannot be differentiated.
        self._plainly: Callable[[], AbstractContextManager[None]] = gpytorch.settings.trace_mode
        (self.inputs,) = model.train_inputs
        with torch.no_grad():
            prior = model.likelihood(model.forward(self.inputs), [self.inputs])
            gap = model.train_targets - prior.mean
            self._weights = torch.linalg.solve(prior.covariance_matrix, gap)

    def __call__(self, columns: Tensor) -> Tensor:
        own = columns.to(self.inputs.dtype)
        with _SETTINGS, self._plainly():
            kernel = self._model.covar_module(own, self.inputs).to_dense()
            result: Tensor = self._model.mean_module(own) + kernel @ self._weights
        return result.to(columns.dtype)


class _Columns(nn.Module):
    """Join t and x to the columns of a model; a module, so that its parts and its precision are known."""

    def __init__(self, model: nn.Module | Callable[[Tensor], Tensor], time_last: bool) -> None:
        super().__init__()
        self.model = model
        self._time_last = time_last

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return u(t, x), [n]."""
        columns = torch.cat([x, t[:, None]] if self._time_last else [t[:, None], x], 1)
        values: Tensor = self.model(columns)
        return values[:, 0] if values.dim() == 2 and values.shape[1] == 1 else values
