"""Write the comparison of a run with its all-atom reference: a picture, all numbers as JSON, a table for a text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import flashmd
from flashmd.analysis import Comparison, FreeEnergy, Summary, compare
from flashmd.report.ensembles import ensemble_at, lowest_rmsd
from flashmd.report.figure import DPI, comparison_figure, percent
from flashmd.report.native import read_native, read_reference
from flashmd.report.page import number, with_error
from flashmd.report.run import read_run
from flashmd.report.style import styled


@dataclass(frozen=True)
class ComparisonPaths:
    """Files of a comparison.

    Attributes:
        figure: comparison.png.
        numbers: comparison.json, populations and profiles with errors.
        table: comparison.md.
    """

    figure: Path
    numbers: Path
    table: Path


def write_comparison(
    run_dir: str | Path,
    reference_npz: str | Path,
    *,
    native_pdb: str | Path,
    output: str | Path,
    temperature: float,
    discard: float = 0.1,
) -> ComparisonPaths:
    """Compare a run with all-atom data at one temperature and write what was found.

    Args:
        run_dir: folder written by `flashmd simulate`. A temperature between two of the ladder is reached by MBAR.
        reference_npz: all-atom data set (`flashmd.report.native.read_reference`).
        native_pdb: native structure.
        output: folder for the files, made where it is absent.
        temperature: K.
        discard: fraction of the run, from its start, taken as equilibration.

    Raises:
        IncompleteRunError: the folder lacks what is needed.
        ValueError: structure or data set do not fit, or the temperature cannot be reached.
    """
    run = read_run(run_dir)
    native = read_native(native_pdb, run)
    model = ensemble_at(run, native, temperature, discard=discard)
    reference = read_reference(reference_npz, native, n_beads=len(run.atom_names), temperature=temperature)
    result = compare(model, reference, native.positions)
    _, reached = lowest_rmsd(run, native, result.basins)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    paths = ComparisonPaths(*(folder / f"comparison.{suffix}" for suffix in ("png", "json", "md")))
    with styled():
        comparison_figure(result).savefig(paths.figure, dpi=DPI)
    content = comparison_numbers(result, unfolded_start_rmsd=reached, provenance=run.notes)
    paths.numbers.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    paths.table.write_text(comparison_table(result, unfolded_start_rmsd=reached), encoding="utf-8")
    return paths


def comparison_numbers(
    comparison: Comparison, *, unfolded_start_rmsd: float | None, provenance: tuple[str, ...]
) -> dict[str, Any]:
    """Return a comparison as JSON values; what is not finite is None.

    Args:
        comparison: the comparison.
        unfolded_start_rmsd: nm, smallest RMSD of the replicas that started unfolded.
        provenance: lines on the run.
    """
    return {
        "flashmd": flashmd.__version__,
        "run": list(provenance),
        "units": {"free_energy": "kJ/mol", "rmsd": "nm", "temperature": "K"},
        "basins": asdict(comparison.basins),
        "minimum_rmsd_of_unfolded_starts": unfolded_start_rmsd,
        "model": _summary_numbers(comparison.model),
        "reference": _summary_numbers(comparison.reference),
        "difference": {name: _finite(asdict(getattr(comparison, name))) for name in ("q", "rmsd")},
    }


def comparison_table(comparison: Comparison, *, unfolded_start_rmsd: float | None) -> str:
    """Return a comparison as a Markdown table.

    Args:
        comparison: the comparison.
        unfolded_start_rmsd: nm, smallest RMSD of the replicas that started unfolded.
    """
    model, reference = comparison.model, comparison.reference
    started = "\N{EN DASH}" if unfolded_start_rmsd is None else number(unfolded_start_rmsd, 3)
    rows = [
        [f"at {model.temperature:g} K", model.label, reference.label],
        ["---", "---", "---"],
        [f"folded (RMSD < {comparison.basins.folded_rmsd:g} nm)", percent(model.folded), percent(reference.folded)],
        [
            f"unfolded (RMSD > {comparison.basins.unfolded_rmsd:g} nm)",
            percent(model.unfolded),
            percent(reference.unfolded),
        ],
        ["folding free energy / kJ/mol", *(with_error(s.folding_free_energy) for s in (model, reference))],
        ["mean fraction of native contacts", *(with_error(s.mean_q, 3) for s in (model, reference))],
        ["smallest RMSD / nm", *(number(s.minimum_rmsd, 3) for s in (model, reference))],
        ["smallest RMSD from unfolded starts / nm", started, "\N{EN DASH}"],
        ["rms difference of profiles along Q / kJ/mol", number(comparison.q.rms), ""],
        ["rms difference of profiles along the RMSD / kJ/mol", number(comparison.rmsd.rms), ""],
        ["overlap of densities along Q", number(comparison.q.overlap), ""],
        ["overlap of densities along the RMSD", number(comparison.rmsd.overlap), ""],
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _summary_numbers(summary: Summary) -> dict[str, Any]:
    names = ("folded", "unfolded", "folding_free_energy", "mean_q")
    return {
        "label": summary.label,
        "temperature": summary.temperature,
        "n_frames": summary.n_frames,
        "minimum_rmsd": summary.minimum_rmsd,
        **{name: _finite(asdict(getattr(summary, name))) for name in names},
        "rmsd_profile": _profile(summary.rmsd_profile),
        "q_profile": _profile(summary.q_profile),
    }


def _profile(profile: FreeEnergy) -> dict[str, Any]:
    return {
        "center": profile.centers[0].round(6).tolist(),
        "value": _listed(profile.values),
        "error": _listed(profile.error),
        "count": profile.counts.tolist(),
    }


def _listed(values: Any) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
