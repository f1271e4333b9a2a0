"""Calculators of other codes as energy models: units, boxes, refusals, and rates and committors on them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones

from flashmd.interfaces.ase import CalculatorModel, FlashMDCalculator, beads_to_atoms
from flashmd.units import ANGSTROM, ELECTRONVOLT
from tests.interfaces.ase.subjects import NATIVE
from tests.interfaces.double_well import agrees, energy


class DoubleWell(Calculator):
    """The double well of one atom, in ASE's units."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - as ASE has it

    def calculate(self, *arguments: Any) -> None:
        """See ASE."""
        super().calculate(*arguments)
        x = torch.tensor(self.atoms.positions * ANGSTROM, requires_grad=True)
        value = energy(x).sum()
        force = -torch.autograd.grad(value, x)[0].numpy()
        self.results = {"energy": value.item() / ELECTRONVOLT, "forces": force * ANGSTROM / ELECTRONVOLT}


def crystal() -> Atoms:
    """Argon, pushed out of its lattice."""
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=6.0, smooth=True)
    return atoms


def test_kinetics_of_a_calculator() -> None:
    model = CalculatorModel(Atoms("Ar", [[0.1, 0.0, 0.0]], calculator=DoubleWell()))
    assert agrees(model, model.system)


def test_a_calculator_of_this_package_gives_the_model() -> None:
    """Units go there and back."""
    atoms = beads_to_atoms(NATIVE)
    atoms.calc = FlashMDCalculator("chignolin-ca", dtype="float64", backend="reference")
    model = CalculatorModel(atoms)
    own = atoms.calc.batch([atoms])[0]
    evaluation = model.evaluate(model.system)
    assert evaluation.energy.item() == pytest.approx(own["energy"] * ELECTRONVOLT, rel=1e-12)
    assert evaluation.forces.numpy() == pytest.approx(own["forces"] * ELECTRONVOLT / ANGSTROM, rel=1e-12)
    assert torch.allclose(model.system.masses, torch.tensor(atoms.get_masses()))


def test_boxes_and_virial() -> None:
    """The virial is the derivative of the energy with respect to a strain, of each system in its own box."""
    model = CalculatorModel(crystal())
    wide = model.system
    strain = torch.zeros(3, 3, dtype=torch.float64)
    strain[0, 0], strain[1, 2] = 1e-5, 1e-5
    evaluation = model.evaluate(wide.replicate(2), virial=True)
    assert evaluation.virial is not None
    energies = []
    for sign in (1.0, -1.0):
        deformed = torch.eye(3, dtype=torch.float64) + sign * strain
        moved = dataclasses.replace(wide, positions=wide.positions @ deformed, cell=wide.cell @ deformed)
        energies.append(model.evaluate(moved).energy.item())
    slope = (energies[0] - energies[1]) / 2.0
    assert slope == pytest.approx(float((evaluation.virial[1] * strain).sum()), rel=1e-5)
    assert model.evaluate(wide).virial is None
    shift = torch.zeros_like(wide.positions)
    shift[0, 0] = 1e-6
    ends = [model.evaluate(wide.with_positions(wide.positions + sign * shift)).energy.item() for sign in (1.0, -1.0)]
    assert (ends[1] - ends[0]) / 2e-6 == pytest.approx(evaluation.forces[0, 0].item(), rel=1e-5)


def test_the_atoms_given_are_left_alone() -> None:
    atoms = crystal()
    before = atoms.positions.copy()
    model = CalculatorModel(atoms)
    model.evaluate(model.system.with_positions(model.system.positions + 0.1))
    assert (atoms.positions == before).all()


def test_refusals() -> None:
    with pytest.raises(ValueError, match=re.escape("`atoms`: expected atoms with a calculator, got none")):
        CalculatorModel(Atoms("Ar"))
    model, other = CalculatorModel(crystal()), crystal()
    other.symbols[0] = "Ne"
    for wrong in (crystal()[:3], other):
        wrong.calc = LennardJones()
        with pytest.raises(ValueError, match=re.escape("`system`: expected systems of Ar4, got")):
            model.evaluate(CalculatorModel(wrong).system)
