"""Translate described priors: tables over bead types, dense or sparse, become lists of type tuples with parameters.

A column of ours is a buffer of the file times a factor that carries angstrom to nm and kcal/mol to kJ/mol. Only the
tuples that the file allows or gives a parameter are kept; sparse tables stay sparse all the way.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashmd.potential import priors
from flashmd.potential.mlcg_import.tensors import SparseTable, encode
from flashmd.potential.mlcg_import.tree import Module, checked, refuse
from flashmd.potential.priors import Prior
from flashmd.units import ANGSTROM, KCAL

MAX_TUPLES = 1_000_000
MAX_DEGREE = 64


@dataclass(frozen=True)
class Kind:
    """How a class of the file maps to one of ours.

    Attributes:
        prior: our class.
        factors: factor of each column of ours that is one buffer, by the name of the buffer.
        columns: our name of each of these buffers.
        series: buffers with a leading axis, each with the pattern of our column names.
        constants: columns of ours that no buffer holds.
        ignored: buffers that must be zero where they occur.
        has_cutoff: whether the class keeps a cutoff as an attribute.
    """

    prior: type[Prior]
    factors: dict[str, float]
    columns: dict[str, str]
    series: dict[str, str]
    constants: dict[str, float]
    ignored: tuple[str, ...] = ()
    has_cutoff: bool = False

    @property
    def order(self) -> int:
        """Number of beads in a term."""
        return self.prior.feature.order


def _harmonic(prior: type[Prior], k: float, x0: float = 1.0) -> Kind:
    return Kind(prior, {"k": k, "x_0": x0}, {"k": "k", "x_0": "x0"}, {}, {}, ignored=("v_0", "V0"))


def _repulsion(prior: type[Prior], *, has_cutoff: bool = False) -> Kind:
    # (sigma / d)^6 in kcal/mol: the sixth root of the factor belongs to sigma.
    return Kind(prior, {"sigma": ANGSTROM * KCAL ** (1 / 6)}, {"sigma": "sigma"}, {}, {}, has_cutoff=has_cutoff)


def _exponential(prior: type[Prior], *, has_cutoff: bool = False) -> Kind:
    columns = {"alpha": "alpha", "r_0": "r0"}
    return Kind(prior, {"alpha": 1.0, "r_0": ANGSTROM}, columns, {}, {"epsilon": KCAL}, has_cutoff=has_cutoff)


def _quartic(prior: type[Prior]) -> Kind:
    return Kind(prior, {"v_0": KCAL}, {"v_0": "v0"}, {"ks": "k{}"}, {})


_BONDS = _harmonic(priors.HarmonicBonds, KCAL / ANGSTROM**2, ANGSTROM)
_ANGLES = _harmonic(priors.HarmonicAngles, KCAL)
_DIHEDRALS = Kind(priors.FourierDihedrals, {"v_0": KCAL}, {"v_0": "v0"}, {"k1s": "k1_{}", "k2s": "k2_{}"}, {})
PRIOR_CLASSES = {
    "HarmonicBonds": _BONDS,
    "GeneralBonds": _BONDS,
    "HarmonicAngles": _ANGLES,
    "GeneralAngles": _ANGLES,
    "HarmonicAnglesRaw": _harmonic(priors.HarmonicAnglesRaw, KCAL),
    "HarmonicImpropers": _harmonic(priors.HarmonicImpropers, KCAL),
    "ShiftedPeriodicHarmonicImpropers": _harmonic(priors.ShiftedPeriodicHarmonicImpropers, KCAL),
    "Dihedral": _DIHEDRALS,
    "Repulsion": _repulsion(priors.Repulsion),
    "CutoffRepulsion": _repulsion(priors.CutoffRepulsion, has_cutoff=True),
    "ExpRepulsion": _exponential(priors.ExpRepulsion),
    "CutoffExpRepulsion": _exponential(priors.CutoffExpRepulsion, has_cutoff=True),
    "QuarticAngles": _quartic(priors.QuarticAngles),
    "QuarticRawAngles": _quartic(priors.QuarticAnglesRaw),
    "RestrictedQuartic": Kind(
        priors.RestrictedQuartic,
        dict.fromkeys(("a", "b", "c", "d", "k", "v_0"), KCAL),
        {"a": "a", "b": "b", "c": "c", "d": "d", "k": "k", "v_0": "v0"},
        {},
        {},
    ),
}
"""Classes of the file by name."""


def translate_prior(name: str, module: Module) -> Prior:
    """Return the prior of a described module, in float64, nm and kJ/mol.

    Args:
        name: key of the term, used where the module does not name its list.
        module: a module whose class is one of `PRIOR_CLASSES`.
    """
    kind = PRIOR_CLASSES[str(module.model_class)]
    own = module.attribute("name")
    entries = _entries(module, kind)
    keys = _keys(module, kind, entries)
    columns = {ours: keys.new_full((len(keys),), value, dtype=torch.float64) for ours, value in kind.constants.items()}
    for buffer, ours in kind.columns.items():
        columns[ours] = _offset(entries, buffer, keys, module) * kind.factors[buffer]
    for buffer, pattern in kind.series.items():
        rows = _look_up(entries[buffer], keys, f"{module.path}.{buffer}")
        columns |= {pattern.format(index + 1): row * KCAL for index, row in enumerate(rows)}
    return build(kind, own if isinstance(own, str) else name, keys, columns, module)


def build(kind: Kind, name: str, types: Tensor, columns: dict[str, Tensor], module: Module) -> Prior:
    """Return our prior; parameters that do not fit the class are refused with the module's path."""
    constants: dict[str, Any] = {}
    if kind.has_cutoff:
        constants["cutoff"] = module.number("cutoff") * ANGSTROM
    try:
        prior: Prior = kind.prior(name, (types, columns), **constants)
    except ValueError as error:
        refuse(module.path, f"parameters of {kind.prior.__name__}", str(error))
    return prior.to(torch.float64)


