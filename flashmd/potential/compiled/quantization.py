r"""Dense layers in 16 bits, one scale for each output channel, rounded with feedback of the errors.

Plain rounding makes every weight as right as it can be. What matters is the output of the layer on the inputs it
meets: with their second moments :math:`H = X^T X` the error of an output channel is
:math:`\delta w\, H\, \delta w^T`. The weights of a channel are rounded one after the other, and each error is spread
over the weights that are not rounded yet such that this sum stays smallest:

.. math:: w_j \leftarrow w_j - \frac{w_i - \hat w_i}{U_{ii}}\, U_{ij} \quad (j > i), \qquad H^{-1} = U^T U

=================  ======================================================
symbol             variable
=================  ======================================================
:math:`w`          `remaining` [n_out, n_columns], over the scales
:math:`\hat w_i`   `rounded`
:math:`U`          `upper` [n_columns, n_columns], upper triangular
=================  ======================================================

Source: Frantar et al., doi:10.48550/arXiv.2210.17323, eqs. 2 and 3 and section 3.3. Here the moments contain the
derivatives of the inputs too, since forces depend on them, and a bias, which is not rounded, takes what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from flashmd.nn import SchNet
from flashmd.nn.frozen import DenseLayer
from flashmd.potential.compiled.calibration import Inputs

STORAGE = {"float16": torch.float16, "bfloat16": torch.bfloat16, "int16": torch.int16}
LARGEST_INTEGER = 32767.0
DAMPING = 1e-3
"""Added to the diagonal of the moments, over its mean: inputs that the samples do not tell apart stay unchanged."""


def equalize_(network: SchNet, inputs: Mapping[str, Inputs]) -> dict[str, Inputs]:
    """Give all filter channels summed messages of root mean square one, in place; the energy stays the same.

    A message is linear in what `project` sends and in what `mix` reads, so a factor can move from one to the other.
    Afterwards one scale for each output channel suits all channels, whatever their units were.

    Returns:
        The inputs of the changed network.
    """
    changed = dict(inputs)
    for index, block in enumerate(network.blocks):
        project, mix = cast("nn.Linear", block.project), cast("nn.Linear", block.mix)
        name = f"blocks.{index}.mix"
        size = inputs[name].values[:, : mix.in_features].square().mean(0).sqrt()
        size = torch.where(size > 0.0, size, torch.ones_like(size))
        with torch.no_grad():
            project.weight.div_(size[:, None])
            mix.weight.mul_(size)
        changed[name] = inputs[name].divided(size)
    return changed


def store(weight: Tensor, bias: Tensor | None, inputs: Inputs, dtype: torch.dtype) -> DenseLayer:
    """Round a layer with feedback of the errors.

    Args:
        weight: [n_out, n_in], float64.
        bias: [n_out] or None.
        inputs: what the layer meets.
        dtype: float16, bfloat16 or int16.
    """
    largest = weight.abs().amax(1)
    scale = torch.where(largest > 0.0, largest, torch.ones_like(largest))
    if dtype == torch.int16:
        scale = scale / LARGEST_INTEGER
    columns = weight if bias is None else torch.cat([weight, bias[:, None]], 1)
    rounded, rest = _round_in_order(columns / scale[:, None], weight.shape[1], _moments(inputs), dtype)
    return DenseLayer(rounded.to(dtype), scale, None if bias is None else rest * scale)


def _round_in_order(columns: Tensor, n_in: int, moments: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the rounded weights [n_out, n_in] and the last column [n_out] with what the errors left for it."""
    # Large inputs first: their weights are rounded while many others can still make up for it.
    order = torch.argsort(moments.diagonal()[:n_in], descending=True, stable=True)
    order = torch.cat([order, torch.arange(n_in, columns.shape[1], device=order.device)])
    inverse = torch.linalg.inv(moments[order][:, order])
    upper = torch.linalg.cholesky(0.5 * (inverse + inverse.t()), upper=True)
    remaining = columns[:, order]
    rounded = torch.empty_like(remaining[:, :n_in])
    for i in range(n_in):
        rounded[:, i] = _nearest(remaining[:, i], dtype)
        error = (remaining[:, i] - rounded[:, i]) / upper[i, i]
        remaining[:, i + 1 :] -= error[:, None] * upper[i, i + 1 :]
    sorted_back = torch.empty_like(rounded)
    sorted_back[:, order[:n_in]] = rounded
    return sorted_back, remaining[:, -1]


def _moments(inputs: Inputs) -> Tensor:
    """Return the damped second moments of values and slopes, both of the same weight."""
    total = torch.zeros_like(inputs.values.t() @ inputs.values)
    for rows in (inputs.values, inputs.slopes):
        moments = rows.t() @ rows
        size = moments.diagonal().mean()
        total += moments / torch.where(size > 0.0, size, torch.ones_like(size))
    mean = total.diagonal().mean()
    return total + (DAMPING * mean + (mean == 0.0)) * torch.eye(total.shape[0], dtype=total.dtype, device=total.device)


def _nearest(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Round float64 values to what `dtype` can hold."""
    if dtype == torch.int16:
        return values.round().clamp(-LARGEST_INTEGER, LARGEST_INTEGER)
    return values.to(dtype).to(values.dtype)


def plainly_rounded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Round weights one by one; integers get one scale for the whole layer."""
    if dtype != torch.int16:
        return _nearest(weight, dtype)
    scale = weight.abs().max().clamp_min(torch.finfo(weight.dtype).tiny) / LARGEST_INTEGER
    return _nearest(weight / scale, dtype) * scale


def output_error(change: Tensor, weight: Tensor, inputs: Inputs) -> float:
    """Return the norm of the change of the outputs over that of the outputs; columns include a bias."""
    norm = torch.linalg.vector_norm(inputs.values @ weight.t())
    error = torch.linalg.vector_norm(inputs.values @ change.t())
    return float(torch.where(norm > 0.0, error / norm, error))
