"""Dense layers: activations, seeded initialisation and the multilayer perceptron."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from flashmd.errors import message


def shifted_softplus(values: Tensor) -> Tensor:
    """Return ``ln(1 + exp(x)) - ln 2``, which is zero at zero (doi:10.1063/1.5019779, section II)."""
    return nn.functional.softplus(values) - math.log(2.0)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "ssp": shifted_softplus,
    "silu": nn.functional.silu,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation function called `name`: "tanh", "ssp" (shifted softplus) or "silu".

    Raises:
        ValueError: there is none of this name.
    """
    if name not in _ACTIVATIONS:
        raise ValueError(
            message("`activation`", f"one of {', '.join(_ACTIVATIONS)}", repr(name), "choose one of these")
        )
    return _ACTIVATIONS[name]


def value_and_slope(name: str, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of an activation and of its derivative, both differentiable.

    Args:
        name: see :func:`activation`.
        values: input, any shape.
    """
    output = activation(name)(values)
    if name == "tanh":
        return output, 1.0 - output * output
    gate = torch.sigmoid(values)
    return output, gate if name == "ssp" else gate * (1.0 + values * (1.0 - gate))


def dense(n_in: int, n_out: int, *, bias: bool, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with Xavier-uniform weights and zero bias drawn from `generator`."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class MLP(nn.Module):
    """Linear layers with an activation between them.

    Args:
        widths: widths of all layers from the input to the output, at least two.
        activation_name: see :func:`activation`.
        last_bias: give the last layer a bias.
        generator: source of the initial weights.

    >>> import torch
    >>> network = MLP([4, 8, 1], activation_name="tanh", generator=torch.Generator().manual_seed(0))
    >>> network(torch.zeros(3, 4)).shape
    torch.Size([3, 1])
    """

    def __init__(
        self, widths: Sequence[int], *, activation_name: str, generator: torch.Generator, last_bias: bool = True
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(message("`widths`", "an input and an output width", f"{list(widths)}", "add a width"))
        self._activation = activation(activation_name)
        last = len(widths) - 2
        self.layers = nn.ModuleList(
            dense(n_in, n_out, bias=last_bias or index < last, generator=generator)
            for index, (n_in, n_out) in enumerate(itertools.pairwise(widths))
        )

    def forward(self, values: Tensor) -> Tensor:
        """Map [..., widths[0]] to [..., widths[-1]]."""
        for layer in self.layers[:-1]:
            values = self._activation(layer(values))
        out: Tensor = self.layers[-1](values)
        return out
