"""The `flashmd` command: its subcommands, its version, and one line for every error a user can cause."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flashmd import __version__
from flashmd.cli import (
    backmap,
    convert,
    energy,
    info,
    pde,
    post_train_backmap,
    quality,
    report,
    simulate,
    train,
    train_backmap,
)
from flashmd.errors import FlashMDError


class _Group(TyperGroup):
    """Shows the errors that describe a wrong argument or a state of the run as one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except (FlashMDError, ValueError, OSError) as error:
            text = " ".join(str(error).split())
            typer.secho(f"error: {text}", err=True, fg=typer.colors.RED)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Group,
    name="flashmd",
    help="Molecular simulation with learned coarse-grained potentials.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS = (convert, info, energy, train, simulate, report, train_backmap, post_train_backmap, backmap, quality, pde)
for _command in _COMMANDS:
    _command.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flashmd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Molecular simulation with learned coarse-grained potentials."""


def main() -> None:
    """Run the command line."""
    app()
