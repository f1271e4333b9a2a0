"""Energy, forces and virial of all analytic terms of a batch in one compiled operator, without autograd.

Its reference are the closed forms of :mod:`flashmd.potential.priors`, which ``backend="reference"`` evaluates in plain
PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashmd.ops._extension import Operator
from flashmd.ops.prior_layout import PackedTerms
from flashmd.protocols import Evaluation
from flashmd.system import System


def prior_terms(system: System, terms: PackedTerms, *, virial: bool = False, instruction_set: int = -1) -> Evaluation:
    """Evaluate packed terms.

    Args:
        system: the batch that `terms` was packed for, at any positions and cell.
        terms: see :func:`flashmd.ops.prior_layout.pack_terms`.
        virial: also return ``dE/dstrain``.
        instruction_set: 0 baseline, 1 AVX2, 2 AVX-512, -1 the widest that the processor has.
    """
    positions, cell = system.positions.detach(), system.cell.detach()
    energy, forces, tensor = _PRIOR_TERMS(
        positions, system.ptr, cell, system.pbc, *terms.tensors, virial, instruction_set
    )
    return Evaluation(energy, forces, tensor if virial else None)


_VIRIAL = 10
"""Where the flag stands among the arguments after the first two."""


def _fake(positions: Tensor, ptr: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    virial: bool = rest[_VIRIAL]
    n_systems = ptr.shape[0] - 1
    energy = ptr.new_empty(n_systems, dtype=torch.float64)
    return energy, positions.new_empty(positions.shape), energy.new_empty(n_systems if virial else 0, 3, 3)


_PRIOR_TERMS = Operator("prior_terms", _fake)
