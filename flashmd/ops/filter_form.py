"""What a filter network is made of, for the operators that evaluate it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from flashmd.errors import message
from flashmd.ops.radial_basis import ENVELOPES, KINDS, BasisForm

ACTIVATIONS = {"tanh": 0, "ssp": 1, "silu": 2}


@dataclass(frozen=True)
class FilterForm:
    """Choices of a filter network.

    Attributes:
        basis: coordinate, bounds and envelope of the radial basis.
        envelope: "cosine" or "identity", the envelope of the filter, with the bounds of the basis.
        activation: "tanh", "ssp" or "silu".
    """

    basis: BasisForm
    envelope: str
    activation: str

    def __post_init__(self) -> None:
        known = (("envelope", self.envelope, ENVELOPES), ("activation", self.activation, ACTIVATIONS))
        for name, value, choices in known:
            if value not in choices:
                expected = f"one of {', '.join(repr(each) for each in choices)}"
                raise ValueError(message(f"`{name}`", expected, repr(value), "choose one of these"))

    @classmethod
    def of_numbers(cls, *numbers: Any) -> FilterForm:
        """Return the form that the arguments of a compiled operator stand for."""
        kind, alpha, inner, lower, upper, outer, activation = numbers
        kinds, envelopes, activations = list(KINDS), list(ENVELOPES), list(ACTIVATIONS)
        basis = BasisForm(kinds[kind], lower, upper, envelopes[inner], alpha)
        return cls(basis, envelopes[outer], activations[activation])

    @property
    def numbers(self) -> tuple[Any, ...]:
        """The arguments of the compiled operators."""
        return *self.basis.numbers, ENVELOPES[self.envelope], ACTIVATIONS[self.activation]


class FilterWeights(NamedTuple):
    """Parameters of a filter network.

    Attributes:
        centres: [n_basis], see :func:`flashmd.ops.radial_basis`.
        widths: [n_basis].
        weight_in: [n_filters, n_basis].
        bias_in: [n_filters].
        weight_out: [n_filters, n_filters].
    """

    centres: Tensor
    widths: Tensor
    weight_in: Tensor
    bias_in: Tensor
    weight_out: Tensor
