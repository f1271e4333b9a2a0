"""`flashmd energy`: energies by term and root mean square forces of structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flashmd.cli._files import open_model, open_structures, parse_dtype
from flashmd.errors import message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashmd.potential import Potential
    from flashmd.system import System

_BATCH = 16


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("energy")(energy)


def energy(
    model: Annotated[str, typer.Argument(help="Model: a flashmd or mlcg file, or the name of a shipped model.")],
    structures: Annotated[
        str | None,
        typer.Argument(
            help="PDB, trajectory, mlcg configurations or restart file; left out where MODEL holds configurations."
        ),
    ] = None,
    topology: Annotated[str | None, typer.Option(help="Structure file that describes a trajectory.")] = None,
    resolution: Annotated[str | None, typer.Option(help="Map atoms to `ca` or `five_bead` beads.")] = None,
    dtype: Annotated[str, typer.Option(help="Precision, float64 or float32.")] = "float64",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print energies (kJ/mol) by term and the root mean square force (kJ/mol/nm) of each frame."""
    precision = parse_dtype(dtype)
    potential, systems = open_model(model, dtype=precision)
    if potential is None:
        fix = "pass the model first and the configurations second"
        raise ValueError(message(f"model `{model}`", "a model", "a file without one", fix))
    if structures is not None and not (systems and Path(structures).resolve() == Path(model).resolve()):
        systems = open_structures(
            structures,
            topology=topology,
            model=potential,
            described=systems,
            resolution=resolution,
            dtype=precision,
        )
    if not systems:
        fix = "name a file of structures after the model"
        raise ValueError(message("structures", "a file", "none, and the model file holds no configurations", fix))
    frames = evaluate_frames(potential, systems)
    if as_json:
        units = {"energy": "kJ/mol", "force_rms": "kJ/mol/nm"}
        typer.echo(json.dumps({"model": model, "units": units, "frames": frames}))
    else:
        _print_table(frames)


def evaluate_frames(potential: Potential, systems: Sequence[System]) -> list[dict[str, Any]]:
    """Return energy, terms and root mean square force (over all components of all beads) of each system."""
    from flashmd.system import System

    frames: list[dict[str, Any]] = []
    for begin in range(0, len(systems), _BATCH):
        batch = System.concatenate(systems[begin : begin + _BATCH])
        potential.check(batch)
        result = potential.evaluate(batch)
        terms = {name: value.detach().tolist() for name, value in potential.terms(batch).items()}
        sizes = batch.ptr.diff()
        square = result.forces.double().square().sum(-1)
        total = square.new_zeros(batch.n_systems).index_add_(0, batch.batch, square)
        rms = (total / (3 * sizes)).sqrt().tolist()
        for index, value in enumerate(result.energy.tolist()):
            own = {name: values[index] for name, values in terms.items()}
            frames.append({"energy": value, "terms": own, "force_rms": rms[index]})
    return frames


def _print_table(frames: list[dict[str, Any]]) -> None:
    """Print one row for each frame; rows are plain text, so that they can be piped."""
    names = list(frames[0]["terms"])
    header = ["frame", "energy", "force_rms", *(names if len(names) > 1 else [])]
    rows = [header]
    for index, frame in enumerate(frames):
        values = [frame["energy"], frame["force_rms"], *(frame["terms"][name] for name in header[3:])]
        rows.append([str(index), *(f"{value:.6f}" for value in values)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        typer.echo("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    typer.echo("energies in kJ/mol, root mean square force in kJ/mol/nm")
