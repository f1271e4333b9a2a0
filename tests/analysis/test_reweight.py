from __future__ import annotations

import sys

import numpy as np
import pytest

from flashmd.analysis import (
    Blocks,
    effective_samples,
    free_energy,
    mbar_weights,
    reduced_potentials,
    resampled_weights,
    temperature_weights,
    umbrella_potentials,
)
from flashmd.errors import MissingDependencyError
from flashmd.units import BOLTZMANN

SPRING = 100.0  # kJ/mol/nm^2


def harmonic(temperatures: list[float], n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a harmonic well at each temperature, and the rung of each; variance is kT / SPRING."""
    generator = np.random.default_rng(11)
    rung = np.repeat(np.arange(len(temperatures)), n_frames)
    deviation = np.sqrt(BOLTZMANN * np.array(temperatures) / SPRING)[rung]
    return generator.normal(size=rung.size) * deviation, rung


def test_two_harmonic_temperatures_give_the_analytic_variance_between_them() -> None:
    temperatures = [300.0, 400.0]
    x, rung = harmonic(temperatures, 40_000)
    energy = 0.5 * SPRING * x**2
    for target in (300.0, 345.0, 400.0):
        weight = temperature_weights(energy, rung, temperatures, temperature=target)
        variance = (weight * x**2).sum()
        assert variance == pytest.approx(BOLTZMANN * target / SPRING, rel=0.02)
        assert weight.sum() == pytest.approx(1.0, abs=1e-12)


def test_profile_from_both_rungs_is_the_analytic_one_and_sharper_than_from_one() -> None:
    temperatures, target = [300.0, 330.0], 300.0
    x, rung = harmonic(temperatures, 20_000)
    weight = temperature_weights(0.5 * SPRING * x**2, rung, temperatures, temperature=target)
    edges = np.linspace(-0.32, 0.32, 9)
    joint = free_energy([x], [edges], temperature=target, weights=weight, trajectory=rung)
    alone = free_energy([x[rung == 0]], [edges], temperature=target, blocks=Blocks(n_blocks=20))
    exact = 0.5 * SPRING * joint.centers[0] ** 2
    np.testing.assert_allclose(joint.values - joint.values.mean(), exact - exact.mean(), atol=0.3)
    assert joint.error[[0, -1]].mean() < alone.error[[0, -1]].mean()


def test_one_state_at_its_own_temperature_has_equal_weights() -> None:
    energy = np.random.default_rng(0).normal(size=50)
    weight = temperature_weights(energy, np.zeros(50), [300.0], temperature=300.0)
    np.testing.assert_allclose(weight, 1 / 50, rtol=1e-9)
    assert effective_samples(weight) == pytest.approx(50.0)


def test_order_of_frames_does_not_matter() -> None:
    temperatures = [300.0, 360.0]
    x, rung = harmonic(temperatures, 2000)
    order = np.random.default_rng(0).permutation(x.size)
    energy = 0.5 * SPRING * x**2
    weight = temperature_weights(energy, rung, temperatures, temperature=320.0)
    shuffled = temperature_weights(energy[order], rung[order], temperatures, temperature=320.0)
    np.testing.assert_allclose(shuffled, weight[order], rtol=1e-6)


def test_umbrella_windows_recover_the_unbiased_well() -> None:
    # harmonic well and harmonic bias give a normal distribution with known mean and variance in each window
    temperature, bias = 310.0, 300.0
    kt = BOLTZMANN * temperature
    centers = np.linspace(-0.6, 0.6, 7)
    generator = np.random.default_rng(3)
    center = np.repeat(centers, 5000)
    x = center * bias / (bias + SPRING) + generator.normal(size=center.size) * np.sqrt(kt / (bias + SPRING))
    u_kn, window = umbrella_potentials(x, center, spring=bias, temperature=temperature)
    weight = mbar_weights(u_kn, np.bincount(window), np.zeros(x.size))
    assert (weight * x).sum() == pytest.approx(0.0, abs=0.01)
    assert (weight * x**2).sum() == pytest.approx(kt / SPRING, rel=0.03)


def test_errors_of_umbrella_sampling_are_the_spread_of_repeats() -> None:
    # free-energy difference between both ends of a well sampled by three windows, the error of which comes from MBAR
    temperature, bias, centers = 310.0, 400.0, np.array([-0.4, 0.0, 0.4])
    kt = BOLTZMANN * temperature
    edges = [-0.5, -0.3, 0.3, 0.5]
    values, full, fixed = [], [], []
    for seed in range(16):
        generator = np.random.default_rng(seed)
        center = np.repeat(centers, 150)
        x = center * bias / (bias + SPRING) + generator.normal(size=center.size) * np.sqrt(kt / (bias + SPRING))
        u_kn, window = umbrella_potentials(x, center, spring=bias, temperature=temperature)
        weight = mbar_weights(u_kn, np.bincount(window), np.zeros(x.size))
        blocks = Blocks(n_blocks=150, n_resamples=20, min_count=1)
        again = resampled_weights(u_kn, window, np.zeros(x.size), trajectory=window, blocks=blocks)
        np.testing.assert_allclose(again.sum(axis=1), 1.0, rtol=1e-9)
        options = {"temperature": temperature, "weights": weight, "trajectory": window, "blocks": blocks}
        profile = free_energy([x], [edges], **options, resampled=again)
        values.append(-kt * np.log((weight * ((x >= -0.5) & (x < -0.3))).sum()))
        full.append(profile.error[0])
        fixed.append(free_energy([x], [edges], **options).error[0])
    # 16 repeats fix a standard deviation to 18 %
    assert np.mean(full) == pytest.approx(np.std(values, ddof=1), rel=0.35)
    assert np.mean(fixed) < 0.75 * np.mean(full)


def test_reduced_potentials() -> None:
    u_kn = reduced_potentials([1.0, 2.0], [300.0, 600.0])
    np.testing.assert_allclose(u_kn * BOLTZMANN, [[1 / 300, 2 / 300], [1 / 600, 2 / 600]])


def test_messages() -> None:
    with pytest.raises(ValueError, match="`energy`: expected finite values"):
        reduced_potentials([np.nan], [300.0])
    with pytest.raises(ValueError, match="`temperatures`: expected positive values in K"):
        reduced_potentials([1.0], [-3.0])
    with pytest.raises(ValueError, match="`rung`: expected 3 indices from 0 to 1, got shape"):
        temperature_weights([1.0, 2.0, 3.0], [0, 1, 2], [300.0, 310.0], temperature=300.0)
    with pytest.raises(ValueError, match="`n_k`: expected a sum of 4 frames, got 3"):
        mbar_weights(np.zeros((1, 4)), [3], np.zeros(4))
    with pytest.raises(ValueError, match="`u_kn`, `n_k` and `target`: expected shapes"):
        mbar_weights(np.zeros((1, 4)), [4], np.zeros(3))
    with pytest.raises(ValueError, match="`center`: expected one centre for each frame"):
        umbrella_potentials([0.0, 1.0], [0.0], spring=1.0, temperature=300.0)
    with pytest.raises(ValueError, match=r"`resampled`: expected shape \(n_resamples, 20\), got \(3, 4\)"):
        free_energy(
            [np.zeros(20)], [[-1.0, 1.0]], temperature=300.0, resampled=np.ones((3, 4)), blocks=Blocks(n_blocks=5)
        )


def test_missing_pymbar_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymbar", None)
    with pytest.raises(MissingDependencyError, match=r"package `pymbar`.*flashmd-cg\[analysis\]"):
        mbar_weights(np.zeros((1, 4)), [4], np.zeros(4))
