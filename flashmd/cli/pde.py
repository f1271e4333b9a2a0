"""`flashmd pde bench`: corrections of trained surrogates, measured on problems with exact solutions."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashmd.errors import message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashmd.pde import BenchmarkResult

_COLUMNS = (
    "problem",
    "d",
    "before",
    "after",
    "standard error",
    "bias bound",
    "reduced by",
    "coverage",
    "train s",
    "correct s",
)
_DEFAULT = ["burgers:20"]


def register(app: typer.Typer) -> None:
    """Add the group of subcommands."""
    group = typer.Typer(name="pde", help="Correction of surrogates of parabolic problems.", no_args_is_help=True)
    group.callback()(_group)
    group.command("bench")(bench)
    app.add_typer(group)


def _group() -> None:
    """Correction of surrogates of parabolic problems."""


def bench(
    cases: Annotated[
        list[str] | None, typer.Argument(help="Problems and dimensions, such as `burgers:20 hamilton_jacobi:100`.")
    ] = None,
    method: Annotated[str, typer.Option(help="newton, linear, mlp or mlp-quad.")] = "newton",
    form: Annotated[str, typer.Option(help="auto, residual or martingale.")] = "residual",
    evaluations: Annotated[int, typer.Option(help="Evaluations of the surrogate for each point.")] = 420,
    steps: Annotated[int, typer.Option(help="Time steps of each path.")] = 7,
    grading: Annotated[float, typer.Option(help="Exponent of the time grid; 2 shortens the first steps.")] = 1.0,
    quadrature: Annotated[str, typer.Option(help="Rule over time, trapezoid or lobatto.")] = "trapezoid",
    points: Annotated[int, typer.Option(help="Points at which errors are measured.")] = 250,
    seeds: Annotated[int, typer.Option(help="Seeds of the test of the intervals.")] = 200,
    iterations: Annotated[int, typer.Option(help="Training steps; 0 takes a closed approximation.")] = 1000,
    variance: Annotated[
        list[str] | None, typer.Option(help="Variance reduction: antithetic (the default), sobol, coefficient, none.")
    ] = None,
    hard: Annotated[bool, typer.Option(help="Build the terminal value into the network.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of training and noise.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Folder for the numbers and a figure.")] = None,
) -> None:
    """Train a surrogate of each case, correct it, and compare with the exact solution.

    Errors are relative, in the Euclidean norm over all points.
    """
    from flashmd.pde import BenchmarkPlan, CorrectionSettings, SurrogateTraining, reference_problem, run_benchmark

    reductions = tuple(name for name in variance or ["antithetic"] if name != "none")
    training = SurrogateTraining(iterations=iterations, hard_terminal=hard, seed=seed) if iterations else None
    settings = CorrectionSettings(
        rtol=0.0,
        evaluations_per_point=evaluations,
        steps=steps,
        grading=grading,
        quadrature=quadrature,
        seed=seed,
        replicates=2,
        variance=reductions,
    )
    plan = BenchmarkPlan(training, settings, method, form, n_points=points, seeds=seeds)
    results = []
    typer.echo("  ".join(name.rjust(_width(name)) for name in _COLUMNS))
    for name, d in map(parse_case, cases or _DEFAULT):
        results.append(run_benchmark(reference_problem(name, d), plan))
        typer.echo(_row(results[-1]))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        numbers = [{**asdict(result), "reduction": result.reduction} for result in results]
        (output / "pde_bench.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
        write_figure(results, output / "pde_bench.png")


def parse_case(text: str) -> tuple[str, int]:
    """Return name and dimension of ``name:d``.

    >>> parse_case("burgers:20")
    ('burgers', 20)
    """
    name, colon, d = text.partition(":")
    if not colon or not d.isdecimal() or int(d) < 1:
        raise ValueError(message("a case", "`name:d` with a positive d", repr(text), "write `burgers:20`, for example"))
    return name, int(d)


def write_figure(results: Sequence[BenchmarkResult], path: Path) -> None:
    """Draw errors before and after the correction, with the error that the correction states itself."""
    from flashmd.report import style

    with style.styled():
        figure = style.new_figure(7.0, 0.9 + 0.34 * len(results))
        axes = figure.add_axes((0.3, 0.22, 0.66, 0.66))
        rows = range(len(results))
        axes.hlines(rows, [r.after for r in results], [r.before for r in results], color=style.RULE, lw=3.0)
        axes.plot([r.before for r in results], rows, "o", color=style.REFERENCE, label="surrogate")
        axes.plot([r.after for r in results], rows, "o", color=style.MODEL, label="corrected")
        axes.plot([r.standard_error for r in results], rows, "|", color=style.INK, ms=11, label="its standard error")
        axes.set_xscale("log")
        axes.set_ylim(len(results) - 0.5, -0.5)
        axes.set_yticks(list(rows), [f"{r.problem}, d = {r.d}" for r in results])
        axes.set_xlabel("relative error")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
        figure.savefig(path, dpi=160)


def _row(result: BenchmarkResult) -> str:
    numbers = (result.before, result.after, result.standard_error, result.bias_bound)
    cells = [result.problem, str(result.d), *(f"{number:.2e}" for number in numbers)]
    cells += [f"{result.reduction:.0%}", f"{result.coverage:.1%}"]
    cells += [f"{result.training_seconds:.0f}", f"{result.seconds:.1f}"]
    return "  ".join(cell.rjust(_width(name)) for cell, name in zip(cells, _COLUMNS, strict=True))


def _width(column: str) -> int:
    return 18 if column == "problem" else max(8, len(column))
