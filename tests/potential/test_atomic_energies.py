"""Constant energies of atoms by type."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch

from flashmd import System
from flashmd.nn import SchNetConfig
from flashmd.potential import AtomicEnergies, Potential, SchNetPotential, SumPotential, load, save
from tests.potential.build import BACKEND

ENERGIES = {1: -1000.125, 2: -5000.0, 5: -13000.0625}
TYPES = {"H": 1, "C": 2, "O": 5}


def atoms(**options: object) -> AtomicEnergies:
    return AtomicEnergies(ENERGIES, bead_types=TYPES, backend=BACKEND, **options)  # type: ignore[arg-type]


def network() -> SchNetPotential:
    config = SchNetConfig(n_types=6, n_channels=8, n_filters=8, n_basis=6, n_blocks=1, cutoff_upper=0.5, readout=(4,))
    return SchNetPotential(config, bead_types=TYPES, backend=BACKEND)


def molecules(dtype: torch.dtype = torch.float32) -> System:
    generator = torch.Generator().manual_seed(1)
    parts = [torch.tensor([5, 1, 1]), torch.tensor([2, 1, 1, 1, 1]), torch.tensor([5])]
    systems = [System.single(0.2 * torch.rand(len(t), 3, generator=generator, dtype=dtype), t) for t in parts]
    return System.concatenate(systems)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sum_over_the_atoms_of_each_system(dtype: torch.dtype) -> None:
    system = molecules(dtype)
    expected = [-15000.3125, -9000.5, -13000.0625]
    result = atoms().to(dtype).evaluate(system, virial=True)
    assert result.energy.dtype == torch.float64
    assert result.energy.tolist() == expected
    assert result.forces.dtype == dtype
    assert not result.forces.any()
    assert result.virial is not None
    assert result.virial.shape == (3, 3, 3)
    assert not result.virial.any()
    assert atoms().evaluate(system).virial is None
    assert atoms().energy(system).tolist() == expected


def test_the_energy_is_kept_until_the_types_change() -> None:
    potential, system = atoms(), molecules()
    first = potential.energy(system)
    first.zero_()  # what a caller does to the result must not matter
    assert potential.energy(system.with_positions(system.positions + 1.0))[2] == -13000.0625
    system.types[-1] = 1
    assert potential.energy(system)[2] == -1000.125


def test_within_a_sum_and_compiled() -> None:
    system, term = molecules(), network()
    total = SumPotential({"SchNet": term, "atoms": atoms()})
    alone, whole = term.evaluate(system, virial=True), total.evaluate(system, virial=True)
    torch.testing.assert_close(whole.energy, alone.energy + atoms().energy(system), rtol=0.0, atol=0.0)
    torch.testing.assert_close(whole.forces, alone.forces, rtol=0.0, atol=0.0)
    compiled = total.compile(system, backend=BACKEND).evaluate(system, virial=True)
    torch.testing.assert_close(compiled.energy, whole.energy, rtol=0.0, atol=1e-3)
    torch.testing.assert_close(compiled.forces, whole.forces, rtol=1e-4, atol=1e-3)
    positions = system.positions.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total.energy(system.with_positions(positions)).sum(), positions)
    torch.testing.assert_close(-gradient, whole.forces, rtol=1e-4, atol=1e-3)


def test_a_file_keeps_every_digit(tmp_path: Path) -> None:
    for potential in (atoms(), SumPotential({"SchNet": network(), "atoms": atoms()})):
        save(potential, tmp_path / "model.safetensors")
        back: Potential = load(tmp_path / "model.safetensors")
        term = back if isinstance(back, AtomicEnergies) else back.get_submodule("potentials.atoms")
        assert isinstance(term, AtomicEnergies)
        assert term.energies == ENERGIES
        assert back.bead_types == TYPES
    assert copy.deepcopy(atoms()).energies == ENERGIES


def test_types_without_an_energy_are_refused() -> None:
    system = System.single(torch.zeros(2, 3), torch.tensor([1, 3]))
    expected = r"`types`: expected types with an atomic energy, 1, 2, 5, got type 3 of atom 1"
    with pytest.raises(ValueError, match=expected):
        atoms().check(system)
    atoms().check(molecules())
    assert math.isnan(float(atoms().energy(system)))


@pytest.mark.parametrize("wrong", [{1: math.nan}, {-1: 0.0}])
def test_wrong_tables_are_refused(wrong: dict[int, float]) -> None:
    with pytest.raises(ValueError, match=r"`energies`: expected a finite number for each type from 0 on, got"):
        AtomicEnergies(wrong)


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`energies`: expected at least one type, got none"):
        AtomicEnergies({})
