from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flashmd.report.native import read_native, read_reference
from flashmd.report.run import read_run


@pytest.fixture(scope="module")
def structure(finished):
    return read_native(Path(__file__).parents[2] / "data/structures/chignolin_native_ca.pdb", read_run(finished.path))


def save(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def read(path: Path, structure, temperature: float = 340.0):
    return read_reference(path, structure, n_beads=10, temperature=temperature)


def test_frames_of_the_temperature_are_taken(structure, tmp_path: Path) -> None:
    positions = np.random.default_rng(0).normal(size=(300, 10, 3))
    kelvin = np.tile([300.0, 340.0], 150).astype(np.float32)
    path = save(tmp_path / "a.npz", positions=positions, temperature=kelvin, trajectory=np.arange(300))
    found = read(path, structure)
    np.testing.assert_array_equal(found.positions, positions[1::2])
    np.testing.assert_array_equal(found.trajectory, np.arange(300)[1::2])
    assert found.weights is None


def test_other_temperatures_are_reached_by_reweighting(structure, tmp_path: Path) -> None:
    # harmonic oscillator: energies are kT/2 chi-squared with one degree of freedom, so <U> = kT/2
    from flashmd.units import BOLTZMANN

    generator = np.random.default_rng(1)
    kelvin = np.repeat([300.0, 380.0], 20_000)
    energy = 0.5 * BOLTZMANN * kelvin * generator.normal(size=kelvin.size) ** 2
    positions = np.zeros((kelvin.size, 10, 3))
    path = save(tmp_path / "a.npz", positions=positions, temperature=kelvin, potential=energy)
    found = read(path, structure)
    assert (found.weights * energy).sum() == pytest.approx(0.5 * BOLTZMANN * 340.0, rel=0.02)


def test_weights_of_a_biased_simulation_are_kept(structure, tmp_path: Path) -> None:
    weights = np.arange(20.0)
    path = save(tmp_path / "a.npz", positions=np.ones((20, 10, 3)), temperature=340.0, weights=weights)
    np.testing.assert_array_equal(read(path, structure).weights, weights)
    with pytest.raises(ValueError, match="expected frames at 300 K, got 340 K and weights that hold for another"):
        read(path, structure, 300.0)


def test_messages(structure, tmp_path: Path) -> None:
    positions = np.ones((200, 10, 3))
    path = save(tmp_path / "a.npz", positions=positions, temperature=300.0)
    with pytest.raises(ValueError, match="expected frames at 340 K, got 300 K and no array `potential`"):
        read(path, structure)
    path = save(tmp_path / "b.npz", positions=positions)
    with pytest.raises(ValueError, match="expected arrays `positions` and `temperature`, got no temperature"):
        read(path, structure)
    path = save(tmp_path / "c.npz", positions=positions[:, :7], temperature=340.0)
    with pytest.raises(ValueError, match=r"expected positions of shape \(n_frames, 10, 3\), got \(200, 7, 3\)"):
        read(path, structure)
    (tmp_path / "d.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"reference .*d.npz: expected a readable NPZ file"):
        read(tmp_path / "d.npz", structure)