def _entries(module: Module, kind: Kind) -> dict[str, Tensor | SparseTable]:
    """Return the buffers of a prior by name after verifying that all and only the known ones are there."""
    entries: dict[str, Tensor | SparseTable] = {}
    names = {*module.table("_buffers"), *module.table("_parameters")}
    for name in sorted(names):
        value = module.entry(name)
        if value is None:
            continue
        known = name in kind.columns or name in kind.series
        zero = name in kind.ignored and not bool(_numbers(value, f"{module.path}.{name}").any())
        if not known and not zero:
            expected = f"buffers {', '.join((*kind.columns, *kind.series))}"
            refuse(f"{module.path}.{name}", expected, "one that is not zero and has no counterpart here")
        if known:
            entries[name] = value
    missing = [name for name in (*kind.columns, *kind.series) if name not in entries and name != "v_0"]
    if missing:
        refuse(module.path, f"a buffer `{missing[0]}`", f"`{module.class_path}` without it")
    return entries


def _numbers(value: Tensor | SparseTable, path: str) -> Tensor:
    return checked(value.values if isinstance(value, SparseTable) else value, path)


def _keys(module: Module, kind: Kind, entries: dict[str, Tensor | SparseTable]) -> Tensor:
    """Return the type tuples [n, order]: those the file allows and those it gives a parameter, each once, sorted."""
    found = [_allowed(module, kind.order)]
    for name, value in entries.items():
        path = f"{module.path}.{name}"
        numbers = _numbers(value, path)
        indices = value.indices.T if isinstance(value, SparseTable) else numbers.nonzero()
        if indices.shape[1] - kind.order not in ({1} if name in kind.series else {0, 1}):
            got = f"{indices.shape[1]} axes"
            refuse(path, f"a table over {kind.order} bead types", got)
        found.append(indices[:, indices.shape[1] - kind.order :].contiguous())
    keys: Tensor = torch.unique(torch.cat(found), dim=0)
    return keys


def _allowed(module: Module, order: int) -> Tensor:
    keys = module.attribute("allowed_interaction_keys")
    if keys is None:
        return torch.empty(0, order, dtype=torch.int64)
    path = f"{module.path}.allowed_interaction_keys"
    if not isinstance(keys, list) or len(keys) > MAX_TUPLES:
        refuse(path, f"at most {MAX_TUPLES} type tuples", reprlib.repr(keys))
    for key in keys:
        plain = isinstance(key, tuple) and all(isinstance(part, int) and 0 <= part < 2**31 for part in key)
        if not plain or len(key) != order:
            refuse(path, f"tuples of {order} types", reprlib.repr(key))
    return torch.tensor(keys, dtype=torch.int64).reshape(-1, order)


def _offset(entries: dict[str, Tensor | SparseTable], name: str, keys: Tensor, module: Module) -> Tensor:
    """Return one column [n]; constants may be missing, or stand in the first row of a table with a leading axis."""
    if name not in entries:
        return torch.zeros(len(keys), dtype=torch.float64)
    rows = _look_up(entries[name], keys, f"{module.path}.{name}")
    if bool(rows[1:].any()):
        refuse(f"{module.path}.{name}", "one number for each type tuple", f"{len(rows)}")
    return rows.select(0, 0)


def _look_up(table: Tensor | SparseTable, keys: Tensor, path: str) -> Tensor:
    """Return the entries of a table for type tuples [n, order] as [n_rows, n]; one row without a leading axis."""
    order = keys.shape[1]
    extent = torch.tensor(table.shape[-order:])
    outside = (keys >= extent).any(dim=1)
    if bool(outside.any()):
        got = f"{keys[outside][0].tolist()}"
        refuse(path, f"tuples inside a table of {tuple(extent.tolist())}", got)
    has_rows = len(table.shape) > order
    n_rows = table.shape[0] if has_rows else 1
    if not 0 < n_rows <= MAX_DEGREE:
        refuse(path, f"a series of 1 to {MAX_DEGREE} terms", f"{n_rows}")
    row = torch.arange(n_rows).repeat_interleave(len(keys))
    shape = (n_rows, *extent.tolist())
    code = encode(torch.cat([row[:, None], keys.repeat(n_rows, 1)], dim=1).T, shape)
    if isinstance(table, Tensor):
        return checked(table, path).reshape(-1)[code].reshape(n_rows, len(keys))
    codes = encode(table.indices, table.shape)
    values = checked(table.values, path)
    place = torch.searchsorted(codes, code).clamp(max=max(len(codes) - 1, 0))
    result = torch.zeros(len(code), dtype=torch.float64)
    if len(codes):
        result = torch.where(codes[place] == code, values[place], result)
    return result.reshape(n_rows, len(keys))
