r"""Radial bases: expansions of a distance in functions with their own envelope.

The parameters are tensors of the state dict, so a trained or imported basis keeps exactly the values it came with;
the constructors fill in sensible values in nm. Multiplying all lengths by a factor (and the parameters accordingly)
leaves every basis function unchanged.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flashmd.errors import message
from flashmd.nn.cutoff import CosineCutoff, IdentityCutoff, make_envelope
from flashmd.ops import BasisForm, radial_basis

_LOWEST_EXPONENT = -60.0


class GaussianBasis(nn.Module):
    r"""Equidistant Gaussians.

    .. math:: R_k(d) = C(d) \exp(c (d - o_k)^2)

    ===========  =====================================================================
    symbol       variable
    ===========  =====================================================================
    :math:`o_k`  `offset` [n_basis], nm, from `lower` to `upper` in equal steps
    :math:`c`    `coeff` [], nm^-2, by default -1/2 over the squared step
    :math:`C`    `envelope`
    ===========  =====================================================================

    Source: Schuett et al., doi:10.1063/1.5019779, eq. 6.

    Args:
        lower, upper: bounds, nm.
        n_basis: number of functions, at least two.
        envelope: "identity" or "cosine".
        trainable: make `offset` and `coeff` parameters instead of buffers.

    >>> import torch
    >>> GaussianBasis(0.0, 1.0, n_basis=3)(torch.tensor([0.5]))[0, 1].item()
    1.0
    """

    def __init__(
        self, lower: float, upper: float, *, n_basis: int = 50, envelope: str = "identity", trainable: bool = False
    ) -> None:
        super().__init__()
        _check_size(n_basis)
        self.envelope = make_envelope(envelope, lower, upper)
        offset = torch.linspace(lower, upper, n_basis)
        _store(self, trainable, offset=offset, coeff=-0.5 / (offset[1] - offset[0]) ** 2)

    offset: Tensor
    coeff: Tensor

    @property
    def form(self) -> BasisForm:
        """What the compiled operator needs to know beside centres and widths."""
        return _form("gaussian", self.envelope, 0.0)

    @property
    def centres_and_widths(self) -> tuple[Tensor, Tensor]:
        """Parameters of the compiled operator, both [n_basis], in nm and nm^-2."""
        return self.offset, (-self.coeff).expand(self.offset.shape[0])

    def forward(self, distance: Tensor, *, backend: str = "reference") -> Tensor:
        """Expand distances.

        Args:
            distance: [n_edges], nm.
            backend: "kernel", which has two derivatives, or "reference".

        Returns:
            [n_edges, n_basis].
        """
        return radial_basis(distance, *self.centres_and_widths, self.form, backend=backend)

    def value_and_slope(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the expansion and its derivative (nm^-1), both [n_edges, n_basis]."""
        deviation = distance[:, None] - self.offset
        value = _exponential(deviation * deviation * self.coeff)
        envelope, slope = self.envelope.value_and_slope(distance)
        inner = value * deviation * (2.0 * self.coeff)
        return value * envelope[:, None], value * slope[:, None] + inner * envelope[:, None]


class ExpNormalBasis(nn.Module):
    r"""Gaussians in an exponential of the distance: dense at short range, sparse at long range.

    .. math:: R_k(d) = C(d) \exp(-\beta_k (e^{-\alpha (d - l)} - \mu_k)^2)

    ===============  =====================================================================================
    symbol           variable
    ===============  =====================================================================================
    :math:`\alpha`   `alpha`, nm^-1, by default 5 / (upper - lower)
    :math:`l`        `lower`
    :math:`\mu_k`    `means` [n_basis], no unit, equidistant from exp(-alpha (upper - lower)) to 1
    :math:`\beta_k`  `betas` [n_basis], no unit, all (2 / n_basis (1 - exp(-alpha (upper - lower))))^-2
    :math:`C`        `envelope`
    ===============  =====================================================================================

    Source: Unke and Meuwly, doi:10.1021/acs.jctc.9b00181, eqs. 7 and 8. The exponential takes every value between the
    first and the last mean on the interval, whatever the unit of length; models that placed their means at
    exp(-(upper - lower)) with lengths in angstrom keep them because `means`, `betas` and `alpha` can be set.

    Args:
        lower, upper: bounds, nm.
        n_basis: number of functions, at least two.
        alpha: decay, nm^-1; None for the default.
        envelope: "cosine" or "identity".
        trainable: make `means` and `betas` parameters instead of buffers.

    >>> import torch
    >>> basis = ExpNormalBasis(0.0, 1.0, n_basis=4)
    >>> basis(torch.tensor([0.0, 1.0])).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        lower: float,
        upper: float,
        *,
        n_basis: int = 50,
        alpha: float | None = None,
        envelope: str = "cosine",
        trainable: bool = False,
    ) -> None:
        super().__init__()
        _check_size(n_basis)
        self.envelope = make_envelope(envelope, lower, upper)
        self.lower = float(lower)
        self.alpha = 5.0 / (upper - lower) if alpha is None else float(alpha)
        start = math.exp(-self.alpha * (upper - lower))
        width = 2.0 / n_basis * (1.0 - start)
        _store(self, trainable, means=torch.linspace(start, 1.0, n_basis), betas=torch.full((n_basis,), width**-2))

    means: Tensor
    betas: Tensor

    @property
    def form(self) -> BasisForm:
        """What the compiled operator needs to know beside centres and widths."""
        return _form("expnormal", self.envelope, self.alpha)

    @property
    def centres_and_widths(self) -> tuple[Tensor, Tensor]:
        """Parameters of the compiled operator, both [n_basis], without unit."""
        return self.means, self.betas

    def forward(self, distance: Tensor, *, backend: str = "reference") -> Tensor:
        """Expand distances.

        Args:
            distance: [n_edges], nm.
            backend: "kernel", which has two derivatives, or "reference".

        Returns:
            [n_edges, n_basis].
        """
        return radial_basis(distance, *self.centres_and_widths, self.form, backend=backend)

    def value_and_slope(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the expansion and its derivative (nm^-1), both [n_edges, n_basis]."""
        decay = torch.exp((self.lower - distance) * self.alpha)[:, None]
        deviation = decay - self.means
        scaled = deviation * self.betas
        value = _exponential(deviation * scaled.neg())
        envelope, slope = self.envelope.value_and_slope(distance)
        inner = value * scaled * decay * (2.0 * self.alpha)
        return value * envelope[:, None], value * slope[:, None] + inner * envelope[:, None]


def _exponential(exponent: Tensor) -> Tensor:
    """Return exp with values below 1e-26 cut off, as :func:`flashmd.ops.radial_basis` does."""
    return torch.exp(exponent.clamp_min(_LOWEST_EXPONENT))


def _form(kind: str, envelope: CosineCutoff | IdentityCutoff, alpha: float) -> BasisForm:
    return BasisForm(kind, envelope.lower, envelope.upper, envelope.kind, alpha)


def _check_size(n_basis: int) -> None:
    if n_basis < 2:
        raise ValueError(message("`n_basis`", "at least 2 functions", f"{n_basis}", "use a larger basis"))


def _store(module: nn.Module, trainable: bool, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if trainable:
            module.register_parameter(name, nn.Parameter(tensor))
        else:
            module.register_buffer(name, tensor)
