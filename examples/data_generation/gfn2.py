"""GFN2-xTB through tblite in the units of this project, and Langevin dynamics on it.

Source of the method: Bannwarth, Ehlert and Grimme, doi:10.1021/acs.jctc.8b01176.
"""

from collections.abc import Callable, Iterator

import numpy as np
from ase.data import atomic_masses
from tblite.interface import Calculator, Result

BOHR = 0.0529177210903  # nm
HARTREE = 2625.4996394799  # kJ/mol
BOLTZMANN = 8.31446261815324e-3  # kJ/mol/K
TIME_STEP = 5e-4  # ps
FRICTION = 10.0  # 1/ps

Restraint = Callable[[np.ndarray], np.ndarray]


class Teacher:
    """Energies and forces of one neutral closed-shell molecule or cluster.

    Args:
        numbers: [n_atoms] atomic numbers.
        accuracy: of the self-consistent charges; smaller is tighter.
    """

    def __init__(self, numbers: np.ndarray, accuracy: float = 0.2) -> None:
        self.numbers = np.asarray(numbers)
        self.masses = atomic_masses[self.numbers]
        self._accuracy = accuracy
        self._calculator: Calculator | None = None
        self._last: Result | None = None

    def __call__(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the energy in kJ/mol and the forces [n_atoms, 3] in kJ/mol/nm at positions in nm.

        Raises:
            RuntimeError: the charges do not converge.
        """
        if self._calculator is None:
            self._calculator = Calculator("GFN2-xTB", self.numbers, positions / BOHR)
            self._calculator.set("verbosity", 0)
            self._calculator.set("accuracy", self._accuracy)
        self._calculator.update(positions / BOHR)
        self._last = self._calculator.singlepoint(self._last)
        energy, gradient = float(self._last.get("energy")), self._last.get("gradient")
        return energy * HARTREE, -gradient * (HARTREE / BOHR)


def relax(teacher: Teacher, positions: np.ndarray, *, n_steps: int, longest: float = 0.004) -> np.ndarray:
    """Go downhill in steps of at most `longest` nm for each atom; enough to resolve overlaps."""
    for _ in range(n_steps):
        forces = teacher(positions)[1]
        step = 8e-7 * forces
        length = np.linalg.norm(step, axis=1, keepdims=True)
        positions = positions + step * np.minimum(1.0, longest / np.maximum(length, 1e-12))
    return positions


def langevin(
    teacher: Teacher,
    positions: np.ndarray,
    temperature: float,
    n_steps: int,
    *,
    random: np.random.Generator,
    restraint: Restraint | None = None,
) -> Iterator[tuple[np.ndarray, float, np.ndarray]]:
    """Yield positions, energy and forces of the teacher at the start and after each step (BAOAB).

    Velocities start at twice the temperature, for a start near a minimum has no potential energy yet.

    Args:
        teacher: what is sampled.
        positions: [n_atoms, 3], nm.
        temperature: K.
        n_steps: steps of `TIME_STEP`.
        random: source of the velocities and the noise.
        restraint: forces [n_atoms, 3] at given positions that act but are not part of the yielded ones.
    """
    width = np.sqrt(BOLTZMANN * temperature / teacher.masses)[:, None]
    velocities = np.sqrt(2.0) * width * random.normal(size=positions.shape)
    keep = np.exp(-FRICTION * TIME_STEP)
    renew = np.sqrt(1.0 - keep * keep)

    def kick(positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
        total = forces if restraint is None else forces + restraint(positions)
        return 0.5 * TIME_STEP * total / teacher.masses[:, None]

    energy, forces = teacher(positions)
    yield positions, energy, forces
    for _ in range(n_steps):
        velocities = velocities + kick(positions, forces)
        positions = positions + 0.5 * TIME_STEP * velocities
        velocities = keep * velocities + renew * width * random.normal(size=positions.shape)
        positions = positions + 0.5 * TIME_STEP * velocities
        energy, forces = teacher(positions)
        velocities = velocities + kick(positions, forces)
        yield positions, energy, forces
