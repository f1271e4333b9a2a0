from __future__ import annotations

import mdtraj
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from flashmd.analysis import rmsd, superpose

# float64 arithmetic on coordinates of about 1 nm
EXACT = 1e-12
# mdtraj stores float32 coordinates
SINGLE = 2e-6


@pytest.fixture
def structure() -> np.ndarray:
    return np.cumsum(np.random.default_rng(3).normal(0.0, 0.2, (12, 3)), axis=0)


def test_rotated_and_shifted_copies_are_at_distance_zero(structure: np.ndarray) -> None:
    rotations = Rotation.random(50, random_state=np.random.default_rng(1)).as_matrix()
    frames = structure @ rotations + np.random.default_rng(2).normal(0.0, 5.0, (50, 1, 3))
    assert rmsd(frames, structure).max() < EXACT * 10
    np.testing.assert_allclose(superpose(frames, structure), np.broadcast_to(structure, frames.shape), atol=EXACT * 100)


def test_isotropic_swelling_has_the_closed_form(structure: np.ndarray) -> None:
    centred = structure - structure.mean(axis=0)
    radius_of_gyration = np.sqrt((centred**2).sum(axis=1).mean())
    np.testing.assert_allclose(rmsd(1.3 * structure, structure), 0.3 * radius_of_gyration, rtol=1e-12)


def test_mirror_image_is_not_the_same_structure(structure: np.ndarray) -> None:
    # The mirror image is unlike a chiral structure; the best rotation, found by brute force, bounds it.
    mirror = structure * np.array([1.0, 1.0, -1.0])
    value = rmsd(mirror, structure)[0]
    rotations = Rotation.random(20_000, random_state=np.random.default_rng(5)).as_matrix()
    centred, target = mirror - mirror.mean(axis=0), structure - structure.mean(axis=0)
    best = np.sqrt((((centred @ rotations) - target) ** 2).sum(axis=2).mean(axis=1)).min()
    assert value > 0.05
    assert value <= best < 1.2 * value


def test_agrees_with_mdtraj() -> None:
    generator = np.random.default_rng(4)
    reference = np.cumsum(generator.normal(0.0, 0.25, (10, 3)), axis=0)
    frames = reference + generator.normal(0.0, 0.2, (200, 10, 3))
    top = mdtraj.Topology()
    chain = top.add_chain()
    for _ in range(10):
        top.add_atom("CA", mdtraj.element.carbon, top.add_residue("GLY", chain))
    expected = mdtraj.rmsd(mdtraj.Trajectory(frames, top), mdtraj.Trajectory(reference, top))
    np.testing.assert_allclose(rmsd(frames, reference), expected, atol=SINGLE)


def test_tensors_and_planar_structures() -> None:
    square = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    turned = square.flip(-1)
    assert rmsd(turned, square)[0] < SINGLE


def test_superposed_frames_have_the_centre_of_the_reference(structure: np.ndarray) -> None:
    frames = structure + np.random.default_rng(7).normal(0.0, 0.1, (5, 12, 3)) + 9.0
    centres = superpose(frames, structure).mean(axis=1)
    np.testing.assert_allclose(centres, np.tile(structure.mean(axis=0), (5, 1)), atol=EXACT)


def test_other_number_of_atoms(structure: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"`reference`: expected 12 atoms as in the frames, got 11"):
        rmsd(structure, structure[:11])


def test_more_than_one_reference(structure: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"`reference`: expected one structure, got 2 frames"):
        rmsd(structure, np.stack([structure, structure]))


def test_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"`positions`: expected shape \(n_frames, n_atoms, 3\), got \(4, 2\)"):
        rmsd(np.zeros((4, 2)), np.zeros((4, 3)))


def test_non_finite_frame(structure: np.ndarray) -> None:
    frames = np.stack([structure, structure])
    frames[1, 3, 0] = np.nan
    with pytest.raises(ValueError, match=r"`positions`: expected finite coordinates, got a non-finite one in frame 1"):
        rmsd(frames, structure)
