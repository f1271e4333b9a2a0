"""`flashmd train-backmap`: fit a backmapping model to structures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flashmd.backmap.training.state import Point


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("train-backmap")(train_backmap)


def train_backmap(config: Annotated[Path, typer.Argument(help="YAML file of the training.")]) -> None:
    """Train a backmapping model; started again, it continues where it was interrupted."""
    from flashmd.backmap.training import load_config
    from flashmd.backmap.training import train as run
    from flashmd.backmap.training.run import MODEL_FILE

    settings = load_config(config)
    run(settings, on_report=_show)
    typer.echo(f"model in {settings.output / MODEL_FILE}")


def _show(point: Point) -> None:
    typer.echo(
        f"step {point.step}: velocity {point.velocity:.4f}, distance {point.distance:.5f}, conformers "
        f"{point.conformer:.3f}; validation {point.validation_velocity:.4f}, {point.validation_distance:.5f}, "
        f"{point.validation_conformer:.3f}; {point.seconds:.0f} s"
    )
