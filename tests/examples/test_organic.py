"""The scripts of the all-atom model at tiny size: structures, labels, joined data."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import mdtraj
import numpy as np
import pytest
import torch

from flashmd.train import load_molecules

pytest.importorskip("ase")
pytest.importorskip("tblite")

ROOT = Path(__file__).parents[2]
NAMES = ("gfn2", "peptides", "organic_systems", "organic_dataset", "organic_xtb")


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples" / "data_generation"))
        yield {name: importlib.import_module(name) for name in NAMES}
        for name in NAMES:
            del sys.modules[name]


def test_forces_of_the_teacher_are_the_gradient(scripts: dict[str, ModuleType]) -> None:
    start = scripts["organic_systems"].cluster(["H2O", "CH4"], np.random.default_rng(1))
    teacher = scripts["gfn2"].Teacher(start.numbers, accuracy=0.01)
    _, forces = teacher(start.positions)
    direction, step = np.random.default_rng(2).normal(size=forces.shape), 1e-5
    energies = [teacher(start.positions + sign * step * direction)[0] for sign in (1.0, -1.0)]
    assert (energies[1] - energies[0]) / (2.0 * step) == pytest.approx((forces * direction).sum(), rel=1e-3)


def test_langevin_keeps_the_temperature(scripts: dict[str, ModuleType]) -> None:
    class Spring:
        masses = np.array([1.0, 12.0, 16.0])

        def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
            return 500.0 * float((x * x).sum()), -1000.0 * x

    gfn2 = scripts["gfn2"]
    path = gfn2.langevin(Spring(), np.zeros((3, 3)), 400.0, 40_000, random=np.random.default_rng(3))
    mean = np.mean([energy for _, energy, _ in path])
    # Nine harmonic coordinates. The error of the mean is 3 % at this length.
    assert mean == pytest.approx(4.5 * gfn2.BOLTZMANN * 400.0, rel=0.12)


def test_clusters_touch_without_overlap(scripts: dict[str, ModuleType]) -> None:
    systems = scripts["organic_systems"]
    start = systems.cluster(["H2O", "H2O", "NMA"], np.random.default_rng(4))
    parts = [
        systems.Structure(start.numbers[start.members == k], start.positions[start.members == k], np.zeros(1))
        for k in range(3)
    ]
    assert [len(part.numbers) for part in parts] == [3, 3, 12]
    contacts = [systems._contact(parts[i], parts[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert 0.5 < min(contacts) < 1.1


def test_everything_sampled_has_a_start(scripts: dict[str, ModuleType]) -> None:
    every = scripts["organic_systems"].ensembles()
    assert len({(each.group, each.name) for each in every}) == len(every)
    assert {each.group for each in every} == set(scripts["organic_dataset"].GROUPS)
    for each in every:
        start = each.start(np.random.default_rng(0))
        assert set(start.numbers) <= {1, 6, 7, 8}
        assert start.positions.shape == (len(start.numbers), 3)
        assert np.linalg.norm(start.positions.mean(0)) < 1e-9
        assert (each.group == "unseen") == (each.n_train == 0)


def test_the_dipeptide_has_its_torsions_and_bonds(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    peptides = scripts["peptides"]
    peptides.write(tmp_path / "ala.pdb", peptides.alanine_dipeptide(-60.0, 140.0))
    for path, phi, psi in (
        (tmp_path / "ala.pdb", -60.0, 140.0),
        (ROOT / "data/structures/alanine_dipeptide.pdb", 0, 0),
    ):
        molecule = mdtraj.load(str(path))
        assert molecule.n_atoms == 22
        assert molecule.topology.n_bonds == 21
        lengths = mdtraj.compute_distances(molecule, [[a.index, b.index] for a, b in molecule.topology.bonds])
        assert 0.09 < lengths.min() < lengths.max() < 0.16
        if phi:
            angles = [np.rad2deg(mdtraj.compute_phi(molecule)[1]), np.rad2deg(mdtraj.compute_psi(molecule)[1])]
            np.testing.assert_allclose(np.ravel(angles), [phi, psi], atol=0.5)
        nitrogen, alpha, carbon, beta = (
            molecule.xyz[0, molecule.topology.select(f"resname ALA and name {name}")[0]]
            for name in ("N", "CA", "C", "CB")
        )
        # In L-amino acids the side chain lies below the plane of N, CA and C, seen along this normal.
        assert np.dot(beta - alpha, np.cross(alpha - nitrogen, carbon - alpha)) < 0.0


def test_labels_continue_and_join(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems, driver = scripts["organic_systems"], scripts["organic_xtb"]
    small = systems.Ensemble("small", "H2O", lambda _: systems.structure("H2O"), 2, 1, range(0, 20, 5), [10])
    pair = systems.Ensemble(
        "cluster", "H2O:CH4", lambda random: systems.cluster(["H2O", "CH4"], random), 1, 1, [0, 5, 10], [5, 10]
    )
    monkeypatch.setattr(driver, "ensembles", lambda: [small, pair])
    small, pair = (dataclasses.replace(each, temperatures=(300.0, 500.0)) for each in (small, pair))
    driver.run(tmp_path / "frames")
    files = sorted((tmp_path / "frames").iterdir())
    assert len(files) == 2 * (2 + 1 + 1 + 1)
    before = {path.name: path.read_bytes() for path in files}
    for path in files[::3]:
        path.unlink()
    driver.run(tmp_path / "frames")
    after = {path.name: path.read_bytes() for path in (tmp_path / "frames").iterdir()}
    assert after == before
    scripts["organic_dataset"].write(tmp_path / "frames", tmp_path)
    train, test = (load_molecules(tmp_path / f"organic_gfn2{kind}.npz") for kind in ("", "_test"))
    assert train.n_frames == 2 * (2 * 4 + 3)
    assert test.n_frames == 2 * (1 + 2)
    assert train.bead_types == {"H": 1, "C": 2, "N": 3, "O": 4}
    water = test.of_group("small molecules").subset(torch.tensor([0]))
    teacher = scripts["gfn2"].Teacher(np.array([8, 1, 1]))
    energy, forces = teacher(water.positions.double().numpy())
    assert float(water.energy) == pytest.approx(energy, abs=1e-2)
    np.testing.assert_allclose(water.forces.numpy(), forces, atol=0.5)


def test_frames_with_huge_forces_are_dropped(scripts: dict[str, ModuleType]) -> None:
    systems, driver = scripts["organic_systems"], scripts["organic_xtb"]
    small = systems.Ensemble("small", "H2O", lambda _: systems.structure("H2O"), 1, 0, range(5), [])
    assert len(driver.sample(small, 300.0, 0, test=False)["energy"]) == 5
    small = dataclasses.replace(small, largest_force=1.0)
    assert driver.sample(small, 300.0, 0, test=False)["positions"].shape == (0, 3, 3)
