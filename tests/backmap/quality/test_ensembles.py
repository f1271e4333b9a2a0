"""Measures of many structures: diversity, coherence and rotamers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from flashmd.backmap import quality
from flashmd.backmap.chains import Chains
from flashmd.backmap.quality.ensembles import superposed_rmsd
from tests.backmap.peptides import SEQUENCE, peptide

EXACT = 1e-9
"""Rounding of float64."""


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_superposed_deviation() -> None:
    """Rotation and shift do not count, a reflection does, and mdtraj finds the same."""
    mdtraj = pytest.importorskip("mdtraj")
    points = noise(30, 3).numpy()
    turned = points @ Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix().T + 2.0
    assert superposed_rmsd(points, turned) == pytest.approx(0.0, abs=1e-7)
    assert superposed_rmsd(points, points * [1.0, 1.0, -1.0]) > 0.1
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    for _ in points:
        topology.add_atom("CA", mdtraj.element.carbon, residue)
    other = noise(30, 3, seed=1).numpy()
    theirs = mdtraj.rmsd(mdtraj.Trajectory(points, topology), mdtraj.Trajectory(other, topology))[0]
    assert superposed_rmsd(points, other) == pytest.approx(theirs, rel=1e-4)


def test_diversity_of_samples_around_a_mean() -> None:
    """Two samples at right angles on a sphere around the reference are sqrt(2) apart: 1 - sqrt(2)."""
    chains, native = peptide("A" * 6)
    left, right = torch.zeros(2, *native.shape, dtype=torch.float64)
    left[:, 4, 0], right[:, 4, 1] = 0.05, 0.05
    samples = torch.stack([native + left, native + right])
    assert quality.side_chain_diversity(chains, samples, native) == pytest.approx(1 - np.sqrt(2), abs=EXACT)
    assert quality.side_chain_diversity(chains, samples[[0, 0]], native) == pytest.approx(1.0)
    # Superposition changes deviations that are small beside the molecule little.
    assert quality.diversity(chains, samples, native) == pytest.approx(1 - np.sqrt(2), abs=0.15)


def test_diversity_does_not_depend_on_where_samples_lie() -> None:
    chains, native = peptide()
    samples = native + 0.03 * noise(3, *native.shape)
    rotation = torch.from_numpy(Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix())
    moved = torch.cat([samples[:2], samples[2:] @ rotation.T + 1.0])
    expected = quality.diversity(chains, samples, native)
    assert quality.diversity(chains, moved, native) == pytest.approx(expected, abs=1e-7)


def test_coherence_compares_steps_of_side_chains() -> None:
    """Side chains that move twice as far as they should from frame to frame: 2, wherever the molecule goes."""
    chains, native = peptide("A" * 8)
    steps = torch.zeros(5, *native.shape, dtype=torch.float64)
    steps[:, :, 4:] = 0.01 * torch.arange(5.0)[:, None, None, None]
    moving, faster = native + steps, native + 2 * steps
    assert quality.coherence(chains, faster, moving) == pytest.approx(2.0, abs=EXACT)
    rotation = torch.from_numpy(Rotation.from_euler("z", 0.4).as_matrix())
    tumbling = torch.stack([frame @ torch.linalg.matrix_power(rotation, k).T + k for k, frame in enumerate(moving)])
    assert quality.coherence(chains, tumbling, moving) == pytest.approx(1.0, abs=1e-6)


def test_rotamers_are_counted_by_type() -> None:
    chains, first = peptide(chi=(-65.0, 170.0, 180.0, 180.0))
    counts = quality.rotamer_counts(chains, first)
    # chi1 in the last third; chi2 in the second third, of half a circle for aspartate: 170 of 180.
    assert int(counts.sum()) == len(SEQUENCE) - 2
    assert counts[15].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert counts[11].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert counts[3].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_divergence_of_rotamers() -> None:
    """Half of the residues in another rotamer: closed form of the Jensen-Shannon divergence in bits."""
    whole, half = np.zeros((2, 20, 9), dtype=np.int64)
    whole[10, 0], half[10, :2] = 8, 4
    middle, expected = [0.75, 0.25], 0.5 * np.log2(1 / 0.75) + 0.25 * (np.log2(0.5 / 0.75) + np.log2(0.5 / 0.25))
    assert sum(middle) == 1.0
    assert quality.rotamer_divergence(half, whole) == pytest.approx(expected, abs=EXACT)
    # A type weighs as much as the reference has residues of it.
    both, other = half.copy(), whole.copy()
    both[19, 0], other[19, 0] = 5, 24
    assert quality.rotamer_divergence(both, other) == pytest.approx(expected * 8 / 32, abs=EXACT)


def test_messages() -> None:
    chains, native = peptide()
    with pytest.raises(ValueError, match="`samples`: expected at least two structures, got 1. To fix it, draw samples"):
        quality.diversity(chains, native, native)
    with pytest.raises(
        ValueError, match="`reference`: expected 3 frames, got 2. To fix it, pass the frames whose CA were"
    ):
        quality.coherence(chains, native.expand(3, -1, -1, -1), native.expand(2, -1, -1, -1))
    nothing = quality.rotamer_counts(Chains.from_sequence("GG"), torch.zeros(2, 14, 3))
    with pytest.raises(ValueError, match="`counts` and `reference`: expected rotamers of at least one residue type"):
        quality.rotamer_divergence(nothing, nothing)
