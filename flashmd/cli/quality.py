"""`flashmd quality`: how good all-atom structures are, alone or against a reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashmd.errors import message

if TYPE_CHECKING:
    from torch import Tensor

    from flashmd.backmap.chains import Chains
    from flashmd.backmap.force_fields import Molecule
    from flashmd.backmap.quality.table import Row

_SHOWN = 6
_WRITABLE = (".csv", ".json")


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("quality")(quality)


def quality(
    structure: Annotated[Path, typer.Argument(metavar="MODEL", help="PDB or mmCIF file, or another topology.")],
    trajectory: Annotated[Path | None, typer.Argument(help="XTC, DCD, TRR or HDF5 file of the atoms of MODEL.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Structure to compare with, such as the native one.")] = None,
    output: Annotated[
        list[Path] | None, typer.Option("-o", "--output", help="CSV or JSON file of all frames; may be given twice.")
    ] = None,
    energies: Annotated[bool, typer.Option("--energies", help="Add hydrogens and evaluate force fields.")] = False,
    md_check: Annotated[
        bool, typer.Option("--md-check", help="Run 5 ps of dynamics of each frame; includes the energies.")
    ] = False,
    replace: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=STANDARD", help="Read a residue as a standard one; or `common`."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace tables that exist.")] = False,
) -> None:
    """Measure bonds, overlaps, handedness, torsions and deviations of structures, and print and write a table."""
    from flashmd.backmap.quality import as_text, medians, place_reference, read_structures, write_table

    for path in output or []:
        _check_output(path, overwrite)
    replacements = tuple(replace or ())
    model = read_structures(structure, trajectory, replace=replacements)
    target = None
    if reference is not None:
        target = place_reference(model.chains, read_structures(reference, replace=replacements))
    measure = _Measures(model.chains, target, _molecule(model.chains) if energies or md_check else None)
    rows: list[Row] = []
    for frames in model.frames():
        rows += measure(frames, [str(len(rows) + index) for index in range(len(frames))], dynamics=md_check)
    for path in output or []:
        write_table(path, rows)
    shown = [*rows[:_SHOWN], medians(rows)] if len(rows) > 1 else [*rows]
    if target is not None:
        shown += measure(target[None], ["reference"], dynamics=False)
    typer.echo(as_text(shown))
    if len(rows) > _SHOWN:
        typer.echo(f"frames 0 to {_SHOWN - 1} of {len(rows)}, and the median of all")


def _check_output(path: Path, overwrite: bool) -> None:
    if path.suffix not in _WRITABLE:
        got = f"suffix {path.suffix!r}"
        raise ValueError(message(f"table `{path}`", "a file name in .csv or .json", got, "choose one of the two"))
    if path.exists() and not overwrite:
        fix = "choose another name, or pass `--overwrite`"
        raise ValueError(message(f"table `{path}`", "a new file", "one that exists", fix))


def _molecule(chains: Chains) -> Molecule:
    from flashmd.backmap.force_fields import Molecule

    return Molecule.of(chains)


@dataclass(frozen=True)
class _Measures:
    """What is asked of each structure."""

    chains: Chains
    target: Tensor | None
    molecule: Molecule | None

    def __call__(self, frames: Tensor, names: list[str], *, dynamics: bool) -> list[Row]:
        """Return one row for each frame, [n_frames, n_residues, 14, 3]."""
        from flashmd.backmap.quality import assess, rows_of

        measures = assess(self.chains, frames, self.target)
        if self.molecule is not None:
            from flashmd.backmap.force_fields import assess_energies

            measures |= assess_energies(self.molecule, frames, dynamics=dynamics)
        return rows_of(measures, names)
