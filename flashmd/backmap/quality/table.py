"""All measures of structures in one table: a row for each structure, a column for each measure; CSV, JSON or text."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from flashmd.backmap.chains import Chains
from flashmd.backmap.physics.rings import ring_penetrations
from flashmd.backmap.quality._arrays import ArrayLike, FloatArray, as_padded
from flashmd.backmap.quality.deviation_measures import deviations
from flashmd.backmap.quality.ideal import angle_errors, ideal_bonds
from flashmd.backmap.quality.lengths import bond_errors
from flashmd.backmap.quality.overlap_counts import clash_score, overlaps
from flashmd.backmap.quality.ramachandran import ramachandran_outliers
from flashmd.backmap.quality.stereo import d_residues, mirrored_side_chains
from flashmd.backmap.quality.torsion_angles import backbone_errors, chi_recovery, cis_prolines, omega_flips
from flashmd.backmap.residues import SLOT_CA
from flashmd.errors import message
from flashmd.units import ANGSTROM


@dataclass(frozen=True)
class Column:
    """One measure.

    Attributes:
        name: key in dictionaries and files.
        unit: as printed, lengths in A as is the custom for structures.
        meaning: one line.
        digits: after the decimal point.
    """

    name: str
    unit: str
    meaning: str
    digits: int = 1


COLUMNS: tuple[Column, ...] = (
    Column("clashes", "% of residues", "clash score, heavy atoms closer than 1.2 A"),
    Column("overlaps", "/1000 atoms", "pairs more than three bonds apart and closer than 2.0 A"),
    Column("contacts", "/1000 atoms", "pairs more than three bonds apart and closer than 2.6 A"),
    Column("d_residues", "residues", "D amino acids", 0),
    Column("mirrored", "residues", "isoleucines and threonines of the wrong hand at CB", 0),
    Column("ramachandran", "% of residues", "outside the regions that crystal structures populate"),
    Column("omega", "% of bonds", "peptide bonds more than 30 degrees off the reference, or off 0 and 180 without one"),
    Column("ring_penetrations", "bonds", "bonds that pass through a ring", 0),
    Column("ideal_bonds", "%", "bonds within 10 % of the lengths of the force field, without S-S and gaps", 2),
    Column("angles", "degrees", "root mean square deviation of bond angles from the force field", 2),
    Column("cis_prolines", "% of prolines", "prolines after a cis peptide bond"),
    Column("bonds", "%", "bonds within 10 % of the reference, without S-S and gaps", 2),
    Column("bonds_all", "%", "bonds within 10 % of the reference, with S-S and gaps", 2),
    Column("bond_error", "A", "mean absolute deviation of bond lengths", 4),
    Column("bond_rms", "A", "root mean square deviation of bond lengths", 4),
    Column("bond_largest", "A", "largest deviation of a bond length", 3),
    Column("phi", "degrees", "mean absolute deviation of phi"),
    Column("psi", "degrees", "mean absolute deviation of psi"),
    Column("chi1", "%", "side chains with chi1 within 40 degrees"),
    Column("chi12", "%", "side chains with chi1 and chi2 within 40 degrees"),
    Column("rmsd_ca", "A", "deviation of CA, without superposition", 4),
    Column("rmsd_backbone", "A", "deviation of N, C and O, without superposition", 3),
    Column("rmsd_side_chain", "A", "deviation of side chains, without superposition", 3),
)
"""The measures of `assess` in the order of the table; those from `bonds` on need a reference."""

ENERGY_COLUMNS: tuple[Column, ...] = (
    Column("amber14_gbn2", "kcal/mol/res", "Amber14 + GBn2 single point for each residue, hydrogens added"),
    Column("charmm36", "kcal/mol/res", "CHARMM36 single point for each residue, without solvent"),
    Column("largest_force", "kcal/mol/A", "largest force of Amber14 + GBn2 on a heavy atom", 0),
    Column("md_peak", "K", "highest temperature in 5 ps of CHARMM36 at 300 K, infinite after a crash", 0),
)
"""The measures of `force_fields.assess_energies`."""

Row = Mapping[str, float | str]


def assess(chains: Chains, positions: ArrayLike, reference: ArrayLike | None = None) -> dict[str, FloatArray]:
    """Measure structures in every way that a structure, or a structure and its reference, allow.

    Args:
        chains: the residues.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm; NaN where an atom is missing.
        reference: one structure or one for each frame, nm.

    Returns:
        for each name of `COLUMNS` that can be measured, [n_frames] in the unit of the column.

    Example:
        >>> import torch
        >>> chains = Chains.from_sequence("GA")
        >>> measures = assess(chains, torch.rand(3, 2, 14, 3, generator=torch.Generator().manual_seed(1)))
        >>> measures["clashes"].shape, "rmsd_ca" in measures
        ((3,), False)
    """
    measures = {
        "clashes": clash_score(chains, positions),
        "overlaps": overlaps(chains, positions, 0.2),
        "contacts": overlaps(chains, positions, 0.26),
        "d_residues": d_residues(chains, positions).astype(np.float64),
        "mirrored": mirrored_side_chains(chains, positions).astype(np.float64),
        "ramachandran": ramachandran_outliers(chains, positions),
        "omega": omega_flips(chains, positions, reference),
        "ring_penetrations": _penetrations(chains, positions),
        "ideal_bonds": ideal_bonds(chains, positions),
        "angles": angle_errors(chains, positions),
        "cis_prolines": cis_prolines(chains, positions),
    }
    return measures if reference is None else {**measures, **_compare(chains, positions, reference)}


def _compare(chains: Chains, positions: ArrayLike, reference: ArrayLike) -> dict[str, FloatArray]:
    bonds = bond_errors(chains, positions, reference)
    phi, psi = backbone_errors(chains, positions, reference)
    chi1, chi12 = chi_recovery(chains, positions, reference)
    away = deviations(chains, positions, reference)
    return {
        "bonds": 100.0 * bonds.within,
        "bonds_all": 100.0 * bonds.within_all,
        "bond_error": bonds.mean_absolute / ANGSTROM,
        "bond_rms": bonds.rms / ANGSTROM,
        "bond_largest": bonds.largest / ANGSTROM,
        "phi": phi,
        "psi": psi,
        "chi1": chi1,
        "chi12": chi12,
        "rmsd_ca": away.ca / ANGSTROM,
        "rmsd_backbone": away.backbone / ANGSTROM,
        "rmsd_side_chain": away.side_chain / ANGSTROM,
    }


def _penetrations(chains: Chains, positions: ArrayLike) -> FloatArray:
    frames = torch.from_numpy(as_padded(chains, positions))
    frames = torch.where(frames.isfinite(), frames, frames[:, :, SLOT_CA, None])
    found = ring_penetrations(chains, frames).frame
    return np.bincount(found.numpy(), minlength=frames.shape[0]).astype(np.float64)


def rows_of(measures: Mapping[str, FloatArray], names: Sequence[str]) -> list[Row]:
    """Return one row for each structure, its name in the column "structure".

    Example:
        >>> rows_of({"omega": np.array([0.0, 2.5])}, ["first", "second"])[1]
        {'structure': 'second', 'omega': 2.5}
    """
    return [
        {"structure": name, **{key: float(values[index]) for key, values in measures.items()}}
        for index, name in enumerate(names)
    ]


def medians(rows: Sequence[Row], name: str = "median") -> Row:
    """Return the row of medians over structures; NaN, where nothing could be measured, does not count."""
    numbers = {key: np.array([row[key] for row in rows], float) for key in rows[0] if key != "structure"}
    return {"structure": name, **{key: _median(values) for key, values in numbers.items()}}


def _median(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")


def as_text(rows: Sequence[Row]) -> str:
    """Return a table with a line for each measure and a column for each structure.

    Example:
        >>> print(as_text([{"structure": "native", "omega": 0.0}]))
        measure              native  unit
        omega                   0.0  % of bonds
    """
    names = [str(row["structure"]) for row in rows]
    widths = [max(10, len(name) + 2) for name in names]
    lines = ["measure".ljust(17) + "".join(n.rjust(w) for n, w in zip(names, widths, strict=True)) + "  unit"]
    for column in (column for column in (*COLUMNS, *ENERGY_COLUMNS) if column.name in rows[0]):
        numbers = [_printed(float(row.get(column.name, "nan")), column.digits) for row in rows]
        cells = "".join(number.rjust(width) for number, width in zip(numbers, widths, strict=True))
        lines.append(f"{column.name.ljust(17)}{cells}  {column.unit}")
    return "\n".join(lines)


def _printed(value: float, digits: int) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def _as_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if _unknown(value) else value for key, value in row.items()} for row in rows)
    return text.getvalue()


def _as_json(rows: Sequence[Row]) -> str:
    plain = [{key: None if _unknown(value) else value for key, value in row.items()} for row in rows]
    return json.dumps(plain, indent=1) + "\n"


def _unknown(value: float | str) -> bool:
    return isinstance(value, float) and math.isnan(value)


_WRITERS: dict[str, Callable[[Sequence[Row]], str]] = {".csv": _as_csv, ".json": _as_json}


def write_table(path: str | Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV or JSON, as the suffix of the path says; what could not be measured is empty or null.

    Raises:
        ValueError: the suffix is another one.
    """
    target = Path(path)
    if target.suffix not in _WRITERS:
        got = f"suffix {target.suffix!r}"
        raise ValueError(message(f"table `{target}`", "a file name in .csv or .json", got, "choose one of the two"))
    target.write_text(_WRITERS[target.suffix](rows), encoding="utf-8")
