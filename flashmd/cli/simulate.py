"""`flashmd simulate`: run molecular dynamics from a YAML file, or continue a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashmd.errors import ConfigurationError, message

if TYPE_CHECKING:
    from flashmd.md import RunConfig, RunSummary


def register(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command("simulate")(simulate)


def simulate(
    config: Annotated[Path | None, typer.Argument(help="YAML file that describes the run.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace a value; may be repeated.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="DIR", help="Continue the run in this folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run in the output folder.")] = False,
) -> None:
    """Run replica-exchange molecular dynamics of a coarse-grained model.

    Ctrl-C leaves a checkpoint; `--resume DIR` continues it exactly where it stopped. With `--resume`, `--set` may
    change `n_steps` or `duration`, `checkpoint_interval`, `threads` and `device`, and name files that have moved.
    """
    from flashmd.md.prepare import prepare
    from flashmd.md.simulate import simulate as run

    chosen = _configuration(config, set_ or [], resume=resume, overwrite=overwrite)
    summary = run(prepare(chosen), resume=resume is not None, overwrite=overwrite)
    _report(summary)
    if summary.interrupted is not None:
        raise typer.Exit(128 + summary.interrupted)


def _configuration(config: Path | None, overrides: list[str], *, resume: Path | None, overwrite: bool) -> RunConfig:
    from flashmd.md import load_config
    from flashmd.md.run_folder import RunFolder

    if (config is None) == (resume is None):
        fix = "run `flashmd simulate run.yaml` or `flashmd simulate --resume DIR`"
        got = "neither" if config is None else "both"
        raise ConfigurationError(message("`flashmd simulate`", "a YAML file or `--resume DIR`", got, fix))
    if config is not None:
        return load_config(config, overrides)
    if overwrite:
        fix = "leave out one of the two"
        raise ConfigurationError(message("`flashmd simulate`", "`--resume` or `--overwrite`", "both", fix))
    folder = Path(str(resume)).resolve()
    if not RunFolder(folder).config.exists():
        fix = "pass the folder that is the `output` of a run"
        raise ConfigurationError(message(f"`--resume {resume}`", "the folder of a run", "no config.resolved.yaml", fix))
    return load_config(RunFolder(folder).config, overrides).model_copy(update={"output": folder})


def _report(summary: RunSummary) -> None:
    end = "finished" if summary.finished else "stopped, a checkpoint is written"
    speed = f"{summary.ns_per_day:,.0f} ns/day of all replicas together"
    typer.echo(f"step {summary.step}: {end}; {speed if summary.ns_per_day else 'nothing was left to do'}")
    if sum(summary.proposed):
        pairs = zip(summary.accepted, summary.proposed, strict=True)
        rates = " ".join(f"{accepted / max(proposed, 1):.2f}" for accepted, proposed in pairs)
        typer.echo(f"accepted exchanges of neighbouring temperatures: {rates}")
    if not summary.finished:
        typer.echo(f"continue with: flashmd simulate --resume {summary.folder}")
    typer.echo(f"files in {summary.folder}")
