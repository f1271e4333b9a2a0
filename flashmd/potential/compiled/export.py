"""A compiled potential as one file that needs neither Python nor torch.

The engine in csrc/engine reads it; csrc/engine/container.h describes the layout. The file holds what the kernels read,
bit for bit, for the atoms of one system: packed networks, the plan of the priors, types and masses.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flashmd.errors import message
from flashmd.potential.atomic_energies import AtomicEnergies
from flashmd.potential.base import Potential
from flashmd.potential.compiled.evaluators import TableKernel
from flashmd.potential.compiled.network import CompiledNetwork
from flashmd.potential.compiled.potential import CompiledPotential
from flashmd.potential.priors.kernel_forms import has_kernel, pack_priors
from flashmd.system import System

MAGIC, VERSION = b"FLASHMD\n", 1
_BLOCK = 64
_CODES = {"<f4": 1, "<f8": 2, "<i2": 3, "<i4": 4, "<i8": 5, "|u1": 6}
_PLAN = ("index", "parameters", "sections", "cutoffs", "ranges", "slab_ptr", "template_ptr", "template_of")


def export_compiled(potential: CompiledPotential, system: System, *, name: str) -> bytes:
    """Return the content of the file of a compiled potential.

    Equal arguments give equal bytes.

    Args:
        potential: compiled for the CPU with tables and the compiled kernels.
        system: one system in the dtype of the potential; its types, masses and lists of interactions are written, not
            its positions.
        name: of the model, which error messages mention.

    Raises:
        ValueError: the potential has terms that the engine cannot evaluate, or there is not one system.

    Example:
        >>> import torch
        >>> from flashmd.potential.compiled.export import export_compiled
        >>> from flashmd.potential.priors import HarmonicBonds
        >>> from flashmd.system import System
        >>> bonds = HarmonicBonds("bonds", (torch.tensor([[1, 1]]), {"k": torch.ones(1), "x0": torch.ones(1)}))
        >>> lists = {"bonds": torch.tensor([[0, 1]])}
        >>> pair = System.single(torch.zeros(2, 3), torch.tensor([1, 1]), interactions=lists)
        >>> export_compiled(bonds.compile(pair), pair, name="bonds")[:7]
        b'FLASHMD'
    """
    if system.n_systems != 1:
        raise ValueError(message("`system`", "one system", f"{system.n_systems}", "export one file for each"))
    potential.check(system)
    arrays: dict[str, NDArray[Any]] = {
        "model.name": np.frombuffer(name.encode(), np.uint8),
        "model.types": _array(system.types),
        "model.masses": _array(system.masses.double()),
        "model.number_bytes": np.array([system.positions.element_size()], np.int64),
        "model.n_terms": np.array([len(potential.terms)], np.int64),
    }
    for index, (key, term) in enumerate(potential.terms.items()):
        found = _term(key, term, system)
        arrays |= {f"term{index}.{part}": values for part, values in found.items()}
    arrays |= _priors(potential, system)
    return _packed(arrays)


def _term(name: str, term: CompiledNetwork | Potential, system: System) -> dict[str, NDArray[Any]]:
    if isinstance(term, AtomicEnergies):
        return {"energy": _array(term.energy(system))}
    if not isinstance(term, CompiledNetwork) or not isinstance(term.evaluator, TableKernel):
        expected = "a network with tabulated filters, compiled for the CPU"
        kind = type(term.evaluator if isinstance(term, CompiledNetwork) else term).__name__
        raise ValueError(message(f"term {name!r}", expected, kind, "evaluate this potential through Python"))
    model = term.evaluator.model
    parts = {key: _array(getattr(model, key)) for key in ("sizes", "weights", "constants", "table")}
    return {
        **parts,
        "cutoff": np.array([model.cutoff], np.float64),
        "skin": np.array([term.verlet_list.skin], np.float64),
    }


def _priors(potential: CompiledPotential, system: System) -> dict[str, NDArray[Any]]:
    for prior in potential.priors:
        if not has_kernel(prior):
            expected, fix = "a prior with a compiled kernel", "evaluate this potential through Python"
            raise ValueError(message(f"term {prior.name!r}", expected, type(prior).__name__, fix))
    if not potential.priors:
        return {}
    plan = pack_priors(potential.priors, system, inverted=False)
    return {f"priors.{name}": _array(tensor) for name, tensor in zip(_PLAN, plan.tensors, strict=True)}


def _array(tensor: Tensor) -> NDArray[Any]:
    flat: NDArray[Any] = tensor.detach().cpu().contiguous().reshape(-1).numpy()
    return flat.astype(flat.dtype.newbyteorder("<"), copy=False)


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return header, directory and arrays, each at a multiple of 64 bytes."""
    offset, entries, parts = _BLOCK * (1 + len(arrays)), [], []
    for name, values in arrays.items():
        data = values.tobytes()
        entries.append(struct.pack("<40sqqq", name.encode(), _CODES[values.dtype.str], offset, values.size))
        parts.append(data.ljust(-(-len(data) // _BLOCK) * _BLOCK, b"\0"))
        offset += len(parts[-1])
    header = struct.pack("<8sqqq32x", MAGIC, VERSION, len(arrays), offset)
    return b"".join([header, *entries, *parts])
