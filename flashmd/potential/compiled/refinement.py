r"""What stays in full precision makes up for what was rounded.

Scales, biases and the last layer of the readout are a few numbers for each channel. A change :math:`\theta` of them
changes the forces of the sample frames by :math:`J \theta`; a few steps of conjugate gradients towards the least
squares solution of :math:`J \theta = F_{exact} - F` take what the frames determine well and stop before the rest. Both
products are directional derivatives of quantities at hand: :math:`J \theta` of the forces along :math:`\theta`, and
:math:`J^T r = -\partial_\epsilon\, \partial_\theta E(x + \epsilon r)` of the gradient with respect to parameters.

Source: Björck, Numerical Methods for Least Squares Problems, doi:10.1137/1.9781611971484, algorithm 7.4.1 (CGLS).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from flashmd.nn import SchNet
from flashmd.nn.frozen import DenseLayer
from flashmd.ops import edge_geometry
from flashmd.potential.compiled.evaluators import ExactNetwork
from flashmd.potential.compiled.samples import Samples

N_STEPS = 12
"""More steps fit the frames at hand better and others no better."""
STEP = 1e-6
"""Largest change of a parameter, of order one, or of a coordinate, nm, in the difference quotients."""


def refine_(
    network: SchNet, layers: Mapping[str, DenseLayer], samples: list[Samples], *, backend: str
) -> dict[str, DenseLayer]:
    """Fit scales, biases and the last layer to the forces of the exact network.

    Args:
        network: in double precision, with the weights that the stored layers stand for; changed in place.
        layers: stored layers by module name.
        samples: frames.
        backend: "kernel" or "reference".

    Returns:
        The layers with their new scales and biases.
    """
    problem = _Problem(network, layers, samples, backend)
    change = _least_squares(problem.residual(), problem.forces_along, problem.gradient_along)
    return problem.apply_(network, change)


def _least_squares(
    residual: Tensor, product: Callable[[Tensor], Tensor], transposed: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the solution after a few steps of conjugate gradients."""
    slope = transposed(residual)
    direction, solution, size = slope, torch.zeros_like(slope), slope @ slope
    for _ in range(N_STEPS):
        if not bool(size > 0.0):
            break
        image = product(direction)
        length = size / (image @ image).clamp_min(torch.finfo(image.dtype).tiny)
        solution = solution + length * direction
        residual = residual - length * image
        slope = transposed(residual)
        new_size = slope @ slope
        direction, size = slope + new_size / size * direction, new_size
    return solution


class _Problem:
    """Forces of the sample frames as functions of the parameters that are free."""

    def __init__(self, network: SchNet, layers: Mapping[str, DenseLayer], samples: list[Samples], backend: str) -> None:
        self.network, self.samples, self.backend = copy.deepcopy(network), samples, backend
        self.layers = dict(layers)
        self.sizes = {name: torch.linalg.vector_norm(_linear(network, name).weight, dim=1) for name in layers}
        squares = {each.kind: torch.zeros_like(each.distance[:0].sum()) for each in samples}
        for part in samples:
            squares[part.kind] = squares[part.kind] + part.exact.forces.square().sum()
        weights = {kind: torch.where(square > 0.0, square, 1.0).rsqrt() for kind, square in squares.items()}
        self.weight = torch.cat([weights[part.kind].expand(part.exact.forces.numel()) for part in samples])
        self.start = self._forces(self.network)
        self.gradient = self._gradient(torch.zeros_like(self.start))

    def residual(self) -> Tensor:
        """Return what is missing in the forces, every kind of frame with the same weight."""
        exact = torch.cat([part.exact.forces.reshape(-1) for part in self.samples])
        return self.weight * (exact - self.start)

    def forces_along(self, change: Tensor) -> Tensor:
        """Return the derivative of the weighted forces along a change of the parameters."""
        step = STEP / change.abs().max()
        moved = copy.deepcopy(self.network)
        self.apply_(moved, step * change)
        return self.weight * (self._forces(moved) - self.start) / step

    def gradient_along(self, residual: Tensor) -> Tensor:
        """Return the product of weighted forces with the transposed derivative."""
        direction = self.weight * residual
        step = STEP / direction.abs().max().clamp_min(torch.finfo(direction.dtype).tiny)
        return (self.gradient - self._gradient(step * direction)) / step

    def apply_(self, network: SchNet, change: Tensor) -> dict[str, DenseLayer]:
        """Change the parameters of a network, in place, and return the layers."""
        last = network.readout.layers[-1]
        sizes = [self.layers[name].weight.shape[0] for name in self.layers]
        of_scales, of_biases, of_last = change.split([sum(sizes), sum(sizes), cast("nn.Linear", last).in_features])
        changed = {}
        for (name, layer), scale, bias in zip(
            self.layers.items(), of_scales.split(sizes), of_biases.split(sizes), strict=True
        ):
            scales = cast("Tensor", layer.scale) * (1.0 + scale)
            biases = None if layer.bias is None else layer.bias + bias * self.sizes[name]
            changed[name] = dataclasses.replace(layer, scale=scales, bias=biases)
            linear = _linear(network, name)
            with torch.no_grad():
                linear.weight.copy_(changed[name].dequantized())
                if biases is not None:
                    linear.bias.copy_(biases)
        with torch.no_grad():
            cast("nn.Linear", last).weight.mul_(1.0 + of_last)
        return changed

    def _forces(self, network: SchNet) -> Tensor:
        evaluator = ExactNetwork(network, self.backend)
        return torch.cat([evaluator.evaluate(part.system, part.pairs).forces.reshape(-1) for part in self.samples])

    def _gradient(self, displacement: Tensor) -> Tensor:
        """Return the derivative of the energy by the parameters at displaced positions."""
        linears = [_linear(self.network, name) for name in self.layers]
        last = cast("nn.Linear", self.network.readout.layers[-1])
        biased = [linear for linear in linears if cast("Tensor | None", linear.bias) is not None]
        parameters = [*(each.weight for each in linears), *(each.bias for each in biased), last.weight]
        total = [torch.zeros_like(each) for each in parameters]
        pieces = displacement.split([part.exact.forces.numel() for part in self.samples])
        for parameter in parameters:
            parameter.requires_grad_(True)
        for part, piece in zip(self.samples, pieces, strict=True):
            moved = part.system.with_positions(part.system.positions + piece.view(-1, 3))
            distance = edge_geometry(moved, part.pairs, backend=self.backend)[1]
            with torch.enable_grad():
                energy = self.network(part.system.types, part.pairs, distance, half=True, backend=self.backend)
                gradients = torch.autograd.grad(energy.sum(), parameters)
            total = [before + each for before, each in zip(total, gradients, strict=True)]
        self.network.requires_grad_(False)
        by_weight = dict(zip(self.layers, total, strict=False))
        by_bias = {id(linear): each for linear, each in zip(biased, total[len(linears) :], strict=False)}
        scales = [(by_weight[name] * _linear(self.network, name).weight).sum(1) for name in self.layers]
        biases = [
            by_bias.get(id(linear), torch.zeros_like(size)) * size
            for linear, size in zip(linears, self.sizes.values(), strict=True)
        ]
        return torch.cat([*scales, *biases, (total[-1] * last.weight)[0]])


def _linear(network: SchNet, name: str) -> nn.Linear:
    return cast("nn.Linear", network.get_submodule(name))
