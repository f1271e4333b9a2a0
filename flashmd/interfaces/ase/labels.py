"""Bead types, types and lists of terms of ASE's atoms, from the names that the atoms carry.

Names come from the argument of the calculator, from the array ``bead_type`` or, for coarse-grained models, from the
arrays that :mod:`ase.io` makes of a PDB file. The array ``residuenumbers`` tells where a chain has a gap, ``chainids``
where it ends; without them all beads are one chain.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flashmd.cg import CA_TYPES, FIVE_BEAD_TYPES, CGStructure, Resolution, build_system
from flashmd.cg.beads import bead_mass, bead_type, standard_residue
from flashmd.errors import message
from flashmd.interfaces.molecule import types_of
from flashmd.potential import Potential
from flashmd.potential.priors.base import Prior
from flashmd.potential.resolution import Particles, particles_of
from flashmd.system import System

BeadTypes = Sequence[str | int] | Mapping[str, str | int]
ARRAYS = ("bead_type", "residuenames", "atomtypes", "residuenumbers", "chainids")
"""Arrays of :class:`ase.Atoms` that say what the particles are."""
_BACKBONE = ("N", "CA", "C", "O")


def particles(atoms: Any, model: Potential, bead_types: BeadTypes | None, *, dtype: torch.dtype) -> System:
    """Return the particles as a model sees them, at the origin, on the CPU.

    Args:
        atoms: :class:`ase.Atoms`.
        model: knows the names of its types.
        bead_types: name or integer of each atom, or names or integers by residue or chemical symbol.
        dtype: of the positions.

    Raises:
        ValueError: names are missing or unknown, or the model has no parameters for a term.
    """
    kind = _kind_of(model)
    labels = _labels(atoms, kind, bead_types)
    if labels is None:
        return _checked(System.single(_origin(atoms, dtype), types_of(atoms.get_chemical_symbols(), model)), model)
    known = _known_types(model, kind)
    types = torch.tensor([_type_of(atom, label, known) for atom, label in enumerate(labels)], dtype=torch.int64)
    if kind not in ("ca", "five_bead") or not any(isinstance(part, Prior) for part in model.modules()):
        return _checked(System.single(_origin(atoms, dtype), types), model)
    names = {number: name for name, number in known.items()}
    structure = _structure(atoms, kind, [names[number] for number in types.tolist()], types)
    return _checked(build_system(structure, dtype=dtype), model)


def _checked(system: System, model: Potential) -> System:
    model.check(system)
    return system


def _origin(atoms: Any, dtype: torch.dtype) -> Tensor:
    return torch.zeros(len(atoms), 3, dtype=dtype)


def _kind_of(model: Potential) -> Particles | None:
    """Return what the particles are; None where a model knows no names and its types can be given as integers only."""
    try:
        return particles_of(model)
    except ValueError:
        return None


def _known_types(model: Potential, kind: Particles | None) -> dict[str, int]:
    standard = {"ca": CA_TYPES, "five_bead": FIVE_BEAD_TYPES}
    return model.bead_types or (standard.get(kind, {}) if kind else {})


def _labels(atoms: Any, kind: Particles | None, given: BeadTypes | None) -> list[str | int] | None:
    """Return the name or integer of each particle; None where chemical symbols are to be taken."""
    if isinstance(given, Mapping):
        return _by_symbol_or_residue(atoms, given)
    if given is not None:
        if len(given) != len(atoms):
            fix = "pass one for each atom, or a dictionary by symbol or residue"
            raise ValueError(message("`bead_types`", f"{len(atoms)} names or integers", f"{len(given)}", fix))
        return list(given)
    if "bead_type" in atoms.arrays:
        labels: list[str | int] = atoms.arrays["bead_type"].tolist()
        return labels
    if kind == "atoms":
        return None
    if kind is not None and {"residuenames", "atomtypes"} <= set(atoms.arrays):
        return _of_pdb(atoms, kind)
    fix = "pass `bead_types`, or make the atoms with `beads_to_atoms`"
    if kind is None:
        fix = "pass `bead_types` with integers, or save the model with `bead_types` by name"
    raise ValueError(message("the bead types", "an array `bead_type`", f"only {', '.join(atoms.arrays)}", fix))


def _by_symbol_or_residue(atoms: Any, given: Mapping[str, str | int]) -> list[str | int]:
    symbols = atoms.get_chemical_symbols()
    residues = atoms.arrays.get("residuenames", symbols)
    labels = []
    for atom, keys in enumerate(zip(residues, symbols, strict=True)):
        key = next((str(key) for key in keys if key in given), None)
        if key is None:
            got, fix = " or ".join(dict.fromkeys(repr(str(key)) for key in keys)), "add it to `bead_types`"
            raise ValueError(message(f"atom {atom}", f"one of {', '.join(given)}", got, fix))
        labels.append(given[key])
    return labels


def _of_pdb(atoms: Any, resolution: Resolution) -> list[str | int]:
    """Return the names of beads by residue and atom name."""
    names = {number: name for name, number in FIVE_BEAD_TYPES.items()}
    wanted = {"ca": ("CA",), "five_bead": ("CB", *_BACKBONE)}[resolution]
    labels: list[str | int] = []
    for atom, (residue, name) in enumerate(zip(atoms.arrays["residuenames"], atoms.arrays["atomtypes"], strict=True)):
        standard = standard_residue(str(residue))
        if standard is None or name not in wanted:
            expected = f"a bead of resolution '{resolution}' ({', '.join(wanted)} of an amino acid)"
            fix = "map the structure to beads with `beads_to_atoms`"
            raise ValueError(message(f"atom {atom}", expected, f"{name} of {residue}", fix))
        labels.append(names[bead_type(standard, str(name), resolution)])
    return labels


def _type_of(atom: int, label: str | int, known: Mapping[str, int]) -> int:
    if isinstance(label, str):
        if label not in known:
            fix = "correct it, or choose a model that knows it"
            expected = f"one of {', '.join(known)}" if known else "an integer, since the model knows no names"
            raise ValueError(message(f"bead type of atom {atom}", expected, repr(label), fix))
        return known[label]
    if known and label not in known.values():
        fix = "correct it, or choose a model that knows it"
        values = ", ".join(map(str, sorted(known.values())))
        raise ValueError(message(f"bead type of atom {atom}", f"one of {values}", f"{label}", fix))
    return int(label)


def _structure(atoms: Any, resolution: Resolution, labels: list[str], types: Tensor) -> CGStructure:
    """Return beads grouped into residues, from which lists of terms are made."""
    chains, numbers = _chains(atoms), atoms.arrays.get("residuenumbers")
    atom_names = [_atom_of(label, resolution) for label in labels]
    if resolution == "ca":
        residue = list(range(len(labels)))
    elif numbers is None:
        fix = "set `atoms.set_array('residuenumbers', ...)`, or make the atoms with `beads_to_atoms`"
        raise ValueError(message("`atoms.arrays`", "`residuenumbers`, to group beads into residues", "none", fix))
    else:
        residue = _residues(list(zip(chains, numbers.tolist(), strict=True)), atom_names)
    first = [residue.index(index) for index in range(residue[-1] + 1)]
    sequence = _sequence(labels, residue)
    masses = [bead_mass(sequence[r], name, resolution) for r, name in zip(residue, atom_names, strict=True)]
    return CGStructure(
        resolution=resolution,
        sequence=tuple(sequence),
        residue_ids=tuple(bead + 1 if numbers is None else int(numbers[bead]) for bead in first),
        chain=tuple(chains[bead] for bead in first),
        types=types,
        masses=torch.tensor(masses, dtype=torch.float64),
        bead_names=tuple(atom_names),
        residue_index=torch.tensor(residue),
        atom_indices=torch.arange(len(labels)),
        positions=torch.zeros(1, len(labels), 3),
    )


def _chains(atoms: Any) -> list[int]:
    """Return the number of the chain of every particle, counted along the atoms."""
    names = atoms.arrays.get("chainids")
    runs = itertools.groupby([0] * len(atoms) if names is None else names.tolist())
    return [number for number, (_, run) in enumerate(runs) for _ in run]


def _residues(keys: Sequence[object], atom_names: Sequence[str]) -> list[int]:
    """Number the residues: a new one begins where the key changes or, with an insertion code, a name comes again."""
    found: list[int] = []
    last, seen = None, set[str]()
    for key, name in zip(keys, atom_names, strict=True):
        if key != last or name in seen:
            found.append(found[-1] + 1 if found else 0)
            last, seen = key, {name}
        else:
            found.append(found[-1])
            seen.add(name)
    return found


def _atom_of(label: str, resolution: Resolution) -> str:
    """Return the atom that carries a bead."""
    if resolution == "ca" or label == "GLY":
        return "CA"
    return label if label in _BACKBONE else "CB"


def _sequence(labels: Sequence[str], residue: Sequence[int]) -> list[str]:
    """Return the name of each residue, which one of its beads carries."""
    found: dict[int, list[str]] = {}
    for label, index in zip(labels, residue, strict=True):
        found.setdefault(index, []).extend([label] if label in CA_TYPES else [])
    for index, names in found.items():
        if len(names) != 1:
            bead, fix = list(residue).index(index), "correct `bead_type` or `residuenumbers`"
            what = f"the residue of bead {bead}"
            raise ValueError(message(what, "one bead named after an amino acid", f"{len(names)}", fix))
    return [names[0] for _, names in sorted(found.items())]
