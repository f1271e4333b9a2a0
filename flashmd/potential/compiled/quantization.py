r"""Dense layers in 16 bits, one scale for each output channel, rounded with feedback of the errors.

Plain rounding makes every weight as right as it can be. What matters is what the errors :math:`\delta W` do to energy
and forces: with the second moments :math:`H` of the inputs of a layer and :math:`G` of the derivatives of the energy
by its outputs, about :math:`\mathrm{tr}(G\, \delta W\, H\, \delta W^T)`. Weights are rounded one after the other, and
each error is spread over the weights that are not rounded yet such that this sum stays smallest: along a row, and,
once the row is done, over the rows that follow,

.. math:: w_{ij'} \leftarrow w_{ij'} - (w_{ij} - \hat w_{ij}) \frac{U_{jj'}}{U_{jj}} \quad (j' > j), \qquad
          w_{i'} \leftarrow w_{i'} - (w_i - \hat w_i) \frac{V_{ii'}}{V_{ii}} \quad (i' > i), \qquad
          H^{-1} = U^T U, \quad G^{-1} = V^T V

=============================  ==================================================
symbol                         variable
=============================  ==================================================
:math:`w_i`                    `row` [n_columns], over the scale of the channel
:math:`U_{jj'} / U_{jj}`       `along` [n_columns, n_columns]
:math:`V_{ii'} / V_{ii}`       `across` [n_out, n_out]
=============================  ==================================================

Source: Frantar et al., doi:10.48550/arXiv.2210.17323, eqs. 2 and 3 and section 3.3, for :math:`G = 1`. The moments
contain derivatives, since forces do, and a bias, which is not rounded, takes what is left at the end of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from flashmd.nn import SchNet
from flashmd.nn.frozen import DenseLayer
from flashmd.potential.compiled.calibration import LayerSamples, Rows

STORAGE = {"float16": torch.float16, "bfloat16": torch.bfloat16, "int16": torch.int16}
LARGEST_INTEGER = 32767
INPUT_DAMPING = 3e-4
GRADIENT_DAMPING = 0.1
"""Larger than that of the inputs: gradients of few frames lie almost in few directions, which is chance in part."""

Array = npt.NDArray[Any]


def equalize_(network: SchNet, samples: Mapping[str, LayerSamples]) -> dict[str, LayerSamples]:
    """Give all filter channels summed messages of root mean square one, in place; the energy stays the same.

    A message is linear in what `project` sends and in what `mix` reads, so a factor can move from one to the other.
    Afterwards one scale for each output channel suits all channels, whatever their units were.

    Returns:
        The samples of the changed network.
    """
    changed = dict(samples)
    for index, block in enumerate(network.blocks):
        project, mix = cast("nn.Linear", block.project), cast("nn.Linear", block.mix)
        name = f"blocks.{index}"
        size = samples[f"{name}.mix"].inputs.values[:, : mix.in_features].square().mean(0).sqrt()
        size = torch.where(size > 0.0, size, torch.ones_like(size))
        with torch.no_grad():
            project.weight.div_(size[:, None])
            mix.weight.mul_(size)
        changed[f"{name}.mix"] = samples[f"{name}.mix"].divided(size)
        changed[f"{name}.project"] = samples[f"{name}.project"].multiplied(size)
    return changed


def store(weight: Tensor, bias: Tensor | None, samples: LayerSamples, dtype: torch.dtype) -> DenseLayer:
    """Round a layer with feedback of the errors.

    Args:
        weight: [n_out, n_in], float64.
        bias: [n_out] or None.
        samples: what the layer meets.
        dtype: float16, bfloat16 or int16.
    """
    largest = weight.abs().amax(1)
    scale = torch.where(largest > 0.0, largest, torch.ones_like(largest))
    if dtype == torch.int16:
        scale = scale / LARGEST_INTEGER
    columns = (weight if bias is None else torch.cat([weight, bias[:, None]], 1)) / scale[:, None]
    of_inputs = samples.inputs.moments(INPUT_DAMPING)
    of_outputs = torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
    if samples.gradients is not None:
        of_outputs = scale[:, None] * samples.gradients.moments(GRADIENT_DAMPING) * scale
    rounded = _round_with_feedback(columns, weight.shape[1], of_inputs, of_outputs, dtype)
    stored = rounded[:, : weight.shape[1]].to(dtype).contiguous()
    return DenseLayer(stored, scale, None if bias is None else rounded[:, -1] * scale)


def _round_with_feedback(
    columns: Tensor, n_in: int, of_inputs: Tensor, of_outputs: Tensor, dtype: torch.dtype
) -> Tensor:
    """Return the columns, of which the first `n_in` are rounded and a last one made up for it."""
    # What matters most is rounded first, while much is left that can make up for it.
    order = torch.argsort(of_inputs.diagonal()[:n_in], descending=True, stable=True)
    order = torch.cat([order, torch.arange(n_in, columns.shape[1], device=order.device)])
    row_order = torch.argsort(of_outputs.diagonal(), descending=True, stable=True)
    along = _feedback(of_inputs[order][:, order])
    across = _feedback(of_outputs[row_order][:, row_order])
    nearest = _nearest_number(dtype)
    remaining = columns[row_order][:, order].cpu().numpy()
    for i, wanted in enumerate(remaining):
        row = wanted.copy()
        for j in range(n_in):
            rounded = nearest(float(row[j]))
            row[j + 1 :] -= (row[j] - rounded) * along[j, j + 1 :]
            row[j] = rounded
        remaining[i + 1 :] -= np.outer(across[i, i + 1 :], wanted - row)
        remaining[i] = row
    result = torch.empty_like(columns)
    result[row_order[:, None], order] = torch.from_numpy(remaining).to(columns.device)
    return result


def _feedback(moments: Tensor) -> Array:
    """Return the rows of the upper triangular factor of the inverse over their diagonal elements."""
    inverse = torch.linalg.inv(moments)
    upper = torch.linalg.cholesky(0.5 * (inverse + inverse.t()), upper=True)
    factors: Array = (upper / upper.diagonal()[:, None]).cpu().numpy()
    return factors


def _nearest_number(dtype: torch.dtype) -> Callable[[float], float]:
    """Return the function that rounds a number to what `dtype` can hold."""
    if dtype == torch.int16:
        return lambda value: float(max(-LARGEST_INTEGER, min(LARGEST_INTEGER, round(value))))
    information = torch.finfo(dtype)
    lowest = math.frexp(information.smallest_normal)[1] + math.frexp(information.eps)[1] - 2

    def nearest(value: float) -> float:
        exponent = math.frexp(value)[1] + math.frexp(information.eps)[1] - 2
        unit = math.ldexp(1.0, max(exponent, lowest))
        return round(value / unit) * unit

    return nearest


def plainly_rounded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Round weights one by one; integers get one scale for the whole layer."""
    if dtype != torch.int16:
        return weight.to(dtype).to(weight.dtype)
    scale = weight.abs().max().clamp_min(torch.finfo(weight.dtype).tiny) / LARGEST_INTEGER
    return (weight / scale).round() * scale


def output_error(change: Tensor, weight: Tensor, inputs: Rows) -> float:
    """Return the norm of the change of the outputs over that of the outputs; columns include a bias."""
    norm = torch.linalg.vector_norm(inputs.values @ weight.t())
    error = torch.linalg.vector_norm(inputs.values @ change.t())
    return float(torch.where(norm > 0.0, error / norm, error))
