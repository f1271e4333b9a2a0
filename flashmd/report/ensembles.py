"""Ensembles of a run: at a temperature of its ladder, at one in between, and along the continuous replicas."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flashmd.analysis import Basins, Ensemble, demultiplex, rmsd, temperature_weights
from flashmd.errors import message
from flashmd.report.native import Native
from flashmd.report.run import Frames, Run, frame_energies, read_frames
from flashmd.report.types import FloatArray

_SAME_TEMPERATURE = 0.5  # K


def model_name(run: Run) -> str:
    """Return the name of the model of a run, without folder and suffix."""
    return Path(run.config.model).name.removesuffix(".safetensors")


def rung_ensemble(run: Run, native: Native, rung: int, *, discard: float) -> Ensemble:
    """Return the frames at one temperature of the ladder; walkers are independent trajectories.

    Args:
        run: the run.
        native: names the beads to keep.
        rung: index of the temperature.
        discard: fraction of the run left out at its start.

    Raises:
        IncompleteRunError: a trajectory is missing or empty.
    """
    frames = read_frames(run, rung, discard=discard)
    positions = frames.positions[:, native.beads]
    return Ensemble(model_name(run), positions, run.temperatures[rung], trajectory=frames.walker)


def ensemble_at(run: Run, native: Native, temperature: float, *, discard: float) -> Ensemble:
    """Return the run at any temperature within its ladder.

    The frames of a rung are used where the ladder has that temperature; otherwise all rungs are reweighted by MBAR.

    Args:
        run: the run.
        native: names the beads to keep.
        temperature: K.
        discard: fraction of the run left out at its start.

    Raises:
        ValueError: the temperature lies outside the ladder.
        IncompleteRunError: a trajectory is missing or empty, or a frame has no energy in the log.
        MissingDependencyError: pymbar is needed and absent.
    """
    kelvin = np.array(run.temperatures)
    nearest = int(np.argmin(np.abs(kelvin - temperature)))
    if abs(kelvin[nearest] - temperature) <= _SAME_TEMPERATURE:
        return rung_ensemble(run, native, nearest, discard=discard)
    if not kelvin[0] < temperature < kelvin[-1]:
        expected, fix = f"{kelvin[0]:g} K to {kelvin[-1]:g} K", "choose one within the ladder or extend the ladder"
        raise ValueError(message("temperature", expected, f"{temperature:g} K", fix))
    parts = [read_frames(run, rung, discard=discard) for rung in range(kelvin.size)]
    energy = np.concatenate([frame_energies(run, frames, rung) for rung, frames in enumerate(parts)])
    rungs = np.repeat(np.arange(kelvin.size), [frames.step.size for frames in parts])
    weights = temperature_weights(energy, rungs, kelvin, temperature=temperature)
    joined = Frames(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("positions", "step", "walker")))
    # frames of all rungs at one time are correlated, so they have to fall into the same block of the bootstrap
    order = np.lexsort((rungs, joined.step, joined.walker))
    positions = joined.positions[order][:, native.beads]
    label = f"{model_name(run)} (MBAR)"
    return Ensemble(label, positions, temperature, weights=weights[order], trajectory=joined.walker[order])


def lowest_rmsd(run: Run, native: Native, basins: Basins) -> tuple[float, float | None]:
    """Return the smallest RMSD of all saved frames, and that of the replicas that started unfolded.

    Args:
        run: the run.
        native: the native structure.
        basins: says from which RMSD the first saved frame of a replica counts as unfolded.

    Returns:
        Both in nm; the second is None where no replica started unfolded, or where the log lacks the saved steps.

    Raises:
        IncompleteRunError: a trajectory is missing or empty.
    """
    parts = [read_frames(run, rung) for rung in range(len(run.temperatures))]
    distance = [rmsd(frames.positions[:, native.beads], native.positions) for frames in parts]
    overall = min(float(values.min()) for values in distance)
    reached = []
    for walker in range(run.config.walkers):
        step = parts[0].step[parts[0].walker == walker]
        walks = [values[frames.walker == walker] for values, frames in zip(distance, parts, strict=True)]
        if not np.isin(step, run.step).all() or any(walk.size != step.size for walk in walks):
            return overall, None
        held = run.rung[np.searchsorted(run.step, step), walker :: run.config.walkers]
        replicas: FloatArray = demultiplex(np.array(walks), held)
        started = replicas[:, 0] > basins.unfolded_rmsd
        reached += replicas[started].min(axis=1).tolist()
    return overall, min(reached) if reached else None
