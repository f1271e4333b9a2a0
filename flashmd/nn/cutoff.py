"""Envelopes that take the interaction to zero at the cutoff.

An envelope maps distances in nm to factors in [0, 1]. Beyond the upper cutoff every envelope is exactly zero, so a
neighbour list may hold edges that are longer than the cutoff (a skin) without changing any number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flashmd.errors import message
from flashmd.ops.reference import envelope


class CosineCutoff(nn.Module):
    r"""Cosine envelope, once continuously differentiable everywhere.

    For ``lower = 0`` it falls from one to zero, for ``lower > 0`` it is a bump that vanishes at both ends:

    .. math:: C(d) = \tfrac12 (\cos(\pi d / r_c) + 1), \qquad
              C(d) = \tfrac12 (\cos(\pi (2 (d - l) / (r_c - l) + 1)) + 1)

    ===========  ===========
    symbol       variable
    ===========  ===========
    :math:`d`    `distance`
    :math:`l`    `lower`
    :math:`r_c`  `upper`
    ===========  ===========

    Source: Behler and Parrinello, doi:10.1103/PhysRevLett.98.146401, eq. 3.

    Args:
        lower: distance below which the bump is zero, nm; 0 for the plain form.
        upper: cutoff, nm.

    Raises:
        ValueError: the bounds are not ``0 <= lower < upper``.

    >>> import torch
    >>> CosineCutoff(0.0, 1.0)(torch.tensor([0.0, 1.0, 1.5])).tolist()
    [1.0, 0.0, 0.0]
    """

    kind = "cosine"

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        self.lower, self.upper = _checked_bounds(lower, upper)

    def forward(self, distance: Tensor) -> Tensor:
        """Return the factor for each distance (nm), of the same shape."""
        return envelope(distance, self.kind, self.lower, self.upper)

    def value_and_slope(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factors and their derivatives (nm^-1) in closed form."""
        inside = distance < self.upper
        if self.lower == 0.0:
            rate, angle = math.pi / self.upper, distance * (math.pi / self.upper)
        else:
            rate = 2.0 * math.pi / (self.upper - self.lower)
            angle = (distance - self.lower) * rate + math.pi
            inside &= distance > self.lower
        return (0.5 * torch.cos(angle) + 0.5) * inside, torch.sin(angle) * (-0.5 * rate) * inside


class IdentityCutoff(nn.Module):
    """Step envelope: one up to the cutoff, zero beyond; its derivative is taken to be zero.

    Args:
        lower: kept for symmetry with the other envelopes, nm.
        upper: cutoff, nm.

    >>> import torch
    >>> IdentityCutoff(0.0, 1.0)(torch.tensor([0.5, 1.5])).tolist()
    [1.0, 0.0]
    """

    kind = "identity"

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        self.lower, self.upper = _checked_bounds(lower, upper)

    def forward(self, distance: Tensor) -> Tensor:
        """Return the factor for each distance (nm), of the same shape."""
        return envelope(distance, self.kind, self.lower, self.upper)

    def value_and_slope(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factors and zeros."""
        return self(distance), torch.zeros_like(distance)


def make_envelope(kind: str, lower: float, upper: float) -> CosineCutoff | IdentityCutoff:
    """Return the envelope named `kind` ("cosine" or "identity") with bounds in nm."""
    kinds: dict[str, type[CosineCutoff | IdentityCutoff]] = {"cosine": CosineCutoff, "identity": IdentityCutoff}
    if kind not in kinds:
        raise ValueError(message("`envelope`", "one of 'cosine', 'identity'", repr(kind), "choose one of these"))
    return kinds[kind](lower, upper)


def _checked_bounds(lower: float, upper: float) -> tuple[float, float]:
    if not 0.0 <= lower < upper or not math.isfinite(upper):
        got = f"lower = {lower}, upper = {upper}"
        raise ValueError(message("the cutoff", "0 <= lower < upper in nm", got, "exchange or correct the bounds"))
    return float(lower), float(upper)
