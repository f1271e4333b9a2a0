"""The loop that runs molecular dynamics and continues a run bit by bit where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from flashmd.md.active_run import ActiveRun
from flashmd.md.interruption import Interruption
from flashmd.md.plan import RunPlan
from flashmd.md.progress import ProgressReport


@dataclass(frozen=True)
class RunSummary:
    """How a call of `simulate` ended.

    Attributes:
        folder: of the run.
        step: last step; a checkpoint of it is in the folder.
        finished: whether all steps of the configuration are made.
        interrupted: number of the signal that stopped the run, or None.
        ns_per_day: speed of all replicas together.
        proposed: exchanges proposed to each pair of neighbouring temperatures.
        accepted: exchanges accepted.
    """

    folder: Path
    step: int
    finished: bool
    interrupted: int | None
    ns_per_day: float
    proposed: list[int]
    accepted: list[int]


def simulate(
    plan: RunPlan, *, resume: bool = False, overwrite: bool = False, console: Console | None = None
) -> RunSummary:
    """Run replica-exchange Langevin dynamics to the last step or the first SIGINT or SIGTERM.

    Args:
        plan: from `prepare`, or put together by hand with any energy model.
        resume: continue the run in `plan.config.output` from its checkpoint.
        overwrite: replace a run that is in the folder.
        console: where to report; standard error by default.

    Raises:
        ConfigurationError: there is a run in the folder already.
        CheckpointError: the run cannot be continued with this plan.
        NonFiniteForceError: a replica exploded.
        OutputError: the disk is full or not writable.
    """
    run = ActiveRun(plan)
    run.start(resume=resume, overwrite=overwrite)
    console = console or Console(stderr=True)
    for note in plan.notes:
        console.print(note, highlight=False, soft_wrap=True, markup=False)
    report = ProgressReport(
        first_step=run.state.step,
        n_steps=plan.config.n_steps,
        time_step=plan.config.time_step,
        n_replicas=plan.config.n_replicas,
        console=console,
    )
    with Interruption() as interruption, report:
        while run.state.step < plan.config.n_steps and interruption.received is None:
            run.chunk(lambda: interruption.received is not None)
            report.update(run.state.step)
        run.checkpoint()
        if report.simulated(run.state.step) > 0:
            run.folder.add_performance(simulated_ns=report.simulated(run.state.step), wall_s=report.elapsed())
    step = run.state.step
    return RunSummary(
        folder=run.folder.path,
        step=step,
        finished=step >= plan.config.n_steps,
        interrupted=interruption.received,
        ns_per_day=report.nanoseconds_per_day(step),
        proposed=run.exchanges.proposed.tolist(),
        accepted=run.exchanges.accepted.tolist(),
    )
