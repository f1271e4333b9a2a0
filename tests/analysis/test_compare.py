from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest

from flashmd.analysis import Blocks, Ensemble, compare, summarize
from flashmd.units import BOLTZMANN

STRUCTURES = Path(__file__).parents[2] / "data" / "structures"
TEMPERATURE = 340.0


def load(name: str) -> np.ndarray:
    return np.asarray(mdtraj.load(str(STRUCTURES / name)).xyz[0], dtype=np.float64)


@pytest.fixture(scope="module")
def native() -> np.ndarray:
    return load("chignolin_native_ca.pdb")


def two_states(native: np.ndarray, folded: float, *, seed: int, n_frames: int = 4000) -> np.ndarray:
    """Independent frames, a known share near the native structure and the rest near the extended chain."""
    generator = np.random.default_rng(seed)
    is_folded = generator.uniform(size=n_frames) < folded
    centre = np.where(is_folded[:, None, None], native, load("chignolin_unfolded_ca.pdb"))
    return np.asarray(centre + generator.normal(0.0, 0.03, centre.shape))


def test_populations_of_two_states(native: np.ndarray) -> None:
    summary = summarize(Ensemble("model", two_states(native, 0.7, seed=0), TEMPERATURE), native)
    binomial = np.sqrt(0.7 * 0.3 / 4000)
    assert summary.folded.value == pytest.approx(0.7, abs=4 * binomial)
    assert summary.folded.error == pytest.approx(binomial, rel=0.5)
    assert summary.unfolded.value == pytest.approx(1.0 - summary.folded.value, abs=1e-12)
    share = summary.folded.value
    exact = -BOLTZMANN * TEMPERATURE * np.log(share / (1 - share))
    assert summary.folding_free_energy.value == pytest.approx(exact, abs=1e-9)
    slope = BOLTZMANN * TEMPERATURE / (share * (1 - share))
    assert summary.folding_free_energy.error == pytest.approx(slope * summary.folded.error, rel=0.1)
    assert summary.minimum_rmsd == summary.rmsd.min() < 0.05


def test_equal_ensembles_have_no_difference(native: np.ndarray) -> None:
    frames = two_states(native, 0.5, seed=1)
    same = compare(Ensemble("a", frames, TEMPERATURE), Ensemble("b", frames, TEMPERATURE), native)
    assert same.q.rms == same.rmsd.rms == 0.0
    assert same.q.overlap == pytest.approx(1.0)


def test_difference_of_two_state_profiles_is_the_log_ratio_of_populations(native: np.ndarray) -> None:
    left = Ensemble("a", two_states(native, 0.8, seed=2, n_frames=30_000), TEMPERATURE)
    right = Ensemble("b", two_states(native, 0.4, seed=3, n_frames=30_000), TEMPERATURE)
    result = compare(left, right, native, blocks=Blocks(min_count=300))
    # shape of either basin is the same, so the folded bins move against the unfolded ones by a known constant
    shift = BOLTZMANN * TEMPERATURE * np.log(0.8 / 0.4 * 0.6 / 0.2)
    n_folded = int(
        (np.isfinite(result.model.rmsd_profile.values) & (result.model.rmsd_profile.edges[0][:-1] < 0.3)).sum()
    )
    share = n_folded / result.rmsd.n_bins
    assert result.rmsd.rms == pytest.approx(shift * np.sqrt(share * (1 - share)), rel=0.1)
    assert result.rmsd.overlap == pytest.approx(0.6, abs=0.03)


def test_weights_turn_one_ensemble_into_the_other(native: np.ndarray) -> None:
    frames = two_states(native, 0.5, seed=4)
    plain = summarize(Ensemble("a", frames, TEMPERATURE), native)
    weights = np.where(plain.rmsd < 0.2, 3.0, 1.0)
    weighted = summarize(Ensemble("a", frames, TEMPERATURE, weights=weights), native)
    share = plain.folded.value
    assert weighted.folded.value == pytest.approx(3 * share / (3 * share + 1 - share))


def test_slow_trajectories_have_the_errors_of_the_trajectories(native: np.ndarray) -> None:
    # ten trajectories that never change basin: ten independent samples, however many frames they have
    frames = np.concatenate([two_states(native, float(k < 5), seed=k, n_frames=300) for k in range(10)])
    trajectory = np.repeat(np.arange(10), 300)
    ensemble = Ensemble("a", frames, TEMPERATURE, trajectory=trajectory)
    summary = summarize(ensemble, native, blocks=Blocks(n_blocks=10, n_resamples=2000))
    assert summary.folded.error == pytest.approx(np.sqrt(0.25 / 9), rel=0.1)


def test_a_basin_never_seen_has_no_error(native: np.ndarray) -> None:
    summary = summarize(Ensemble("a", two_states(native, 1.0, seed=5, n_frames=500), TEMPERATURE), native)
    assert summary.folding_free_energy.value == -np.inf
    assert np.isnan(summary.folding_free_energy.error)


def test_temperatures_must_agree(native: np.ndarray) -> None:
    frames = two_states(native, 0.5, seed=6, n_frames=100)
    with pytest.raises(ValueError, match="expected one temperature, got 300 K and 340 K"):
        compare(Ensemble("a", frames, 300.0), Ensemble("b", frames, 340.0), native)


def test_message_names_the_ensemble(native: np.ndarray) -> None:
    frames = two_states(native, 0.5, seed=6, n_frames=100)
    frames[5, 0, 0] = np.inf
    with pytest.raises(ValueError, match=r"`positions of model`: expected finite coordinates"):
        summarize(Ensemble("model", frames, 300.0), native)
