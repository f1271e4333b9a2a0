"""`flashmd train`: fit priors and a SchNet to mapped forces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flashmd.train.state import CurvePoint


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("train")(train)


def train(config: Annotated[Path, typer.Argument(help="YAML file of the training.")]) -> None:
    """Train a coarse-grained model on mapped forces; started again, it continues where it was interrupted."""
    from flashmd.train import load_config
    from flashmd.train import train as run

    settings = load_config(config)
    result = run(settings, on_epoch=_show)
    for name, metrics in result.metrics.items():
        typer.echo(
            f"{name}: {metrics.n_frames} frames of {metrics.n_trajectories} trajectories, mean square force error "
            f"{metrics.model:.1f} (kJ/mol/nm)^2, {metrics.prior:.1f} with the priors alone, "
            f"{100.0 * metrics.explained:.2f} % explained"
        )
    typer.echo(f"model in {settings.output / 'model.safetensors'}")


def _show(point: CurvePoint) -> None:
    typer.echo(
        f"epoch {point.epoch}: training {point.train:.1f}, validation {point.validation:.1f} (kJ/mol/nm)^2, "
        f"{point.seconds:.0f} s"
    )
