"""`flashmd train`: fit a SchNet and priors to mapped forces, or to energies and forces of molecules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flashmd.train.output import SetMetrics
    from flashmd.train.state import CurvePoint


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("train")(train)


def train(config: Annotated[Path, typer.Argument(help="YAML file of the training.")]) -> None:
    """Train a model; started again, it continues where it was interrupted."""
    from flashmd.train import load_config
    from flashmd.train import train as run

    settings = load_config(config)
    result = run(settings, on_epoch=_show)
    for name, metrics in result.metrics.items():
        typer.echo(
            f"{name}: {metrics.n_frames} frames of {metrics.n_trajectories} trajectories, mean square force error "
            f"{metrics.model:.1f} (kJ/mol/nm)^2, {metrics.prior:.1f} without the network, "
            f"{100.0 * metrics.explained:.2f} % explained{_energy(metrics)}"
        )
    typer.echo(f"model in {settings.output / 'model.safetensors'}")


def _energy(metrics: SetMetrics) -> str:
    return "" if metrics.energy is None else f", error {metrics.energy:.3f} kJ/mol of energy for each atom"


def _show(point: CurvePoint) -> None:
    typer.echo(
        f"epoch {point.epoch}: training {point.train:.1f}, validation {point.validation:.1f} (kJ/mol/nm)^2, "
        f"{point.seconds:.0f} s"
    )
