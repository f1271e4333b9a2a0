"""Native structures and all-atom data sets: what a run is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flashmd.analysis import Ensemble, temperature_weights
from flashmd.cg.mapping import map_structure
from flashmd.errors import message
from flashmd.report.run import Run
from flashmd.report.types import FloatArray, IntArray

_SAME_TEMPERATURE = 0.5  # K
_FEWEST_FRAMES = 100


@dataclass(frozen=True)
class Native:
    """C-alpha atoms of the native structure and the beads of the run that stand for them.

    Attributes:
        name: of the file, without suffix.
        positions: [n_residues, 3], nm.
        beads: [n_residues], beads of the run.
    """

    name: str
    positions: FloatArray
    beads: IntArray


def read_native(path: str | Path, run: Run) -> Native:
    """Read the first model of a structure and match its C-alpha atoms with those of the run.

    Raises:
        ValueError: the file cannot be read, or the sequences differ.
    """
    path = Path(path)
    beads = np.flatnonzero(np.array(run.atom_names) == "CA")
    sequence = tuple(run.residues[bead] for bead in beads)
    try:
        structure = map_structure(path, "ca")
    except OSError as error:
        fix = "pass a PDB file of the native structure"
        raise ValueError(message(f"native structure {path}", "a readable file", str(error), fix)) from None
    if structure.sequence != sequence:
        got = f"{len(structure.sequence)} residues {' '.join(structure.sequence)}"
        fix = "pass the native structure of the simulated molecule"
        expected = f"{len(sequence)} residues {' '.join(sequence)}"
        raise ValueError(message(f"native structure {path}", expected, got, fix))
    return Native(path.stem, structure.positions[0].double().numpy(), beads)


def read_reference(path: str | Path, native: Native, *, n_beads: int, temperature: float) -> Ensemble:
    """Read an all-atom data set, mapped to the beads of the run, as an ensemble at one temperature.

    Frames of that temperature are used where there are any. Otherwise all frames are reweighted to it by MBAR from
    their potential energies. Arrays of the file: `positions` [n_frames, n_beads, 3] in nm, `temperature` [n_frames] or
    one number in K, and where they apply `potential` [n_frames] in kJ/mol, `trajectory` [n_frames], `weights`
    [n_frames] for samples of a biased simulation, and `resampled_weights` [n_resamples, n_frames], the weights in each
    bootstrap sample (`flashmd.analysis.resampled_weights`).

    Args:
        path: NPZ file.
        native: the native structure, for its beads.
        n_beads: beads of the run; a data set of C-alpha atoms alone will also do.
        temperature: K.

    Raises:
        ValueError: an array is missing or of a wrong shape, or the temperature cannot be reached.
        MissingDependencyError: pymbar is needed and absent.
    """
    data = _load(Path(path))
    positions, kelvin = data["positions"], data["temperature"]
    n_frames = positions.shape[0]
    if positions.ndim != 3 or positions.shape[1:] not in ((n_beads, 3), (native.beads.size, 3)):
        fix = "map the atoms to the beads of the model"
        expected = f"positions of shape (n_frames, {n_beads}, 3)"
        raise ValueError(message(f"reference {path}", expected, f"{positions.shape}", fix))
    if positions.shape[1] == n_beads:
        positions = positions[:, native.beads]
    kelvin = np.broadcast_to(kelvin, (n_frames,))
    member = np.abs(kelvin - temperature) <= _SAME_TEMPERATURE
    if member.sum() >= _FEWEST_FRAMES or "weights" in data:
        if not member.any():
            raise _unreachable(path, temperature, kelvin, "weights that hold for another temperature")
        weights, trajectory, resampled = (
            data[name][..., member] if name in data else None for name in ("weights", "trajectory", "resampled_weights")
        )
        return Ensemble("all-atom", positions[member], temperature, weights, trajectory, resampled)
    if "potential" not in data:
        raise _unreachable(path, temperature, kelvin, "no array `potential` to reweight with")
    ladder, rung = np.unique(kelvin, return_inverse=True)
    weights = temperature_weights(data["potential"], rung, ladder, temperature=temperature)
    return Ensemble("all-atom (MBAR)", positions, temperature, weights, data.get("trajectory"))


def _unreachable(path: str | Path, temperature: float, kelvin: FloatArray, detail: str) -> ValueError:
    rungs = ", ".join(f"{each:g} K" for each in np.unique(kelvin))
    fix = "choose one of these temperatures or add `potential`"
    return ValueError(message(f"reference {path}", f"frames at {temperature:g} K", f"{rungs} and {detail}", fix))


def _load(path: Path) -> dict[str, FloatArray]:
    names = ("positions", "temperature", "potential", "trajectory", "weights", "resampled_weights")
    fix = "save it with `numpy.savez(path, positions=..., temperature=...)`, in nm and K"
    try:
        with np.load(path, allow_pickle=False) as content:
            data = {name: np.asarray(content[name], dtype=np.float64) for name in names if name in content}
    except (OSError, ValueError) as error:
        raise ValueError(message(f"reference {path}", "a readable NPZ file", str(error), fix)) from None
    missing = [name for name in names[:2] if name not in data]
    if missing:
        raise ValueError(message(f"reference {path}", "arrays `positions` and `temperature`", f"no {missing[0]}", fix))
    return data
