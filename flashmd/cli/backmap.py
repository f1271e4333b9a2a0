"""`flashmd backmap`: all-atom structures of a coarse-grained structure, trajectory or run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flashmd.errors import message

if TYPE_CHECKING:
    from flashmd.backmap import BackmapResult

_INTERRUPTED = 130
"""Exit status of programs that Ctrl-C has stopped."""

_SHOWN = (
    ("overlaps", "per 1000 atoms"),
    ("d_residues", "D residues"),
    ("ramachandran", "% outliers"),
    ("rings", "bonds through rings"),
    ("amber14_gbn2", "kcal/mol/residue"),
)


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("backmap")(backmap)


def backmap(
    structure: Annotated[
        Path, typer.Argument(metavar="INPUT", help="PDB or mmCIF file, another topology, or the folder of a run.")
    ],
    trajectory: Annotated[
        Path | None,
        typer.Argument(metavar="[TRAJECTORY]", help="XTC, DCD, TRR, HDF5 or PDB file of the atoms of INPUT."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="PDB, mmCIF, XTC, DCD or HDF5 file; left out for the folder of a run."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Structures of each frame.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    relax: Annotated[bool, typer.Option("--relax", help="Minimise each structure; CA atoms stay.")] = False,
    hydrogens: Annotated[bool, typer.Option("--hydrogens", help="Add hydrogens, and energies to the table.")] = False,
    md_check: Annotated[
        bool, typer.Option("--md-check", help="Run 5 ps of dynamics of each structure; adds hydrogens.")
    ] = False,
    beads: Annotated[
        str,
        typer.Option("--from", help="Atoms to hold: auto, ca, backbone, five_bead, centroid, or all there are."),
    ] = "auto",
    replace: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=STANDARD", help="Read a residue as a standard one; or `common`."),
    ] = None,
    gaps: Annotated[
        str, typer.Option(help="numbering, or distance: neighbours too far apart are always ends of a gap.")
    ] = "numbering",
    disulfides: Annotated[
        bool, typer.Option("--disulfides", help="Bond cysteines where the first frame allows it.")
    ] = False,
    frames: Annotated[str, typer.Option(metavar="START:STOP:STEP", help="Frames to take, counted from 0.")] = "::",
    coherence: Annotated[
        str, typer.Option(help="Noise along a trajectory: none, shared, or ou (Ornstein-Uhlenbeck).")
    ] = "none",
    correlation: Annotated[float, typer.Option(help="Frames in which the noise `ou` decays to 1/e.")] = 10.0,
    on_bad_frame: Annotated[
        str, typer.Option(help="stop, skip, or report: at a frame that is not that of a protein.")
    ] = "stop",
    steps: Annotated[int, typer.Option(help="Steps of the flow, 10 to 50.")] = 20,
    solver: Annotated[str, typer.Option(help="euler or heun.")] = "euler",
    noise_scale: Annotated[
        float, typer.Option(help="Noise of the start, 0 to 1: less gives likelier and less diverse structures.")
    ] = 1.0,
    without: Annotated[
        list[str] | None, typer.Option(metavar="TERM", help="Leave out a physical term of the flow, or `all`.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model: default, adjoint, or a file.")] = "default",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    temperature: Annotated[
        str | None, typer.Option(help="Of a run folder, the nearest temperature; the lowest by default.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the outputs of an earlier run.")] = False,
) -> None:
    """Make all-atom structures of a coarse-grained structure or trajectory.

    Beside the structures a table (OUT_quality.csv) and a summary (OUT_quality.json) are written, and for a trajectory
    one structure that names its atoms.
    """
    from rich.console import Console

    from flashmd.backmap import BackmapOptions
    from flashmd.backmap import backmap as run
    from flashmd.backmap.options import parse_frames

    choices: dict[str, Any] = {
        "beads": beads,
        "replace": tuple(replace or ()),
        "gaps": gaps,
        "samples": samples,
        "seed": seed,
        "model": model,
        "steps": steps,
        "solver": solver,
        "noise_scale": noise_scale,
        "physics": _terms(without or []),
        "relax": relax,
        "hydrogens": hydrogens,
        "md_check": md_check,
        "disulfides": disulfides,
        "coherence": coherence,
        "correlation": correlation,
        "frames": parse_frames(frames),
        "on_bad_frame": on_bad_frame,
        "device": device,
    }
    options = BackmapOptions(**choices)
    source, frames_of, target = _inputs(structure, trajectory, output, temperature)
    console = Console(stderr=True)
    try:
        result = run(source, frames_of, output=target, options=options, overwrite=overwrite, console=console)
    except KeyboardInterrupt:
        _tell_stopped(target)
        raise typer.Exit(_INTERRUPTED) from None
    _report(result)


def _tell_stopped(output: Path) -> None:
    """Say what an interrupted run has left and how to go on."""
    from flashmd.backmap.outputs import OutputFiles

    table = OutputFiles.table_of(output)
    if not table.exists():
        typer.echo("stopped before the first structure was written", err=True)
        return
    with table.open(encoding="utf-8", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    typer.echo(
        f"stopped: {output} is complete up to sample {last['sample'] or 0} of frame {last['frame']}; "
        f"`--frames {last['frame']}:` and another `-o` go on there",
        err=True,
    )


def _inputs(
    structure: Path, trajectory: Path | None, output: Path | None, temperature: str | None
) -> tuple[Path, Path | None, Path]:
    """Return structure, trajectory and output, those of a run where its folder is named."""
    from flashmd.backmap.run_folders import run_trajectory
    from flashmd.units import parse_quantity

    if not structure.is_dir():
        if temperature is not None:
            got = f"`{structure}`, which is none"
            raise ValueError(message("`--temperature`", "the folder of a run", got, "leave the option out"))
        if output is None:
            fix = "pass a file name, such as `-o all_atom.pdb`"
            raise ValueError(message("`--output`", "a file to write", "none", fix))
        return structure, trajectory, output
    if trajectory is not None:
        fix = "name the folder alone, or `topology.pdb` in it and the trajectory"
        raise ValueError(message("`flashmd backmap`", "one input", f"a folder and `{trajectory}`", fix))
    chosen = run_trajectory(structure, None if temperature is None else parse_quantity(temperature, "K"))
    typer.echo(f"taking {chosen.trajectory}")
    return chosen.topology, chosen.trajectory, output or chosen.output


def _terms(left_out: list[str]) -> tuple[str, ...]:
    """Return the physical terms that stay."""
    from flashmd.backmap.physics import TERMS

    if unknown := sorted(set(left_out) - {*TERMS, "all"}):
        fix = "correct it"
        raise ValueError(message("`--without`", f"`all` or one of {', '.join(TERMS)}", ", ".join(unknown), fix))
    return () if "all" in left_out else tuple(term for term in TERMS if term not in left_out)


def _counted(structures: int) -> str:
    return f"{structures} structure{'' if structures == 1 else 's'}"


def _report(result: BackmapResult) -> None:
    for note in result.notes:
        typer.echo(note)
    for bad in result.bad:
        done = "backmapped all the same" if bad.written else "left out"
        typer.echo(f"frame {bad.frame}, {done}: {bad.fault}", err=True)
    stages = [stage for stage in ("raw", "relaxed") if f"{stage}_overlaps" in result.medians]
    for name, unit in _SHOWN:
        if f"raw_{name}" in result.medians:
            values = ", ".join(f"{stage} {result.medians[f'{stage}_{name}']:.3g}" for stage in stages)
            typer.echo(f"median {name}: {values} {unit}")
    if "md_passed" in result.medians:
        failed = result.faults.get("md_fault", 0)
        typer.echo(f"short dynamics: {result.n_structures - failed} of {result.n_structures} structures passed")
    for column, count in result.faults.items():
        typer.echo(f"{_counted(count)} with an entry in the column {column}", err=True)
    if result.files is not None:
        names = ", ".join(str(path) for path in result.files.all if path.exists())
        typer.echo(f"wrote {_counted(result.n_structures)}: {names}")
