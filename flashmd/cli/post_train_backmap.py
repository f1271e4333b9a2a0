"""`flashmd post-train-backmap`: lower the energies of the structures that a backmapping model draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flashmd.backmap.adjoint import PostPoint


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("post-train-backmap")(post_train_backmap)


def post_train_backmap(config: Annotated[Path, typer.Argument(help="YAML file of the post-training.")]) -> None:
    """Post-train a backmapping model with a force field; started again, it continues where it was interrupted.

    The exit code is 1 where the held-out energy did not fall or no weight moved; no model is written then.
    """
    from flashmd.backmap.adjoint import load_config
    from flashmd.backmap.adjoint import post_train as run
    from flashmd.backmap.adjoint.post_training import MODEL_FILE

    settings = load_config(config)
    result = run(settings, on_report=_show)
    typer.echo(
        f"held-out median energy {result.before:.2f} before, {result.after:.2f} after (kJ/mol for each residue); "
        f"weights moved by {result.moved:.1e}; model in {settings.output / MODEL_FILE}"
    )


def _show(point: PostPoint) -> None:
    typer.echo(
        f"step {point.step}: loss {point.loss:.4g}, energy {point.train_energy:.2f} in training, "
        f"{point.validation_energy:.2f} held out (kJ/mol for each residue), spread {point.spread:.4f} nm, "
        f"{point.failed} without energy; {point.seconds:.0f} s"
    )
