"""Translate the configurations of a foreign file (angstrom, scaled masses) into systems."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flashmd.potential.mlcg_import.tree import checked, refuse
from flashmd.potential.mlcg_import.unpickle import Node
from flashmd.system import System
from flashmd.units import ANGSTROM

MASS_SCALE = 418.4
"""Da in one of the file's mass units, kcal/mol (ps/angstrom)^2."""


def is_configuration(value: object) -> bool:
    """Whether a described object is a configuration."""
    return isinstance(value, Node) and value.origin.name == "AtomicData"


def translate_configurations(values: Sequence[object], *, path: str = "configurations") -> list[System]:
    """Return one system for each configuration, in float64.

    Args:
        values: described configurations.
        path: where they stand in the file, for messages.
    """
    systems = [_translate(value, f"{path}[{index}]") for index, value in enumerate(values)]
    # A file lists only the terms a molecule has; in a batch all molecules have all lists, some of them empty.
    empty = {name: terms[:0] for system in systems for name, terms in system.interactions.items()}
    return [dataclasses.replace(system, interactions={**empty, **system.interactions}) for system in systems]


def _translate(value: object, path: str) -> System:
    entries = _entries(value, path)
    positions, types = entries.get("pos"), entries.get("atom_types")
    if not isinstance(positions, Tensor) or positions.dim() != 2 or positions.shape[1] != 3:
        refuse(f"{path}.pos", "positions of shape (n, 3)", reprlib.repr(getattr(positions, "shape", positions)))
    n_atoms = positions.shape[0]
    if not isinstance(types, Tensor) or types.shape != (n_atoms,) or types.is_floating_point():
        got = reprlib.repr(getattr(types, "shape", types))
        refuse(f"{path}.atom_types", f"{n_atoms} integer types", got)
    if bool((types < 0).any()):
        refuse(f"{path}.atom_types", "types from 0", f"{int(types.min())}")
    count = entries.get("n_atoms")
    if isinstance(count, Tensor) and count.flatten().tolist() != [n_atoms]:
        fix = "save the configurations one by one, as a list"
        refuse(f"{path}.n_atoms", f"one system of {n_atoms} beads", f"{count.flatten().tolist()}", fix)
    cell, pbc = _box(entries, path)
    return System.single(
        checked(positions, f"{path}.pos") * ANGSTROM,
        types,
        masses=_masses(entries.get("masses"), n_atoms, f"{path}.masses"),
        cell=cell,
        pbc=pbc,
        interactions=_interactions(entries.get("neighbor_list"), n_atoms, f"{path}.neighbor_list"),
    )


def _entries(value: object, path: str) -> dict[str, Any]:
    store = value.state.get("_store") if isinstance(value, Node) and isinstance(value.state, dict) else None
    mapping = store.state.get("_mapping") if isinstance(store, Node) and isinstance(store.state, dict) else None
    if not isinstance(mapping, dict):
        refuse(path, "a configuration", reprlib.repr(value))
    return mapping


def _masses(value: object, n_atoms: int, path: str) -> Tensor | None:
    """Return masses in Da; files hold Da or Da / 418.4, which cannot be confused: no bead weighs less than 1 Da."""
    if value is None:
        return None
    if not isinstance(value, Tensor):
        refuse(path, "a tensor", reprlib.repr(value))
    masses = checked(value, path, (n_atoms,))
    scaled = masses < 1.0
    if bool((masses <= 0).any()) or bool(scaled.any()) != bool(scaled.all()):
        got = f"{float(masses.min()):g} to {float(masses.max()):g}"
        refuse(path, "all masses in Da, or all in kcal/mol (ps/angstrom)^2", got, "write the masses in one unit")
    return masses * MASS_SCALE if bool(scaled.any()) else masses


def _box(entries: dict[str, Any], path: str) -> tuple[Tensor | None, bool | list[bool]]:
    pbc, cell = entries.get("pbc"), entries.get("cell")
    flags = [bool(flag) for flag in pbc.flatten().tolist()] if isinstance(pbc, Tensor) else [False] * 3
    if len(flags) not in {1, 3}:
        refuse(f"{path}.pbc", "one flag or three", f"{len(flags)}")
    if not isinstance(cell, Tensor):
        if any(flags):
            refuse(f"{path}.cell", "a lattice, since `pbc` is set", reprlib.repr(cell))
        return None, False
    lattice = checked(cell, f"{path}.cell")
    if lattice.numel() != 9:
        refuse(f"{path}.cell", "three lattice vectors", f"shape {tuple(lattice.shape)}")
    return lattice.reshape(3, 3) * ANGSTROM, flags * (3 // len(flags))


def _interactions(lists: object, n_atoms: int, path: str) -> dict[str, Tensor]:
    """Return the lists of the priors; lists with a cutoff belong to the network and are built anew at every step."""
    if lists is None:
        return {}
    if not isinstance(lists, dict):
        refuse(path, "named lists", reprlib.repr(lists))
    result = {}
    for name, entry in lists.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("index_mapping"), Tensor):
            refuse(f"{path}.{name}", "a list with an `index_mapping`", reprlib.repr(entry))
        if entry.get("rcut") is not None:
            continue
        shifts, index = entry.get("cell_shifts"), entry["index_mapping"]
        if isinstance(shifts, Tensor) and bool((shifts != 0).any()):
            refuse(f"{path}.{name}", "terms inside one image", "lattice shifts", "write the molecule unwrapped")
        order = entry.get("order")
        if index.dim() != 2 or index.dtype != torch.int64 or index.shape[0] != order:
            refuse(f"{path}.{name}.index_mapping", f"int64 indices of shape ({order}, n)", f"{tuple(index.shape)}")
        if index.numel() and (int(index.min()) < 0 or int(index.max()) >= n_atoms):
            got = f"{int(index.min())} to {int(index.max())}"
            refuse(f"{path}.{name}.index_mapping", f"beads 0 to {n_atoms - 1}", got)
        result[str(name)] = index.T.contiguous()
    return result
