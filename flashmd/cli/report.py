"""`flashmd report`: a picture and a page of what a run has sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("report")(report)


def report(
    run_dir: Annotated[Path, typer.Argument(help="Folder written by `flashmd simulate`.")],
    native: Annotated[
        Path | None,
        typer.Option(help="Native structure (PDB) for RMSD and contacts; the run's `structure` by default."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="All-atom data set (NPZ) to compare with, mapped to the beads of the run.")
    ] = None,
    temperature: Annotated[
        str | None,
        typer.Option(help='Show the nearest temperature of the ladder, e.g. "340 K"; the lowest by default.'),
    ] = None,
    discard: Annotated[float, typer.Option(help="Fraction of the run left out at its start.")] = 0.1,
) -> None:
    """Write report.png and report.html into a run folder: free energies, stability, replica exchange."""
    from flashmd.report import write_report
    from flashmd.units import parse_quantity

    kelvin = None if temperature is None else parse_quantity(temperature, "K")
    paths = write_report(
        run_dir,
        native,
        reference_temperature=kelvin,
        reference_npz=reference,
        discard=discard,
    )
    typer.echo(f"wrote {paths.figure} and {paths.page}")
