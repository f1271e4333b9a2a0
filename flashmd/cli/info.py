"""`flashmd info`: what a model file holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flashmd.cli._files import open_model

if TYPE_CHECKING:
    from flashmd.potential import Potential
    from flashmd.system import System


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("info")(info)


def info(
    model: Annotated[str, typer.Argument(help="Model or configurations: a flashmd or mlcg file, or a shipped model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show terms, sizes, cutoffs, bead types and origin of a model, and the configurations that come with it."""
    import torch

    potential, systems = open_model(model, dtype=torch.float64)
    content = describe(model, potential, systems)
    if as_json:
        typer.echo(json.dumps(content))
    else:
        _print(content)


def describe(name: str, potential: Potential | None, systems: list[System]) -> dict[str, Any]:
    """Return everything about a file as JSON values."""
    path = Path(name)
    content: dict[str, Any] = {"file": name}
    if path.is_file():
        content |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    if potential is not None:
        content |= _describe_model(potential)
    if systems:
        beads = sorted({system.n_atoms for system in systems})
        content["configurations"] = {"n_systems": len(systems), "n_beads": beads}
    if potential is None and not systems:
        content["restart"] = _describe_restart(path)
    return content


def _describe_restart(path: Path) -> dict[str, int]:
    """Return facts of the one kind of file that holds neither a model nor configurations."""
    from flashmd.potential.mlcg_import import load_any

    state = load_any(path).restart
    return {} if state is None else {"n_beads": state.positions.shape[0], "step": state.step}


def _describe_model(potential: Potential) -> dict[str, Any]:
    from flashmd.potential.resolution import term_potentials

    terms = []
    for name, term in term_potentials(potential).items():
        entry: dict[str, Any] = {"name": name, "class": type(term).__name__}
        entry["n_parameters"] = sum(v.numel() for v in term.state_dict().values() if v.is_floating_point())
        config = getattr(term, "config", None)
        if config is not None:
            entry["config"] = config.to_dict()
        terms.append(entry)
    return {
        "cutoff_nm": potential.cutoff,
        "n_parameters": sum(term["n_parameters"] for term in terms),
        "bead_types": potential.bead_types,
        "metadata": potential.metadata,
        "terms": terms,
    }


def _print(content: dict[str, Any]) -> None:
    """Print one line for each fact, whole however long, and one row for each term."""
    from rich.console import Console
    from rich.table import Table

    for key, value in _facts(content).items():
        typer.echo(f"{key:<16}{value}")
    if "terms" not in content:
        return
    table = Table("term", "class", "parameters")
    for term in content["terms"]:
        table.add_row(term["name"], term["class"], str(term["n_parameters"]))
        if "config" in term:
            table.add_row("", ", ".join(f"{k}={v}" for k, v in term["config"].items()), "")
    Console().print(table)


def _facts(content: dict[str, Any]) -> dict[str, str]:
    """Return everything but the terms as text."""
    facts: dict[str, str] = {}
    for key, value in content.items():
        if key == "bead_types":
            facts[key] = "not named" if value is None else ", ".join(f"{k}={v}" for k, v in value.items())
        elif key == "configurations":
            facts[key] = f"{value['n_systems']} of {', '.join(map(str, value['n_beads']))} beads"
        elif key == "metadata":
            for name, entry in value.items():
                facts.setdefault(name, json.dumps(entry) if isinstance(entry, (dict, list)) else str(entry))
        elif key != "terms":
            facts[key] = str(value)
    return facts
