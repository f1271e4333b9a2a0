"""`flashmd convert`: a foreign model becomes a flashmd model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flashmd.cli._files import open_model
from flashmd.errors import message


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("convert")(convert)


def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="mlcg model, prior or Lightning checkpoint.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File to write, `.safetensors`.")],
) -> None:
    """Read a model of the CGSchNet family, without running anything in it, and write it as a flashmd model."""
    import torch

    from flashmd.potential import checkpoint

    if target.suffix != ".safetensors":
        raise ValueError(message("`OUT`", "a `.safetensors` file", f"`{target}`", "change the suffix"))
    potential, _ = open_model(source, dtype=torch.float64)
    if potential is None:
        fix = "pass a file that holds a model; configurations are read as they are"
        raise ValueError(message(f"`{source}`", "a model", "configurations alone", fix))
    # Double precision keeps the conversion exact: units are folded into the weights.
    checkpoint.save(potential, target, potential.metadata)
    typer.echo(f"wrote {target} (sha256 {checkpoint.model_hash(target)})")
