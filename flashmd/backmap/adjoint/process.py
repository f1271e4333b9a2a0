"""The memoryless process of a flow that starts from a Gaussian with any mean and covariance.

The flow x_t = (1 - t) x_0 + t x_1 with x_0 ~ N(mu, Sigma) has velocity v(x, t) = E[x_1 - x_0 | x_t = x]. Let y be
x - mu. The score of its marginals is Sigma^-1 (t v - y) / (1 - t), so that

    dy = [v + (1 - t)/t Sigma score] dt + dB = [2 v - y / t] dt + (2 (1 - t) / t)^(1/2) Sigma^(1/2) dW

has the marginals of the flow, and with this noise x_1 is independent of x_0 (Domingo-Enrich et al., arXiv:2409.08861,
eq. 20, there for Sigma = 1). Sigma leaves the drift: nothing but the noise knows of it. Steps from t to t' are taken
exactly for a prediction of x_1 that is held over the step,

    y' = c y + d v + s Sigma^(1/2) xi,   q = ((1 - t') t / ((1 - t) t'))^2,
    c = t' (q / t + 1 - q),   d = t' (1 - q) (1 - t),   s = (1 - t') (1 - q)^(1/2),

which start with c = d = t', s = 1 - t' at t = 0, forgetting x_0, and end without noise at t' = 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message


@dataclass(frozen=True)
class MemorylessStep:
    """One step of the process.

    Attributes:
        time: t, where the velocity is evaluated.
        end: t'.
        keep: c, factor of the state.
        drift: d, factor of the velocity.
        noise: s, factor of the noise.
    """

    time: float
    end: float
    keep: float
    drift: float
    noise: float


def memoryless_steps(times: Sequence[float]) -> tuple[MemorylessStep, ...]:
    """Return the steps between times that grow from 0 to 1.

    Example:
        >>> first, last = memoryless_steps([0.0, 0.5, 1.0])
        >>> (first.keep, first.drift, first.noise), (last.keep, last.drift, last.noise)
        ((0.5, 0.5, 0.5), (1.0, 0.5, 0.0))
    """
    if len(times) < 2 or times[0] != 0.0 or times[-1] != 1.0 or any(a >= b for a, b in itertools.pairwise(times)):
        got, fix = ", ".join(f"{time:g}" for time in times), "pass for example `[0.0, 0.5, 1.0]`"
        raise ValueError(message("`times`", "times that grow from 0 to 1", f"[{got}]", fix))
    return tuple(_step(begin, end) for begin, end in itertools.pairwise(times))


def _step(time: float, end: float) -> MemorylessStep:
    ratio = (1 - end) / ((1 - time) * end)
    q = (ratio * time) ** 2
    return MemorylessStep(
        time, end, end * (ratio**2 * time + 1 - q), end * (1 - q) * (1 - time), (1 - end) * (1 - q) ** 0.5
    )


@dataclass(frozen=True)
class GaussianPrior:
    """Where a flow starts, as blocks of coordinates that are independent of each other.

    Coordinates that do not move have rows and columns of zeros in the covariance.

    Attributes:
        mean: [n, d].
        factor: [n, d, d], lower triangular L with Sigma = L L^T.

    Example:
        >>> import torch
        >>> covariance, free = torch.tensor([[[4.0, 0.0], [0.0, 9.0]]]), torch.tensor([[True, False]])
        >>> prior = GaussianPrior.from_covariance(torch.zeros(1, 2), covariance, free)
        >>> prior.spread(torch.ones(1, 2)), prior.whiten(torch.tensor([[2.0, 0.0]]))
        (tensor([[2., 0.]]), tensor([[1., 0.]]))
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def from_covariance(cls, mean: Tensor, covariance: Tensor, free: Tensor) -> GaussianPrior:
        """Make a prior of the coordinates that move.

        Args:
            mean: [n, d].
            covariance: [n, d, d], positive definite among free coordinates.
            free: [n, d], bool, coordinates that move.
        """
        both = free[:, :, None] & free[:, None, :]
        filled = torch.where(both, covariance, torch.diag_embed(torch.ones_like(mean)))
        return cls(mean, torch.linalg.cholesky(filled) * both)

    def spread(self, noise: Tensor) -> Tensor:
        """Return L xi, noise with the covariance of the prior: [n, d]."""
        return (self.factor @ noise[..., None])[..., 0]

    def gather(self, gradient: Tensor) -> Tensor:
        """Return L^T a, a gradient in whitened coordinates: [n, d]."""
        return (self.factor.transpose(-1, -2) @ gradient[..., None])[..., 0]

    def whiten(self, displacement: Tensor) -> Tensor:
        """Return L^-1 x of a displacement of free coordinates: [n, d]."""
        still = (torch.diagonal(self.factor, dim1=-2, dim2=-1) == 0).to(self.factor)
        filled = self.factor + torch.diag_embed(still)
        white: Tensor = torch.linalg.solve_triangular(filled, displacement[..., None], upper=False)
        return white[..., 0]
