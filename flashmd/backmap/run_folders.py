"""The trajectory to take from the folder of a run of `flashmd simulate`, which holds one for each temperature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from flashmd.errors import message

_NAME = re.compile(r"T_(?P<kelvin>\d+(\.\d+)?)K(_walker_(?P<walker>\d+))?\.xtc")


@dataclass(frozen=True)
class RunTrajectory:
    """One trajectory of a run.

    Attributes:
        topology: names of the beads.
        trajectory: frames of whichever replica held the temperature.
        kelvin: the temperature as the file name has it.
    """

    topology: Path
    trajectory: Path
    kelvin: str

    @property
    def output(self) -> Path:
        """Where structures go by default."""
        return self.trajectory.with_name(f"backmap_{self.kelvin}K.xtc")


def run_trajectory(folder: Path, temperature: float | None = None) -> RunTrajectory:
    """Choose a trajectory of a run: that of the lowest temperature, or of the one nearest to a given one.

    Of several walkers the first one is taken.

    Args:
        folder: of the run.
        temperature: K.

    Raises:
        ValueError: the folder is none of a run, or its trajectory is empty.
    """
    topology = folder / "topology.pdb"
    found = sorted(
        (float(match["kelvin"]), int(match["walker"] or 0), path, match["kelvin"])
        for path in folder.glob("T_*.xtc")
        if (match := _NAME.fullmatch(path.name))
    )
    if not found or not topology.is_file():
        fix = "pass a folder written by `flashmd simulate`, or a structure and a trajectory"
        got = "no `topology.pdb`" if found else "none"
        raise ValueError(message(f"folder `{folder}`", "trajectories T_*K.xtc of a run", got, fix))
    target = found[0][0] if temperature is None else temperature
    _, _, path, kelvin = min(found, key=lambda each: (abs(each[0] - target), each[1]))
    if not path.stat().st_size:
        fix = "let the run save frames first (`save_interval`)"
        raise ValueError(message(f"trajectory `{path}`", "at least one frame", "an empty file", fix))
    return RunTrajectory(topology, path, kelvin)
