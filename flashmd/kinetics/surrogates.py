"""Surrogates of stationary problems: right on the boundary by construction, fitted to the ends of single paths."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from flashmd.errors import message
from flashmd.kinetics.sets import AbsorbingSet
from flashmd.nn.mlp import MLP
from flashmd.pde.training import SurrogateTraining


class Stationary(nn.Module):
    """Let a module of points alone be one of time and points.

    Attributes:
        module: maps x [n, d] to [n].
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the values at x, [n]; t is not used."""
        del t
        values: Tensor = self.module(x)
        return values


class BoundaryNetwork(nn.Module):
    r"""Represent a committor or a first-passage time by a network that is right on the boundary.

    With the levels a and b of the sets, positive outside, and a tanh network N of the scaled coordinates

    .. math:: \hat q = \frac{a}{a + b\,e^{-N}}, \qquad \hat m = b\,e^{N}.

    The committor is 0 in A, 1 in B and between them elsewhere; the time is 0 in B and positive elsewhere.

    Args:
        d: dimension of the space, or number of features.
        widths: of the hidden layers.
        A: set where the committor is 0, or None for a first-passage time to B.
        B: the target.
        features: maps coordinates [n, d] to what the network sees, [n, m], such as distances that do not change when a
            molecule turns; None is the coordinates themselves.
        seed: of the initial weights.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import BoundaryNetwork, half_space
        >>> network = BoundaryNetwork(1, [8], A=half_space([-1.0], 1.0), B=half_space([1.0], 1.0))
        >>> network(torch.tensor([[-1.0], [1.0]])).tolist()
        [0.0, 1.0]
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        d: int,
        widths: Sequence[int],
        *,
        A: AbsorbingSet | None = None,
        B: AbsorbingSet,
        features: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.A, self.B, self.features = A, B, features
        self.network = MLP([d, *widths, 1], activation_name="tanh", generator=torch.Generator().manual_seed(seed))
        self.register_buffer("centre", torch.zeros(d))
        self.register_buffer("scale", torch.ones(d))

    def fit_scale(self, x: Tensor) -> None:
        """Scale inputs so that those of x [n, d] have mean 0 and deviation 1."""
        inputs = self._inputs(x)
        self.centre.copy_(inputs.mean(0))
        self.scale.copy_(inputs.std(0).clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Return the values at x [n, d], [n]."""
        raw: Tensor = self.network((self._inputs(x) - self.centre) / self.scale)[:, 0]
        b = self.B.level_at(x).clamp_min(0.0)
        if self.A is None:
            return b * raw.exp()
        a = self.A.level_at(x).clamp_min(0.0)
        return a / (a + b * (-raw).exp())

    def _inputs(self, x: Tensor) -> Tensor:
        return x if self.features is None else self.features(x)


def fit_surrogate(network: BoundaryNetwork, x: Tensor, labels: Tensor, training: SurrogateTraining) -> BoundaryNetwork:
    """Fit a copy of a network to noisy labels by least squares, whose minimum is the mean of the labels.

    Labels are `value` of an estimate without a surrogate and with few paths: rather many points with one pair of
    paths each than few with many.

    Args:
        network: is left as it is.
        x: [n, d].
        labels: [n].
        training: iterations, batch, rate and seed; the widths are those of the network.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import BoundaryNetwork, fit_surrogate, half_space
        >>> from flashmd.pde import SurrogateTraining
        >>> network = BoundaryNetwork(1, [8], A=half_space([-1.0], 1.0), B=half_space([1.0], 1.0))
        >>> x = torch.linspace(-0.9, 0.9, 64)[:, None]
        >>> fitted = fit_surrogate(network, x, 0.5 + 0.5 * x[:, 0], SurrogateTraining(iterations=100, batch=64))
        >>> f"{fitted(torch.tensor([[0.4]])).item():.1f}"
        '0.7'
    """
    if tuple(labels.shape) != (x.shape[0],) or not bool(labels.isfinite().all()):
        got, fix = f"shape {tuple(labels.shape)}", "pass one finite number for each point"
        raise ValueError(message("`labels`", f"finite numbers of shape ({x.shape[0]},)", got, fix))
    fitted = copy.deepcopy(network).requires_grad_(True)
    points, goals = x.to(torch.float32), labels.to(torch.float32)
    fitted.fit_scale(points)
    optimizer = torch.optim.Adam(fitted.parameters(), lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.iterations)
    generator = torch.Generator().manual_seed(training.seed)
    size = goals.square().mean().clamp_min(1e-30)
    for _ in range(training.iterations):
        chosen = torch.randint(len(goals), (training.batch,), generator=generator)
        optimizer.zero_grad()
        loss = (fitted(points[chosen]) - goals[chosen]).square().mean() / size
        loss.backward()
        optimizer.step()
        schedule.step()
    return fitted.requires_grad_(False)
