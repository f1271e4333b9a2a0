"""Force maps: feasibility, optimality and an exactly solvable molecule with a rigid bond."""

from __future__ import annotations

import numpy as np
import pytest

from flashmd.cg import aggregation_force_map, constrained_pairs_from, map_forces, optimal_force_map

BEADS = np.array([0, 4])
PAIRS = np.array([[0, 1], [4, 5], [2, 3]])
STANDARD_ERRORS = 4.5  # of a mean; a correct estimate exceeds this in fewer than 1 of 100,000 comparisons


def correlated_forces(n_frames: int = 400, n_atoms: int = 9) -> np.ndarray:
    generator = np.random.default_rng(3)
    mixing = generator.normal(size=(n_atoms, n_atoms)) * 30.0
    return np.einsum("ij,fjk->fik", mixing, generator.normal(size=(n_frames, n_atoms, 3)))


def test_optimal_map_satisfies_all_constraints() -> None:
    weights = optimal_force_map(correlated_forces(), BEADS, PAIRS)
    np.testing.assert_allclose(weights[:, BEADS], np.eye(2), atol=1e-12)
    np.testing.assert_allclose(weights[:, PAIRS[:, 0]], weights[:, PAIRS[:, 1]], atol=1e-12)


@pytest.mark.parametrize("l2", [0.0, 1e3])
def test_every_feasible_change_of_the_optimal_map_raises_the_objective(l2: float) -> None:
    forces = correlated_forces()
    weights = optimal_force_map(forces, BEADS, PAIRS, l2=l2)

    def objective(w: np.ndarray) -> float:
        return float((map_forces(w, forces) ** 2).sum() / len(forces) + l2 * (w**2).sum())

    generator = np.random.default_rng(0)
    best = objective(weights)
    for _ in range(20):
        change = generator.normal(size=weights.shape)
        change[:, [0, 1, 4, 5]] = 0.0
        change[:, 3] = change[:, 2]
        up, down = objective(weights + 1e-3 * change), objective(weights - 1e-3 * change)
        assert up > best
        assert down > best
        # The slope vanishes at the optimum, so both sides rise by the same amount.
        assert up - best == pytest.approx(down - best, rel=1e-4)


def test_aggregation_sums_each_bead_with_its_rigid_partners() -> None:
    pairs = np.array([[0, 1], [1, 2], [4, 5], [6, 7]])
    expected = np.zeros((2, 8))
    expected[0, [0, 1, 2]] = 1.0
    expected[1, [4, 5]] = 1.0
    np.testing.assert_array_equal(aggregation_force_map(8, BEADS, pairs), expected)


def rigid_dipole(radius: float, n: int, generator: np.random.Generator) -> tuple[np.ndarray, float]:
    """Forces on A (the bead, at distance `radius` from the origin), H (rigid rod to A) and B (spring to A).

    H feels a harmonic well at the origin. Integrating H over the sphere around A gives the mean force on the bead,
    -k R + k l (coth a - 1 / a) with a = k R l / kT.
    """
    kt, k, rod, spring = 2.5, 40.0, 0.3, 500.0
    a = k * radius * rod / kt
    # cos of the angle between rod and R has density exp(-a c): inverse of its distribution function.
    uniform = generator.uniform(size=n)
    cosine = -np.log(np.exp(a) + uniform * (np.exp(-a) - np.exp(a))) / a
    azimuth = generator.uniform(0.0, 2.0 * np.pi, n)
    sine = np.sqrt(1.0 - cosine**2)
    u = np.stack([cosine, sine * np.cos(azimuth), sine * np.sin(azimuth)], axis=1)
    on_h = -k * (np.array([radius, 0.0, 0.0]) + rod * u)
    on_b = -spring * generator.normal(scale=np.sqrt(kt / spring), size=(n, 3))
    exact = -k * radius + k * rod * (1.0 / np.tanh(a) - 1.0 / a)
    return np.stack([-on_b, on_h, on_b], axis=1), exact


def test_constraint_aware_maps_are_unbiased_and_the_plain_slice_is_not() -> None:
    generator = np.random.default_rng(1)
    bead, rod = np.array([0]), np.array([[0, 1]])
    training = np.concatenate([rigid_dipole(r, 20_000, generator)[0] for r in (0.2, 0.4, 0.8)])
    optimal = optimal_force_map(training, bead, rod, l2=0.0)
    for radius in (0.2, 0.5, 0.8):
        forces, exact = rigid_dipole(radius, 200_000, generator)
        for weights in (optimal, aggregation_force_map(3, bead, rod)):
            along = map_forces(weights, forces)[:, 0, 0]
            error = along.std() / np.sqrt(len(along))
            assert abs(along.mean() - exact) < STANDARD_ERRORS * error
        plain = forces[:, 0, 0]
        assert abs(plain.mean() - exact) > 20.0 * plain.std() / np.sqrt(len(plain))


def test_optimal_map_removes_the_noise_of_a_free_spring() -> None:
    forces, _ = rigid_dipole(0.5, 50_000, np.random.default_rng(2))
    weights = optimal_force_map(forces, np.array([0]), np.array([[0, 1]]), l2=0.0)
    # The spring pulls A and B in opposite directions; adding B's force cancels it.
    np.testing.assert_allclose(weights, [[1.0, 1.0, 1.0]], atol=0.02)


def test_map_forces_is_the_matrix_product() -> None:
    forces, weights = correlated_forces(n_frames=2100), np.random.default_rng(5).normal(size=(2, 9))
    np.testing.assert_allclose(map_forces(weights, forces), np.einsum("bi,fik->fbk", weights, forces), rtol=1e-10)


def test_constrained_pairs_are_found() -> None:
    generator = np.random.default_rng(4)
    frames = generator.normal(size=(50, 4, 3))
    direction = generator.normal(size=(50, 3))
    frames[:, 2] = frames[:, 0] + 0.1 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    assert constrained_pairs_from(frames.astype(np.float32)).tolist() == [[0, 2]]


def test_too_few_frames_to_find_constraints() -> None:
    with pytest.raises(ValueError, match=r"`positions`: expected \[n_frames >= 10, n_atoms, 3\], got \(3, 4, 3\)"):
        constrained_pairs_from(np.zeros((3, 4, 3)))


def test_two_beads_in_one_rigid_group() -> None:
    with pytest.raises(ValueError, match=r"beads \[0, 1\]: expected no rigid constraint between beads"):
        optimal_force_map(correlated_forces(), BEADS, np.array([[0, 3], [3, 4]]))


def test_forces_that_are_not_finite() -> None:
    forces = correlated_forces()
    forces[3, 2, 1] = np.nan
    with pytest.raises(ValueError, match="`forces`: expected finite numbers"):
        optimal_force_map(forces, BEADS, PAIRS)


def test_negative_ridge() -> None:
    with pytest.raises(ValueError, match="`l2`: expected a number of at least 0, got -1"):
        optimal_force_map(correlated_forces(), BEADS, PAIRS, l2=-1.0)
