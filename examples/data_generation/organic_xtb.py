"""Label frames of organic molecules, alanine dipeptide and molecular clusters with GFN2-xTB.

Langevin dynamics of the teacher itself at 300 K to 1000 K visits what is recorded. Every trajectory is a file of its
own, so a run that was stopped continues when it is started again; at the end all of them are joined.

    python examples/data_generation/organic_xtb.py runs/organic data/datasets

Set `OMP_NUM_THREADS=1`: the molecules are too small for more than one thread.

Writes organic_gfn2.npz, to train on, and organic_gfn2_test.npz with trajectories of their own and molecules that are
not in the first file. Format: `flashmd.train.MoleculeDataset`.
"""

import argparse
import hashlib
import logging
import time
from pathlib import Path

import gfn2
import numpy as np
import organic_dataset
from organic_systems import Ensemble, Structure, ensembles

WALL = 5e3  # kJ/mol/nm^2, keeps clusters together

log = logging.getLogger("organic")


def restraint(structure: Structure) -> gfn2.Restraint | None:
    """Return the force that keeps the atoms of a cluster within their first radius and 0.1 nm more."""
    if structure.members.max() == 0:
        return None
    radius = np.linalg.norm(structure.positions, axis=1).max() + 0.1

    def force(positions: np.ndarray) -> np.ndarray:
        length = np.linalg.norm(positions, axis=1, keepdims=True)
        return -WALL * np.maximum(0.0, length - radius) * positions / np.maximum(length, 1e-9)

    return force


def sample(ensemble: Ensemble, temperature: float, number: int, *, test: bool) -> dict[str, np.ndarray]:
    """Run one trajectory and return its recorded frames."""
    key = f"{ensemble.group}/{ensemble.name}/{temperature:g}/{'test' if test else 'train'}/{number}"
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little"))
    frames: list[tuple[np.ndarray, float, np.ndarray]] = []
    for _ in range(ensemble.n_starts):
        start = ensemble.start(random)
        frames += _trajectory(
            ensemble, start, temperature, random, set(ensemble.record_test if test else ensemble.record)
        )
    shape = (-1, len(start.numbers), 3)
    return {
        "numbers": start.numbers,
        "positions": np.array([x for x, _, _ in frames], dtype=np.float32).reshape(shape),
        "energy": np.array([energy for _, energy, _ in frames]),
        "forces": np.array([f for _, _, f in frames], dtype=np.float32).reshape(shape),
    }


def _trajectory(
    ensemble: Ensemble, start: Structure, temperature: float, random: np.random.Generator, record: set[int]
) -> list[tuple[np.ndarray, float, np.ndarray]]:
    """Return positions, energies and forces at the recorded steps."""
    teacher = gfn2.Teacher(start.numbers)
    positions = gfn2.relax(teacher, start.positions, n_steps=ensemble.relax)
    path = gfn2.langevin(teacher, positions, temperature, max(record), random=random, restraint=restraint(start))
    return [
        frame for step, frame in enumerate(path) if step in record and np.abs(frame[2]).max() < ensemble.largest_force
    ]


def run(folder: Path) -> None:
    """Write one file for each trajectory that is not there yet, the first of all systems before the second of any."""
    folder.mkdir(parents=True, exist_ok=True)
    every, begin = ensembles(), time.perf_counter()
    for number in range(max(max(each.n_train, each.n_test) for each in every)):
        for ensemble in every:
            for temperature in ensemble.temperatures:
                if number < ensemble.n_train:
                    _write(folder, ensemble, temperature, number, test=False)
                if number < ensemble.n_test:
                    _write(folder, ensemble, temperature, number, test=True)
        log.info("trajectory %d of all systems after %.0f s", number, time.perf_counter() - begin)


def _write(folder: Path, ensemble: Ensemble, temperature: float, number: int, *, test: bool) -> None:
    kind = "test" if test else "train"
    path = folder / f"{ensemble.group}_{ensemble.name.replace(':', '+')}_{temperature:g}_{kind}_{number}.npz"
    if path.exists():
        return
    try:
        frames = sample(ensemble, temperature, number, test=test)
    except RuntimeError as error:
        log.warning("%s: %s", path.name, str(error).splitlines()[0])
        return
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **frames)
    partial.rename(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="one file for each trajectory")
    parser.add_argument("output", type=Path, help="where to write the joined files")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(arguments.folder)
    organic_dataset.write(arguments.folder, arguments.output)
