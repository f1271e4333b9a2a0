"""Everything a report shows, computed once from a run: the figure and the page only draw it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flashmd.analysis import Basins, Blocks, Comparison, Estimate, Summary, round_trips, summarize
from flashmd.analysis.bootstrap import DEFAULT_BLOCKS
from flashmd.analysis.compare import DEFAULT_BASINS, compare
from flashmd.errors import message
from flashmd.report.ensembles import lowest_rmsd, rung_ensemble
from flashmd.report.native import Native, read_native, read_reference
from flashmd.report.run import Run, read_run
from flashmd.report.types import FloatArray, IntArray


@dataclass(frozen=True)
class Rung:
    """One temperature of the ladder.

    Attributes:
        temperature: K.
        n_frames: frames used.
        folded: population of the folded basin.
        unfolded: population of the unfolded basin.
        minimum_rmsd: nm.
        kinetic: mean kinetic temperature, K.
        energy: mean potential energy, kJ/mol.
    """

    temperature: float
    n_frames: int
    folded: Estimate
    unfolded: Estimate
    minimum_rmsd: float
    kinetic: float
    energy: float


@dataclass(frozen=True)
class Results:
    """What a report shows.

    Attributes:
        run: the run.
        native: the native structure.
        model: the run at the reported temperature.
        comparison: the run beside all-atom data at this temperature, or None.
        source: file of the all-atom data and its SHA-256, or None.
        rungs: every temperature.
        round_trips: [n_replicas].
        minimum_rmsd: nm, smallest of all frames.
        unfolded_start_rmsd: nm, smallest of the replicas that started unfolded, or None (`lowest_rmsd`).
        basins: definition of folded and unfolded.
        blocks: how errors are estimated.
        discard: fraction of the run left out at its start.
    """

    run: Run
    native: Native
    model: Summary
    comparison: Comparison | None
    source: tuple[str, str] | None
    rungs: tuple[Rung, ...]
    round_trips: IntArray
    minimum_rmsd: float
    unfolded_start_rmsd: float | None
    basins: Basins
    blocks: Blocks
    discard: float

    @property
    def reference(self) -> Summary | None:
        """The all-atom data at the same temperature."""
        return None if self.comparison is None else self.comparison.reference


def analyze(
    run_dir: str | Path,
    native_pdb: str | Path | None,
    *,
    reference_temperature: float | None = None,
    reference_npz: str | Path | None = None,
    discard: float = 0.1,
) -> Results:
    """Read a run folder and compute what a report shows.

    Args:
        run_dir: folder written by `flashmd simulate`.
        native_pdb: native structure; None is the `structure` of the run's configuration.
        reference_temperature: K, the nearest temperature of the ladder is shown; the lowest by default.
        reference_npz: all-atom data set to compare with.
        discard: fraction of the run, from its start, taken as equilibration.

    Raises:
        IncompleteRunError: the folder lacks what is needed.
        ValueError: the native structure or the data set does not fit, or `discard` is not a fraction.
    """
    if not 0.0 <= discard < 1.0:
        raise ValueError(message("`discard`", "a fraction from 0 to below 1", f"{discard:g}", "pass for example 0.1"))
    run = read_run(run_dir)
    native = read_native(native_pdb or run.config.structure, run)
    ensembles = [rung_ensemble(run, native, index, discard=discard) for index in range(len(run.temperatures))]
    wanted = run.temperatures[0] if reference_temperature is None else reference_temperature
    chosen = int(np.argmin(np.abs(np.array(run.temperatures) - wanted)))
    summaries = [summarize(each, native.positions) for each in ensembles]
    comparison, source = None, None
    if reference_npz is not None:
        temperature = run.temperatures[chosen]
        data = read_reference(reference_npz, native, n_beads=len(run.atom_names), temperature=temperature)
        comparison = compare(ensembles[chosen], data, native.positions)
        source = (Path(reference_npz).name, hashlib.sha256(Path(reference_npz).read_bytes()).hexdigest())
    lowest, reached = lowest_rmsd(run, native, DEFAULT_BASINS)
    return Results(
        run=run,
        native=native,
        model=summaries[chosen] if comparison is None else comparison.model,
        comparison=comparison,
        source=source,
        rungs=tuple(_rung(run, index, summary, discard) for index, summary in enumerate(summaries)),
        round_trips=round_trips(run.rung),
        minimum_rmsd=lowest,
        unfolded_start_rmsd=reached,
        basins=DEFAULT_BASINS,
        blocks=DEFAULT_BLOCKS,
        discard=discard,
    )


def _rung(run: Run, index: int, summary: Summary, discard: float) -> Rung:
    member: FloatArray = (run.rung == index) & (run.step > discard * run.step[-1])[:, None]
    return Rung(
        temperature=summary.temperature,
        n_frames=summary.n_frames,
        folded=summary.folded,
        unfolded=summary.unfolded,
        minimum_rmsd=summary.minimum_rmsd,
        kinetic=float(run.kinetic[member].mean()),
        energy=float(run.energy[member].mean()),
    )
