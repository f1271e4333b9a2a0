from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm

from flashmd.analysis import Blocks, block_index, free_energy
from flashmd.units import BOLTZMANN

TEMPERATURE = 320.0
KT = BOLTZMANN * TEMPERATURE


def correlated(n: int, memory: float, seed: int) -> np.ndarray:
    """Autoregressive process of unit variance: samples of a harmonic well that are correlated in time."""
    noise = np.random.default_rng(seed).normal(size=n + 2000) * np.sqrt(1.0 - memory**2)
    return np.asarray(lfilter([1.0], [1.0, -memory], noise)[2000:])


def exact_profile(edges: np.ndarray) -> np.ndarray:
    """-kT ln of the mean density of a unit normal in each bin."""
    return np.asarray(-KT * np.log(np.diff(norm.cdf(edges)) / np.diff(edges)))


def test_harmonic_well_within_errors() -> None:
    edges = np.linspace(-2.4, 2.4, 17)
    profile = free_energy([correlated(200_000, 0.9, 0)], [edges], temperature=TEMPERATURE)
    exact = exact_profile(edges)
    deviation = (profile.values - profile.values.mean()) - (exact - exact.mean())
    assert np.abs(deviation / profile.error).max() < 4.0
    assert 0.3 < np.sqrt(np.mean((deviation / profile.error) ** 2)) < 1.8
    assert profile.error.max() < 0.15 * KT
    assert profile.values.min() == 0.0


def test_error_bars_cover_the_truth() -> None:
    # Student's 95 % interval of the free energy of one bin of a correlated series, over independent repeats
    edges = np.array([-0.5, 0.5])
    exact = -KT * np.log(np.diff(norm.cdf(edges))[0])
    repeats, student = 300, 2.093  # 19 degrees of freedom
    inside = 0
    for seed in range(repeats):
        x = correlated(8000, 0.9, seed)
        error = free_energy([x], [edges], temperature=TEMPERATURE, blocks=Blocks(n_blocks=20)).error[0]
        estimate = -KT * np.log(np.mean((x >= -0.5) & (x <= 0.5)))
        inside += abs(estimate - exact) < student * error
    # 300 repeats fix a coverage of 95 % to 1.3 %
    assert 0.91 < inside / repeats < 0.99


def test_standard_error_matches_the_spread_of_repeats() -> None:
    edges = np.array([-0.5, 0.5])
    blocks = Blocks(n_blocks=20, n_resamples=200)
    errors, shares = [], []
    for seed in range(150):
        x = correlated(8000, 0.8, seed)
        errors.append(free_energy([x], [edges], temperature=TEMPERATURE, blocks=blocks).error[0])
        shares.append(((x >= -0.5) & (x <= 0.5)).mean())
    spread = KT * np.std(np.log(shares))
    # 150 repeats fix a standard deviation to 6 %
    assert np.mean(errors) == pytest.approx(spread, rel=0.2)


def test_uncorrelated_errors_would_be_too_small() -> None:
    # frames of a slow process in single-frame blocks: the error misses the correlation, by sqrt((1 + a) / (1 - a))
    x = correlated(20_000, 0.98, 5)
    edges = np.linspace(-1.0, 1.0, 3)
    naive = free_energy([x], [edges], temperature=TEMPERATURE, blocks=Blocks(n_blocks=20_000)).error
    blocked = free_energy([x], [edges], temperature=TEMPERATURE, blocks=Blocks(n_blocks=20)).error
    assert (blocked > 3.0 * naive).all()


def test_surface_of_two_independent_wells() -> None:
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(2, 400_000))
    edges = (np.linspace(-1.5, 1.5, 7), np.linspace(-1.0, 1.0, 5))
    surface = free_energy([x, y], edges, temperature=TEMPERATURE)
    exact = exact_profile(edges[0])[:, None] + exact_profile(edges[1])[None, :]
    assert surface.values.shape == (6, 4)
    np.testing.assert_allclose(surface.values, exact - exact.min(), atol=0.05 * KT)
    np.testing.assert_array_equal(surface.counts, np.histogram2d(x, y, bins=edges)[0])
    np.testing.assert_allclose(surface.centers[1], [-0.75, -0.25, 0.25, 0.75])


def test_weights_reproduce_the_weighted_histogram() -> None:
    x = np.random.default_rng(3).uniform(0.0, 1.0, 5000)
    edges = np.linspace(0.0, 1.0, 5)
    profile = free_energy([x], [edges], temperature=TEMPERATURE, weights=x)
    density = np.histogram(x, edges, weights=x, density=True)[0]
    expected = -KT * np.log(density)
    np.testing.assert_allclose(profile.values, expected - expected.min(), atol=1e-12)


def test_last_edge_belongs_to_the_last_bin_and_outside_samples_to_none() -> None:
    x = np.array([0.0, 0.5, 1.0, 1.0, 2.0, -1.0])
    profile = free_energy(
        [x], [[0.0, 0.5, 1.0]], temperature=TEMPERATURE, blocks=Blocks(n_blocks=2, min_count=1, n_resamples=2)
    )
    assert profile.counts.tolist() == [1, 3]


def test_rare_bins_are_masked() -> None:
    x = np.concatenate([np.full(100, 0.25), np.full(9, 0.75)])
    profile = free_energy([x], [[0.0, 0.5, 1.0]], temperature=TEMPERATURE)
    assert np.isnan(profile.values).tolist() == [False, True]
    assert np.isnan(profile.error).tolist() == [False, True]
    assert profile.counts.tolist() == [100, 9]


def test_blocks_are_contiguous_and_do_not_span_trajectories() -> None:
    trajectory = np.repeat([7, 3, 9], [50, 30, 20])
    block = block_index(100, 10, trajectory=trajectory)
    assert block.max() == 9
    for each in np.unique(block):
        member = np.flatnonzero(block == each)
        assert (np.diff(member) == 1).all()
        assert np.unique(trajectory[member]).size == 1
        assert member.size == 10


def test_same_seed_same_errors() -> None:
    x = correlated(2000, 0.5, 0)
    first, again, other = (
        free_energy([x], [[-1.0, 0.0, 1.0]], temperature=TEMPERATURE, blocks=Blocks(seed=seed)).error
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_messages() -> None:
    x = np.zeros(100)
    with pytest.raises(ValueError, match="expected equal lengths and one set of edges each"):
        free_energy([x, x[:50]], [[0.0, 1.0], [0.0, 1.0]], temperature=300.0)
    with pytest.raises(ValueError, match="`edges`: expected at least two ascending bin edges"):
        free_energy([x], [[1.0, 0.0]], temperature=300.0)
    with pytest.raises(ValueError, match="`weights`: expected 100 finite, non-negative values, not all zero"):
        free_energy([x], [[0.0, 1.0]], temperature=300.0, weights=x)
    with pytest.raises(ValueError, match="histogram: expected a bin of at least 10 samples, got 0"):
        free_energy([x], [[1.0, 2.0]], temperature=300.0)
    with pytest.raises(
        ValueError, match="block bootstrap: expected two blocks or more, and a frame for each, got 5 fr"
    ):
        free_energy([x[:5]], [[0.0, 1.0]], temperature=300.0)
    with pytest.raises(ValueError, match=r"`coordinates`: expected finite arrays .* with non-finite values"):
        free_energy([x / np.inf + np.nan], [[0.0, 1.0]], temperature=300.0)
    with pytest.raises(ValueError, match=r"`trajectory`: expected shape \(100,\), got \(3,\)"):
        free_energy([x], [[0.0, 1.0]], temperature=300.0, trajectory=[0, 1, 2])
