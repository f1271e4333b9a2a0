"""What any calculator of ASE must do, as checks that take a calculator and structures and know nothing else.

A `Subject` says how to make the calculator and what it can evaluate; `checks_for` lists the checks that apply. A check
raises AssertionError where the calculator is wrong. Checks of how it works with the rest of ASE stand in `tools`.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import FixAtoms
from scipy.spatial.transform import Rotation

CELLS = ("open", "cubic", "triclinic", "slab", "small")
"""No cell; periodic cells, of which the last is smaller than the cutoff; and one that is not periodic along z."""
SMALL_MOVE = 1e-9
"""Angstrom; a cache that compares with a tolerance may not see it, but its results are then wrong."""


@dataclass(frozen=True)
class Subject:
    """A calculator and what it can evaluate.

    Attributes:
        name: for the reports.
        make: return a new calculator.
        structures: atoms without calculator by the names of `CELLS`, away from their minimum.
        within: largest error of forces, eV/angstrom, or relative to the largest force where that is larger than one.
        stress_within: largest error of the stress, eV per cubic angstrom.
        rounding: largest relative difference of results that are equal but for rounding.
        memory: largest relative difference between results of a calculator that has seen other structures and of a
            new one; zero for the same bits.
        eps: displacement of finite differences, angstrom.
        time_step: of dynamics, femtoseconds.
        excluded: reasons not to run a check, by its name.
    """

    name: str
    make: Callable[[], Calculator]
    structures: Mapping[str, Atoms]
    within: float = 1e-6
    stress_within: float = 1e-8
    rounding: float = 1e-9
    memory: float = 0.0
    eps: float = 1e-4
    time_step: float = 2.0
    excluded: Mapping[str, str] = field(default_factory=dict)

    def atoms(self, cell: str = "") -> Atoms:
        """Return a structure with a new calculator; the first one where no cell is named."""
        atoms = (self.structures[cell] if cell else next(iter(self.structures.values()))).copy()
        atoms.calc = self.make()
        return atoms

    def periodic(self) -> Atoms:
        """Return a periodic structure, or the first one where there is none."""
        return self.atoms(next((cell for cell in CELLS[1:] if cell in self.structures), ""))


Check = Callable[[Subject], None]
CHECKS: dict[str, tuple[str, Check]] = {}
"""Check and the cell that it needs, by name."""


def check(cell: str = "") -> Callable[[Check], Check]:
    """Register a check."""

    def register(function: Check) -> Check:
        CHECKS[function.__name__] = (cell, function)
        return function

    return register


def checks_for(subject: Subject) -> list[str]:
    """Return the names of the checks for which a subject has a structure and no excuse."""
    assert set(subject.excluded) <= set(CHECKS)
    return [name for name, (cell, _) in CHECKS.items() if not (cell and cell not in subject.structures)
            and name not in subject.excluded]  # fmt: skip


def results(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray | None]:
    stress = atoms.get_stress() if atoms.cell.rank == 3 else None
    return atoms.get_potential_energy(), atoms.get_forces(), stress


def assert_same(one: Atoms, other: Atoms, *, within: float = 0.0) -> None:
    """Compare energy, forces and stress; bit for bit without a tolerance."""
    for a, b in zip(results(one), results(other), strict=True):
        if a is not None:
            scale = max(float(np.abs(b).max()), 1.0)
            np.testing.assert_allclose(a, b, rtol=0.0, atol=within * scale)


def assert_forgets(subject: Subject, atoms: Atoms) -> None:
    """Compare with a calculator that has seen nothing else."""
    assert_same(atoms, fresh(subject, atoms), within=subject.memory)


def assert_equal_energy(subject: Subject, found: float, expected: float) -> None:
    assert abs(found - expected) <= subject.rounding * max(abs(expected), 1.0)


def fresh(subject: Subject, atoms: Atoms) -> Atoms:
    """Return a copy with a calculator that has seen nothing else."""
    twin = atoms.copy()
    twin.calc = subject.make()
    return twin


def counted(atoms: Atoms) -> list[Any]:
    """Return a list that grows with every calculation."""
    calls: list[Any] = []
    calculate = atoms.calc.calculate

    def count(*args: Any, **options: Any) -> None:
        calls.append(args)
        calculate(*args, **options)

    atoms.calc.calculate = count
    return calls


def _register_differences(cell: str) -> None:
    def forces(subject: Subject) -> None:
        atoms = subject.atoms(cell)
        expected = calculate_numerical_forces(atoms, eps=subject.eps)
        largest = np.abs(expected).max()
        assert largest > 100.0 * subject.within or len(atoms) == 1
        np.testing.assert_allclose(atoms.get_forces(), expected, rtol=0.0, atol=subject.within * max(largest, 1.0))

    def stress(subject: Subject) -> None:
        atoms = subject.atoms(cell)
        expected = calculate_numerical_stress(atoms, eps=subject.eps / 3.0)
        assert np.abs(expected).max() > 5.0 * subject.stress_within
        np.testing.assert_allclose(atoms.get_stress(), expected, rtol=0.0, atol=subject.stress_within)

    for function in (forces, stress) if cell != "open" else (forces,):
        function.__name__ = f"{function.__name__}_are_differences_{cell}"
        check(cell)(function)


for _cell in CELLS:
    _register_differences(_cell)


@check()
def types_of_results(subject: Subject) -> None:
    atoms = subject.atoms()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    assert isinstance(energy, float)
    assert (forces.shape, forces.dtype) == ((len(atoms), 3), np.float64)
    assert np.isfinite(energy)
    assert np.isfinite(forces).all()


@check()
def free_energy_is_energy(subject: Subject) -> None:
    atoms = subject.atoms()
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


@check()
def unknown_properties_are_refused(subject: Subject) -> None:
    atoms = subject.atoms()
    for name in {"dipole", "magmoms"} - set(atoms.calc.implemented_properties):
        assert refuses(lambda name=name: atoms.calc.get_property(name, atoms))
    assert atoms.calc.get_property("energy", atoms, allow_calculation=False) is None


@check("open")
def no_stress_without_cell(subject: Subject) -> None:
    atoms = subject.atoms("open")
    assert atoms.cell.rank == 0
    assert refuses(atoms.get_stress)


def refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except PropertyNotImplementedError:
        return True
    return False


@check()
def energies_sum_to_energy(subject: Subject) -> None:
    atoms = subject.periodic()
    energies = atoms.get_potential_energies()
    assert energies.shape == (len(atoms),)
    assert abs(energies.sum() - atoms.get_potential_energy()) <= subject.rounding * np.abs(energies).sum()


@check()
def forces_sum_to_zero(subject: Subject) -> None:
    forces = subject.periodic().get_forces()
    assert np.abs(forces.sum(0)).max() <= subject.rounding * np.abs(forces).sum()


@check()
def translation(subject: Subject) -> None:
    atoms, moved = subject.periodic(), subject.periodic()
    moved.positions += (0.7, -1.3, 2.1)
    assert_same(moved, atoms, within=subject.rounding)


@check("cubic")
def lattice_shifts(subject: Subject) -> None:
    for cell in {"cubic", "triclinic", "small"} & set(subject.structures):
        atoms, moved = subject.atoms(cell), subject.atoms(cell)
        shifts = np.random.default_rng(1).integers(-2, 3, (len(atoms), 3))
        moved.positions += shifts @ atoms.cell.array
        assert_same(moved, atoms, within=subject.rounding)


@check()
def rotation(subject: Subject) -> None:
    atoms, turned = subject.periodic(), subject.periodic()
    turn = Rotation.from_rotvec([0.3, -0.9, 0.5]).as_matrix()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    assert_equal_energy(subject, turned.get_potential_energy(), atoms.get_potential_energy())
    scale = np.abs(atoms.get_forces()).max()
    expected = atoms.get_forces() @ turn.T
    np.testing.assert_allclose(turned.get_forces(), expected, rtol=0.0, atol=10.0 * subject.rounding * scale)
    if atoms.cell.rank == 3:
        expected = turn @ atoms.get_stress(voigt=False) @ turn.T
        found = turned.get_stress(voigt=False)
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=10.0 * subject.rounding * np.abs(expected).max())


@check()
def permutation(subject: Subject) -> None:
    atoms = subject.periodic()
    order = np.random.default_rng(2).permutation(len(atoms))
    mixed = fresh(subject, atoms[order])
    assert_equal_energy(subject, mixed.get_potential_energy(), atoms.get_potential_energy())
    scale = np.abs(atoms.get_forces()).max()
    np.testing.assert_allclose(mixed.get_forces(), atoms.get_forces()[order], atol=10.0 * subject.rounding * scale)


@check()
def supercells(subject: Subject) -> None:
    for cell in set(CELLS[1:]) & set(subject.structures):
        atoms = subject.atoms(cell)
        large = fresh(subject, atoms.repeat((2, 1, 1)))
        assert_equal_energy(subject, large.get_potential_energy(), 2.0 * atoms.get_potential_energy())
        scale = max(np.abs(atoms.get_forces()).max(), 1.0)
        expected = np.tile(atoms.get_forces(), (2, 1))
        np.testing.assert_allclose(large.get_forces(), expected, rtol=0.0, atol=10.0 * subject.rounding * scale)
        np.testing.assert_allclose(large.get_stress(), atoms.get_stress(), rtol=0.0, atol=10.0 * subject.rounding)


@check("open")
def empty_space_counts_for_nothing(subject: Subject) -> None:
    atoms, boxed = subject.atoms("open"), subject.atoms("open")
    boxed.set_cell(np.ptp(atoms.positions, axis=0) + 40.0)
    for pbc in (False, True, (True, False, True)):
        boxed.pbc = pbc
        assert_equal_energy(subject, boxed.get_potential_energy(), atoms.get_potential_energy())
        np.testing.assert_allclose(boxed.get_forces(), atoms.get_forces(), rtol=0.0, atol=100.0 * subject.rounding)


@check("open")
def one_atom(subject: Subject) -> None:
    atoms = fresh(subject, subject.structures["open"][:1])
    assert np.isfinite(atoms.get_potential_energy())
    assert np.abs(atoms.get_forces()).max() <= subject.rounding


@check()
def one_calculation_serves_energy_and_forces(subject: Subject) -> None:
    atoms = subject.atoms()
    calls = counted(atoms)
    for _ in range(3):
        atoms.get_forces()
        atoms.get_potential_energy()
        atoms.get_potential_energy(force_consistent=True)
    assert len(calls) == 1
    atoms.positions[0, 0] += 0.01
    atoms.get_potential_energy()
    atoms.get_forces()
    assert len(calls) == 2
    assert not atoms.calc.calculation_required(atoms, ["energy", "forces"])


@check()
def small_moves_are_seen(subject: Subject) -> None:
    atoms = subject.atoms()
    atoms.get_forces()
    atoms.positions[-1, 2] += SMALL_MOVE
    assert atoms.calc.calculation_required(atoms, ["energy"])
    assert_forgets(subject, atoms)


@check("cubic")
def changes_of_the_cell_are_seen(subject: Subject) -> None:
    atoms = subject.atoms("cubic")
    results(atoms)
    atoms.set_cell(atoms.cell.array * 1.01)
    assert_forgets(subject, atoms)
    atoms.pbc = (True, False, True)
    assert_forgets(subject, atoms)


@check()
def results_are_no_views(subject: Subject) -> None:
    atoms = subject.periodic()
    first = atoms.get_forces()
    kept = first.copy()
    raw = atoms.calc.results["forces"]
    first[:] = 7.0
    np.testing.assert_array_equal(atoms.get_forces(), kept)
    atoms.positions[0] += 0.05
    atoms.get_forces()
    np.testing.assert_array_equal(raw, kept)


@check()
def atoms_are_left_alone(subject: Subject) -> None:
    atoms = subject.periodic()
    before = atoms.copy()
    results(atoms)
    assert atoms == before
    assert {name: values.tolist() for name, values in atoms.arrays.items()} == {
        name: values.tolist() for name, values in before.arrays.items()
    }


@check()
def two_calculators_agree_bitwise(subject: Subject) -> None:
    assert_same(subject.periodic(), subject.periodic())


@check()
def history_does_not_show(subject: Subject) -> None:
    """Small and large rattles, which a list with a skin survives or not, and back."""
    atoms = subject.periodic()
    start = atoms.positions.copy()
    rng = np.random.default_rng(3)
    for size in (0.0, 0.01, 0.01, 0.1, 0.01, 0.4, 0.01, 0.0):
        atoms.positions = atoms.positions + size * rng.uniform(-0.5, 0.5, start.shape) if size else start
        assert_forgets(subject, atoms)


@check()
def deletion(subject: Subject) -> None:
    atoms = subject.periodic()
    atoms.get_forces()
    for index in (len(atoms) - 1, 0):
        del atoms[index]
        assert_forgets(subject, atoms)


@check()
def addition(subject: Subject) -> None:
    atoms = subject.periodic()
    other = atoms[:1]
    atoms.get_forces()
    other.positions += (1.1, 1.3, 1.2)
    atoms.extend(other)
    assert_forgets(subject, atoms)


@check()
def swap(subject: Subject) -> None:
    """Everything but the places of two different atoms changes."""
    atoms = subject.periodic()
    energy = atoms.get_potential_energy()
    kinds = atoms.arrays.get("bead_type", atoms.numbers)
    pair = [0, int(np.nonzero(kinds != kinds[0])[0][0])]
    for name, values in atoms.arrays.items():
        if name != "positions":
            values[pair] = values[pair[::-1]]
    assert atoms.get_potential_energy() != energy
    assert_forgets(subject, atoms)


@check()
def one_calculator_for_all_structures(subject: Subject) -> None:
    calculator = subject.make()
    for _ in range(2):
        for structure in subject.structures.values():
            atoms = structure.copy()
            atoms.calc = calculator
            assert_forgets(subject, atoms)


@check()
def pickling(subject: Subject) -> None:
    atoms = subject.periodic()
    again = pickle.loads(pickle.dumps(atoms.calc))
    results(atoms)
    for calculator in (again, pickle.loads(pickle.dumps(atoms.calc))):
        twin = atoms.copy()
        twin.calc = calculator
        assert_same(twin, atoms)


@check()
def deep_copies_are_independent(subject: Subject) -> None:
    atoms = subject.periodic()
    energy, forces, _ = results(atoms)
    twin = copy.deepcopy(atoms)
    twin.positions[0] += 0.2
    assert_forgets(subject, twin)
    assert atoms.get_potential_energy() == energy
    np.testing.assert_array_equal(atoms.get_forces(), forces)


@check()
def threads_take_turns(subject: Subject) -> None:
    calculator, rng = subject.make(), np.random.default_rng(4)
    images = []
    for _ in range(8):
        atoms = next(iter(subject.structures.values())).copy()
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        images.append(atoms)
    expected = [fresh(subject, atoms).get_forces() for atoms in images]
    for atoms in images:
        atoms.calc = calculator

    def forces(index: int) -> np.ndarray:
        return images[index % 8].get_forces()

    with ThreadPoolExecutor(4) as pool:
        for index, found in enumerate(pool.map(forces, range(64))):
            np.testing.assert_array_equal(found, expected[index % 8])


@check()
def constraints(subject: Subject) -> None:
    atoms = subject.atoms()
    free = atoms.get_forces()
    atoms.set_constraint(FixAtoms([0]))
    assert not atoms.get_forces()[0].any()
    np.testing.assert_array_equal(atoms.get_forces(apply_constraint=False), free)


@check()
def positions_that_are_not_numbers(subject: Subject) -> None:
    atoms = subject.atoms()
    atoms.get_potential_energy()
    atoms.positions[1, 1] = np.nan
    try:
        energy = atoms.get_potential_energy()
    except (ValueError, RuntimeError):
        return
    assert not np.isfinite(energy)
