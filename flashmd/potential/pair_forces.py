"""From an energy of distances to the energies, forces and virials of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flashmd.ops import Edges, edge_geometry, segment_sum
from flashmd.potential.base import apply_strain
from flashmd.protocols import Evaluation
from flashmd.system import System

PairFunction = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps distances [n_pairs] to energies of atoms [n_atoms] and the derivatives [n_pairs] of their sum."""


def evaluate_pairs(
    system: System, pairs: Edges, function: PairFunction, *, virial: bool = False, backend: str = "kernel"
) -> Evaluation:
    """Evaluate an energy that depends on positions through distances only.

    Args:
        system: batch.
        pairs: one edge of each pair, see :func:`flashmd.nn.half_edges`.
        function: energies of atoms, kJ/mol, and their slopes, kJ/mol/nm.
        virial: also return the virial.
        backend: "kernel" or "reference", see :mod:`flashmd.ops`.
    """
    # A caller's inference mode would forbid the derivative; a clone of its tensors may be differentiated.
    with torch.inference_mode(mode=False), torch.enable_grad():
        positions = system.positions.detach().clone().requires_grad_()
        strained, strain = apply_strain(system, positions) if virial else (system.with_positions(positions), None)
        distance = edge_geometry(strained, pairs, backend=backend)[1]
        atoms, slope = function(distance.detach())
        inputs = [positions] if strain is None else [positions, strain]
        gradients = torch.autograd.grad(distance, inputs, slope, materialize_grads=True)
    energy = segment_sum(atoms.to(torch.float64), system.ptr, backend=backend)
    return Evaluation(energy, gradients[0].neg_(), gradients[1].to(energy.dtype) if virial else None)
