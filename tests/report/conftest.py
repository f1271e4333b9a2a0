"""A small run folder, written with the functions of the engine: a chain that hops between two structures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from flashmd.md.config_file import parse_config
from flashmd.md.reporters import EXCHANGE_COLUMNS, LOG_COLUMNS
from flashmd.md.run_folder import trajectory_names
from flashmd.units import BOLTZMANN
from flashmd.xtc import encode_xtc

STRUCTURES = Path(__file__).parents[2] / "data" / "structures"
NATIVE = STRUCTURES / "chignolin_native_ca.pdb"
INTERVAL = 500


@dataclass
class Written:
    """A run folder and the truth of what is in it."""

    path: Path
    temperatures: list[float]
    folded: np.ndarray  # [n_times, n_slots], slots are temperature-major
    rung: np.ndarray  # [n_times, n_replicas]
    energy: np.ndarray  # [n_times, n_replicas]
    positions: np.ndarray  # [n_times, n_slots, n_beads, 3]


def equilibrium(gap: float, temperature: float) -> float:
    """Folded share of two states, the unfolded one `gap` (kJ/mol) higher and equally likely at 340 K."""
    return float(1.0 / (1.0 + np.exp(-gap / BOLTZMANN * (1.0 / temperature - 1.0 / 340.0))))


def write_run(
    path: Path,
    *,
    n_temperatures: int = 3,
    walkers: int = 2,
    n_times: int = 120,
    two_state_gap: float | None = None,
) -> Written:
    """Write a run; with a gap (kJ/mol) the energies are those of two states in equilibrium, otherwise noise."""
    generator = np.random.default_rng(0)
    path.mkdir(parents=True)
    kelvin = [300.0, 340.0, 380.0][:n_temperatures]
    n_replicas = n_temperatures * walkers
    config = parse_config(
        {
            "model": "models/hairpin.safetensors",
            "structure": str(NATIVE),
            "output": str(path),
            "temperatures": [f"{each} K" for each in kelvin],
            "walkers": walkers,
            "time_step": "4 fs",
            "n_steps": n_times * INTERVAL,
            "save_interval": INTERVAL,
            "seed": 1,
        }
    )
    header = "# flashmd 0.1.0, torch 2.13.0\n# device cpu (test)\n# model sha256 0123abcd\n"
    (path / "config.resolved.yaml").write_text(header + config.to_yaml())
    native = mdtraj.load(str(NATIVE))
    native.save_pdb(str(path / "topology.pdb"))
    extended = mdtraj.load(str(STRUCTURES / "chignolin_unfolded_ca.pdb")).xyz[0]
    share = np.repeat(np.linspace(0.8, 0.4, n_temperatures), walkers)
    if two_state_gap is not None:
        share = np.array([equilibrium(two_state_gap, each) for each in kelvin])
    folded = generator.uniform(size=(n_times, n_replicas)) < share
    positions = np.where(folded[..., None, None], native.xyz[0], extended)
    positions = (positions + generator.normal(0.0, 0.02, positions.shape)).astype(np.float32)
    rung = np.array([np.repeat(np.roll(np.arange(n_temperatures), t), walkers) for t in range(n_times)])
    energy = generator.normal(-100.0, 10.0, (n_times, n_replicas)).round(6)
    if two_state_gap is not None:
        # rung and slot agree for one walker
        energy = np.where(np.take_along_axis(folded, rung, axis=1), 0.0, two_state_gap)
    steps = [(t + 1) * INTERVAL for t in range(n_times)]
    names = trajectory_names(kelvin, walkers)
    for name, data in zip(names, encode_xtc(positions, steps, [0.004 * s for s in steps]), strict=True):
        (path / name).write_bytes(data)
    lines = [",".join(LOG_COLUMNS)] + [
        f"{step},{0.004 * step},{r},{r % walkers},{rung[t, r]},{kelvin[rung[t, r]]},{energy[t, r]},{kelvin[rung[t, r]]}"
        for t, step in enumerate(steps)
        for r in range(n_replicas)
    ]
    (path / "log.csv").write_text("\n".join(lines) + "\n")
    pairs = [f"{low},{high},50,10" for low, high in pairwise(kelvin)]
    (path / "exchanges.csv").write_text("\n".join([",".join(EXCHANGE_COLUMNS), *pairs]) + "\n")
    return Written(path, kelvin, folded, rung, energy, positions)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Three temperatures, two walkers; tests only read it."""
    return write_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture
def native() -> Path:
    return NATIVE
