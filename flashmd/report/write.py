"""Write the report of a run: one picture and one page."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from flashmd.report.figure import DPI, PANELS, report_figure
from flashmd.report.page import page
from flashmd.report.results import analyze
from flashmd.report.style import styled


@dataclass(frozen=True)
class ReportPaths:
    """Files of a report.

    Attributes:
        figure: report.png.
        page: report.html, which holds the figure too.
    """

    figure: Path
    page: Path


def write_report(
    run_dir: str | Path,
    native_pdb: str | Path | None,
    *,
    reference_temperature: float | None = None,
    reference_npz: str | Path | None = None,
    discard: float = 0.1,
) -> ReportPaths:
    """Write report.png and report.html into a run folder.

    Args:
        run_dir: folder written by `flashmd simulate`; the run may still be going on.
        native_pdb: structure that RMSD and native contacts refer to; its C-alpha atoms are used. None is the
            `structure` of the run's configuration, which is right where that is the native one.
        reference_temperature: K, the nearest temperature of the ladder is shown; the lowest by default.
        reference_npz: all-atom data set, mapped to the beads of the run, to compare with. Arrays `positions`
            [n_frames, n_beads, 3] in nm and `temperature` in K; `potential` (kJ/mol), `trajectory` and `weights` are
            used where they are there (`flashmd.report.native.read_reference`).
        discard: fraction of the run, from its start, taken as equilibration.

    Raises:
        IncompleteRunError: the folder lacks what a report needs.
        ValueError: the native structure or the data set does not fit the run.

    Example:
        >>> from flashmd.report import write_report
        >>> write_report("runs/chignolin", "native.pdb", reference_temperature=340.0)  # doctest: +SKIP
        ReportPaths(figure=PosixPath('runs/chignolin/report.png'), page=PosixPath('runs/chignolin/report.html'))
    """
    results = analyze(
        run_dir,
        native_pdb,
        reference_temperature=reference_temperature,
        reference_npz=reference_npz,
        discard=discard,
    )
    whole, below_header = io.BytesIO(), io.BytesIO()
    with styled():
        figure = report_figure(results)
        figure.savefig(whole, format="png", dpi=DPI)
        figure.savefig(below_header, format="png", dpi=DPI, bbox_inches=PANELS)
    paths = ReportPaths(results.run.folder.path / "report.png", results.run.folder.path / "report.html")
    paths.figure.write_bytes(whole.getvalue())
    paths.page.write_text(page(results, below_header.getvalue()), encoding="utf-8")
    return paths
