"""Models that take time and place in one tensor, as most networks and Gaussian processes do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from flashmd.pde.settings import check_choice
from flashmd.pde.surrogate import Surrogate

_PLACES = ("first", "last")


def column_surrogate(
    model: nn.Module | Callable[[Tensor], Tensor],
    *,
    time: str = "first",
    derivatives: str = "auto",
    smooth: bool | None = None,
) -> Surrogate:
    """Return a surrogate from a model of one tensor [n, d + 1], such as a network of another package.

    The posterior mean of a Gaussian process is ``column_surrogate(lambda columns: process(columns).mean)``.

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
