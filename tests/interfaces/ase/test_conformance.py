"""Calculators of ASE and of this package in the conformance checks, and wrong ones, which the checks must find."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
from ase import Atoms

import tests.interfaces.ase.tools  # noqa: F401 - registers its checks
from flashmd.interfaces.ase import FlashMDCalculator
from tests.interfaces.ase.conformance import CHECKS, Subject, checks_for
from tests.interfaces.ase.subjects import subjects

CASES = [
    pytest.param(subject, name, id=f"{subject.name}-{name}") for subject in subjects() for name in checks_for(subject)
]


@pytest.mark.parametrize("subject, name", CASES)
def test_conformance(subject: Subject, name: str) -> None:
    CHECKS[name][1](subject)


class WrongSign(FlashMDCalculator):
    """Forces along the gradient."""

    def calculate(self, *args: Any, **options: Any) -> None:
        super().calculate(*args, **options)
        self.results["forces"] = -self.results["forces"]


class WrongOrder(FlashMDCalculator):
    """Off-diagonal stresses in the order xy, xz, yz."""

    def calculate(self, *args: Any, **options: Any) -> None:
        super().calculate(*args, **options)
        if "stress" in self.results:
            self.results["stress"] = self.results["stress"][[0, 1, 2, 5, 4, 3]]


class Stale(FlashMDCalculator):
    """A cache that looks at the first atom only."""

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        seen = self.atoms
        changes = super().check_state(atoms, tol)
        return (
            []
            if seen is not None and len(seen) == len(atoms) and (seen[0].position == atoms[0].position).all()
            else changes
        )


class Blind(FlashMDCalculator):
    """A cache that does not look at what the atoms are."""

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        return [change for change in super().check_state(atoms, tol) if change not in ("numbers", "labels")]


class Aliased(FlashMDCalculator):
    """Results are handed out and not copied."""

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        super().get_property(name, atoms, allow_calculation)
        return self.results.get(name)


class Overwritten(FlashMDCalculator):
    """All results share one array."""

    def calculate(self, *args: Any, **options: Any) -> None:
        before = self.__dict__.get("kept")
        super().calculate(*args, **options)
        forces = self.results["forces"]
        if before is None or before.shape != forces.shape:
            self.kept = before = forces.copy()
        before[:] = forces
        self.results["forces"] = before


class Ageing(FlashMDCalculator):
    """Every evaluation adds an error."""

    def calculate(self, *args: Any, **options: Any) -> None:
        super().calculate(*args, **options)
        self.results["energy"] += 1e-9 * self.n_evaluations


class Careless(FlashMDCalculator):
    """Atoms near the border of the cell see no images."""

    def calculate(self, atoms: Atoms, properties: Any, changes: Any) -> None:
        alone = atoms.copy()
        alone.pbc = False
        super().calculate(alone, properties, [*changes, "pbc"])


class Eager(FlashMDCalculator):
    """Every property is calculated anew."""

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        self.reset()
        return super().get_property(name, atoms, allow_calculation)


class Bound(FlashMDCalculator):
    """Something that cannot be copied."""

    def calculate(self, *args: Any, **options: Any) -> None:
        super().calculate(*args, **options)
        self.function = lambda: None


class Silent(FlashMDCalculator):
    """What is not implemented is zero."""

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        return super().get_property(name, atoms, allow_calculation) if name in self.implemented_properties else 0.0


WRONG: dict[type[FlashMDCalculator], set[str]] = {
    WrongSign: {"forces_are_differences_open", "total_energy_is_conserved", "optimisers"},
    WrongOrder: {"stress_are_differences_triclinic", "stress_are_differences_slab", "rotation"},
    Stale: {"forces_are_differences_open", "small_moves_are_seen"},
    Blind: {"swap"},
    Aliased: {"results_are_no_views"},
    Overwritten: {"results_are_no_views"},
    Ageing: {"free_energy_is_energy", "history_does_not_show", "one_calculator_for_all_structures"},
    Careless: {"supercells", "lattice_shifts"},
    Eager: {"one_calculation_serves_energy_and_forces"},
    Bound: {"pickling"},
    Silent: {"unknown_properties_are_refused"},
}  # fmt: skip


@pytest.mark.parametrize("wrong, name", [(wrong, name) for wrong, names in WRONG.items() for name in sorted(names)])
def test_wrong_calculators_are_found(wrong: type[FlashMDCalculator], name: str) -> None:
    right = next(subject for subject in subjects() if subject.name == "atoms-float64")

    def make() -> FlashMDCalculator:
        calculator = right.make()
        calculator.__class__ = wrong
        return calculator

    with pytest.raises((AssertionError, AttributeError, pickle.PicklingError)):
        CHECKS[name][1](dataclasses.replace(right, make=make))
