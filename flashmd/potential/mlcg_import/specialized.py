"""Translate priors that were specialised to the systems of their file: one set of parameters for each term.

The parameters go back to the types of the beads of each term. Where two terms of equal types have different parameters
(a terminal bond and one in the bulk), the list is divided into as many lists as it takes, and the systems with it.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from flashmd.potential.mlcg_import.priors import PRIOR_CLASSES, Kind, build
from flashmd.potential.mlcg_import.tree import Module, refuse
from flashmd.potential.priors import Prior
from flashmd.system import System
from flashmd.units import KCAL

SPECIALIZED_CLASSES = {
    "StaticGeneralBonds": "GeneralBonds",
    "StaticGeneralAngles": "GeneralAngles",
    "StaticDihedral": "Dihedral",
}
"""Specialised classes of the file and the class each was made from."""
_NAMES = {"k": "k", "x_0": "x0", "v_0": "v_0"}


def translate_specialized(name: str, module: Module, systems: list[System]) -> tuple[dict[str, Prior], list[System]]:
    """Return the priors by name and the systems with lists to match.

    Args:
        name: key of the term and of the list in the systems.
        module: a module whose class is one of `SPECIALIZED_CLASSES`.
        systems: the configurations of the file, to whose terms the parameters belong, in order.
    """
    kind = PRIOR_CLASSES[SPECIALIZED_CLASSES[str(module.model_class)]]
    lists = [system.interactions.get(name) for system in systems]
    if not systems or any(index is None for index in lists):
        fix = "pass the file that holds the model together with its configurations, or the unspecialised prior"
        refuse(module.path, f"configurations with a list `{name}` in the same file", "none", fix)
    present = [index for index in lists if index is not None]
    types = torch.cat([system.types[index] for system, index in zip(systems, present, strict=True)])
    if types.shape[1] != kind.order:
        refuse(module.path, f"a list `{name}` of order {kind.order}", f"order {types.shape[1]}")
    columns = _columns(module, kind, types.shape[0])
    group = _groups(types, torch.stack(list(columns.values()), dim=1))
    bounds = [len(index) for index in present]
    parts: dict[str, Prior] = {}
    for number in range(int(group.max()) + 1 if group.numel() else 1):
        own, member = name if number == 0 else f"{name}_{number + 1}", group == number
        rows, place = _distinct(types[member])
        table = {key: column[member][place] for key, column in columns.items()}
        parts[own] = build(kind, own, rows, table, module)
        systems = [
            _with_list(system, own, index[keep])
            for system, index, keep in zip(systems, present, member.split(bounds), strict=True)
        ]
    return parts, systems


def _columns(module: Module, kind: Kind, n_terms: int) -> dict[str, Tensor]:
    """Return our columns [n_terms] from the buffers of the file."""
    columns: dict[str, Tensor] = {}
    for buffer, ours in kind.columns.items():
        value = module.tensor(_NAMES[buffer])
        flat = value.reshape(value.shape[0], -1) if value.dim() else value.reshape(1, 1)
        if flat.shape[0] != n_terms or flat.shape[1] == 0 or bool(flat[:, 1:].any()):
            path = f"{module.path}.{_NAMES[buffer]}"
            refuse(path, f"one number for each of {n_terms} terms", f"{tuple(value.shape)}")
        columns[ours] = flat[:, 0] * kind.factors[buffer]
    for buffer, pattern in kind.series.items():
        value = module.tensor(buffer)
        if value.dim() != 2 or value.shape[0] != n_terms:
            refuse(f"{module.path}.{buffer}", f"shape ({n_terms}, n)", f"{tuple(value.shape)}")
        columns |= {pattern.format(index + 1): value[:, index] * KCAL for index in range(value.shape[1])}
    shift = module.entry("V0")
    if isinstance(shift, Tensor) and bool(module.tensor("V0").any()):
        refuse(f"{module.path}.V0", "zeros", "a constant that has no counterpart here")
    return columns


def _groups(types: Tensor, parameters: Tensor) -> Tensor:
    """Return for each term the rank of its parameters among those of its type tuple, by first appearance."""
    seen: dict[tuple[int, ...], dict[tuple[float, ...], int]] = {}
    ranks = []
    for key, values in zip(map(tuple, types.tolist()), map(tuple, parameters.tolist()), strict=True):
        own = seen.setdefault(key, {})
        ranks.append(own.setdefault(values, len(own)))
    return torch.tensor(ranks, dtype=torch.int64)


def _distinct(types: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows and a place of each; equal rows of one group have equal parameters."""
    rows, inverse = torch.unique(types, dim=0, return_inverse=True)
    place = torch.zeros(len(rows), dtype=torch.int64)
    place[inverse] = torch.arange(len(types))
    return rows, place


def _with_list(system: System, name: str, index: Tensor) -> System:
    return dataclasses.replace(system, interactions={**system.interactions, name: index})
