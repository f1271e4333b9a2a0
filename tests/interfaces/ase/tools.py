"""Checks of a calculator together with the dynamics, optimisers and files of ASE; registered beside those of forces."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.melchionna import MelchionnaNPT
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE, LBFGS
from ase.phonons import Phonons
from ase.vibrations import Vibrations

from tests.interfaces.ase.conformance import Subject, assert_forgets, check, results

KELVIN = 30.0
"""Cold enough for any structure to stay where the model is sensible."""
HALF_STEP = 2.5
"""The energy error of velocity Verlet is four times smaller at half the step; half of that is left to chance."""


def moving(atoms: Atoms) -> Atoms:
    widths = np.sqrt(atoms.get_masses() * units.kB * KELVIN)
    atoms.set_momenta(widths[:, None] * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    return atoms


def excursion(atoms: Atoms, step: float, n_steps: int) -> float:
    """Return the largest deviation of the total energy from its start, eV."""
    start, energies = atoms.get_total_energy(), []
    dynamics = VelocityVerlet(atoms, step * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy() - start))
    dynamics.run(n_steps)
    return float(np.abs(energies).max())


@check()
def total_energy_is_conserved(subject: Subject) -> None:
    coarse = excursion(moving(subject.periodic()), subject.time_step, 20)
    fine = excursion(moving(subject.periodic()), 0.5 * subject.time_step, 40)
    assert 0.0 < HALF_STEP * fine < coarse


@check()
def langevin_dynamics_repeat(subject: Subject) -> None:
    ends = []
    for _ in range(2):
        atoms = moving(subject.periodic())
        options = {"temperature_K": KELVIN, "friction": 0.01 / units.fs, "fixcm": False}
        Langevin(atoms, subject.time_step * units.fs, rng=np.random.default_rng(1), **options).run(10)
        ends.append(atoms)
    np.testing.assert_array_equal(ends[0].positions, ends[1].positions)
    assert np.abs(ends[0].positions - subject.periodic().positions).max() > 0.0


@check("cubic")
def barostats(subject: Subject) -> None:
    step = subject.time_step * units.fs
    weak = {"pressure_au": 0.0, "compressibility_au": 1e-3 / units.GPa, "taut": 50.0 * step, "taup": 500.0 * step}
    coupled = {"ttime": 50.0 * step, "pfactor": 10.0}
    strong = {"tdamp": 100.0 * step, "pdamp": 1000.0 * step, "pressure_au": 0.0}
    for make in (
        lambda atoms: NPTBerendsen(atoms, step, temperature_K=KELVIN, **weak),
        lambda atoms: IsotropicMTKNPT(atoms, step, temperature_K=KELVIN, **strong),
        lambda atoms: MelchionnaNPT(atoms, step, temperature_K=KELVIN, externalstress=0.0, **coupled),
    ):
        atoms = moving(subject.atoms("cubic"))
        volume = atoms.cell.volume
        make(atoms).run(5)
        assert atoms.cell.volume != volume
        assert_forgets(subject, atoms)


@check()
def optimisers(subject: Subject) -> None:
    for optimiser in (FIRE, BFGS, LBFGS):
        atoms = subject.periodic()
        energy = atoms.get_potential_energy()
        optimiser(atoms, logfile=None, maxstep=0.02).run(fmax=1e-9, steps=15)
        assert atoms.get_potential_energy() < energy
        assert_forgets(subject, atoms)


@check("triclinic")
def cells_relax(subject: Subject) -> None:
    atoms = subject.atoms("triclinic")
    relaxed = FrechetCellFilter(atoms)
    energy, cell = atoms.get_potential_energy(), atoms.cell.array.copy()
    BFGS(relaxed, logfile=None, maxstep=0.02).run(fmax=1e-9, steps=4)
    assert atoms.get_potential_energy() < energy
    assert np.abs(atoms.cell.array - cell).max() > 0.0
    assert_forgets(subject, atoms)


@check()
def bands_with_own_and_shared_calculators(subject: Subject) -> None:
    ends = []
    for shared in (False, True):
        first, last = subject.periodic(), subject.periodic()
        last.positions[0] += (0.3, 0.2, -0.1)
        images = [first, *(first.copy() for _ in range(2)), last]
        for image in images:
            image.calc = first.calc if shared else subject.make()
        band = NEB(images, method="improvedtangent", allow_shared_calculator=shared)
        band.interpolate()
        FIRE(band, logfile=None).run(fmax=1e-9, steps=3)
        ends.append(np.concatenate([image.positions for image in images]))
    np.testing.assert_allclose(ends[0], ends[1], rtol=0.0, atol=100.0 * subject.memory)


@check("open")
def vibrations(subject: Subject) -> None:
    atoms = subject.atoms("open")
    with tempfile.TemporaryDirectory() as folder:
        modes = Vibrations(atoms, indices=[0, 1], name=str(Path(folder) / "vib"), delta=0.01)
        modes.run()
        hessian = modes.get_vibrations().get_hessian_2d()
    moved = subject.atoms("open")
    moved.positions[0, 0] += 0.01
    plus = moved.get_forces()[0, 0]
    moved.positions[0, 0] -= 0.02
    expected = (moved.get_forces()[0, 0] - plus) / 0.02
    assert abs(hessian[0, 0] - expected) <= 1e-6 * max(abs(expected), 1.0)


@check("small")
def phonons(subject: Subject) -> None:
    atoms = subject.atoms("small")
    with tempfile.TemporaryDirectory() as folder:
        crystal = Phonons(atoms, subject.make(), supercell=(2, 1, 1), delta=0.01, name=str(Path(folder) / "phonons"))
        crystal.run()
        crystal.read(acoustic=True)
        bands = crystal.band_structure([[0.0, 0.0, 0.0]])
    assert bands.shape == (1, 3 * len(atoms))
    assert np.isfinite(bands).all()


@check()
def files_keep_results(subject: Subject) -> None:
    atoms = subject.periodic()
    energy, forces, _ = results(atoms)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("atoms.traj", "atoms.extxyz", "atoms.json"):
            path = Path(folder) / name
            write(path, atoms)
            again = read(path)
            assert abs(again.get_potential_energy() - energy) <= 1e-7 * max(abs(energy), 1.0)
            np.testing.assert_allclose(again.get_forces(), forces, rtol=0.0, atol=1e-7)
