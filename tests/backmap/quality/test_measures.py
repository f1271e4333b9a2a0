"""Measures of structures: closed forms, errors put in by hand, and what independent software measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from flashmd.backmap import quality
from flashmd.backmap.chains import Chains, ResidueLabel
from flashmd.backmap.quality._arrays import distances
from flashmd.backmap.quality.bonded import Bonded, disulfide_pairs
from flashmd.backmap.residues import ATOMS, RESIDUES, slot
from tests.backmap.peptides import SEQUENCE, peptide

EXACT = 1e-9
"""Rounding of float64 in lengths of some nm and angles of some hundred degrees."""
ROUNDED = 2e-3
"""mdtraj computes torsions in float32: degrees."""


def test_a_structure_is_without_fault_against_itself() -> None:
    chains, native = peptide()
    measures = quality.assess(chains, native, native)
    for name in ("clashes", "overlaps", "d_residues", "mirrored", "ramachandran", "omega", "ring_penetrations"):
        assert measures[name] == 0.0, name
    for name in ("bond_error", "bond_rms", "bond_largest", "phi", "psi", "rmsd_ca", "rmsd_backbone", "rmsd_side_chain"):
        assert measures[name] == 0.0, name
    for name in ("bonds", "bonds_all", "ideal_bonds", "chi1", "chi12"):
        assert measures[name] == 100.0, name
    assert set(measures) == {column.name for column in quality.COLUMNS}


def test_measures_of_frames_are_those_of_each_frame() -> None:
    chains, native = peptide()
    noise = torch.randn(3, *native.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    frames = native + 0.02 * noise
    together = quality.assess(chains, frames, native)
    alone = [quality.assess(chains, frame, native) for frame in frames]
    for name, values in together.items():
        np.testing.assert_allclose(values, [each[name][0] for each in alone], rtol=EXACT, err_msg=name)


def test_torsions_are_those_of_mdtraj() -> None:
    mdtraj = pytest.importorskip("mdtraj")
    chains, native = peptide(phi=-71.0, psi=132.0, omega=171.0, chi=(-52.0, 81.0, 170.0, -130.0))
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for kind in chains.types.tolist():
        residue = topology.add_residue(RESIDUES[kind], chain)
        for name in ATOMS[RESIDUES[kind]]:
            topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
    trajectory = mdtraj.Trajectory(chains.flatten(native).numpy()[None], topology)
    found = quality.torsions(chains, native)
    for ours, theirs in (
        (found.phi[0, 1:], mdtraj.compute_phi),
        (found.psi[0, :-1], mdtraj.compute_psi),
        (found.omega[0, 1:], mdtraj.compute_omega),
    ):
        np.testing.assert_allclose(ours, np.degrees(theirs(trajectory)[1][0]), atol=ROUNDED)
    chi1 = np.degrees(mdtraj.compute_chi1(trajectory)[1][0])
    ours = found.chi[0, :, 0]
    np.testing.assert_allclose(ours[~np.isnan(ours)], chi1, atol=ROUNDED)
    assert found.chi[0, SEQUENCE.index("K")] == pytest.approx([-52.0, 81.0, 170.0, -130.0], abs=1e-6)


def test_mirrored_residues_are_counted() -> None:
    chains, native = peptide()
    mirrored = native * torch.tensor([1.0, 1.0, -1.0])
    assert quality.d_residues(chains, torch.stack([native, mirrored])).tolist() == [0, len(SEQUENCE) - 1]
    assert quality.mirrored_side_chains(chains, torch.stack([native, mirrored])).tolist() == [0, 2]
    # CB reflected through the plane of N, CA and C.
    alanine = SEQUENCE.index("A")
    one = native.clone()
    n, ca, c, cb = (one[alanine, place] for place in (0, 1, 2, 4))
    normal = torch.linalg.cross(n - ca, c - ca)
    normal /= normal.norm()
    one[alanine, 4] = cb - 2 * torch.dot(cb - ca, normal) * normal
    assert quality.d_residues(chains, one).tolist() == [1]
    assert (quality.handedness(chains, one)[0] < 0).nonzero()[0].tolist() == [alanine]


@pytest.mark.parametrize(("name", "swapped"), [("I", ("CG1", "CG2")), ("T", ("OG1", "CG2"))])
def test_exchanged_branches_are_mirrored_side_chains(name: str, swapped: tuple[str, str]) -> None:
    chains, native = peptide()
    residue = SEQUENCE.index(name)
    places = [slot(RESIDUES[int(chains.types[residue])], atom) for atom in swapped]
    native[residue, places] = native[residue, places[::-1]]
    assert quality.mirrored_side_chains(chains, native).tolist() == [1]
    assert quality.d_residues(chains, native).tolist() == [0]


def test_known_overlaps_are_counted() -> None:
    """Two CB put 0.15 nm apart, 1000 / 60 for each 1,000 atoms; all other atoms are far from each other."""
    chains = Chains.from_sequence("A" * 12)
    scattered = 5.0 * torch.arange(12.0)[:, None, None] + 0.3 * torch.arange(14.0)[:, None] * torch.ones(3)
    close = scattered.clone()
    close[11, 4] = close[2, 4] + torch.tensor([0.15, 0.0, 0.0])
    both = torch.stack([scattered, close])
    assert quality.overlaps(chains, both, 0.16).tolist() == [0.0, 1000 / 60]
    assert quality.overlaps(chains, both, 0.14).tolist() == [0.0, 0.0]
    # Atoms three bonds apart do not count, however close they are.
    close[11, 4] = close[11, 3] + torch.tensor([0.15, 0.0, 0.0])
    assert quality.overlaps(chains, close, 0.16).tolist() == [0.0]


@pytest.mark.parametrize(("apart", "score"), [(1, 0.0), (2, 2 / 6), (5, 2 / 6)])
def test_clash_score_of_backbone_atoms(apart: int, score: float) -> None:
    """An O on top of the O of a residue at least two places away is a clash of both; next to it, it is none."""
    chains = Chains.from_sequence("AAAAAA")
    positions = 5.0 * torch.arange(6.0)[:, None, None] + 0.2 * torch.arange(14.0)[:, None] * torch.ones(3)
    positions[0, 3] = positions[apart, 3] + 0.05
    assert quality.clash_score(chains, positions)[0] == pytest.approx(100 * score)


@pytest.mark.parametrize(("sequence", "score"), [("AA", 100.0), ("GA", 0.0)])
def test_clash_score_of_side_chains_next_to_each_other(sequence: str, score: float) -> None:
    chains = Chains.from_sequence(sequence)
    positions = 5.0 * torch.arange(2.0)[:, None, None] + 0.2 * torch.arange(14.0)[:, None] * torch.ones(3)
    positions[0, 4] = positions[1, 4] + 0.01
    assert quality.clash_score(chains, positions)[0] == pytest.approx(score)


def test_bonds_of_a_stretched_structure() -> None:
    """Lengths scale with the structure: all within 10 % at 9 %, none at 11 %."""
    chains, native = peptide()
    for factor, within in ((1.09, 1.0), (1.11, 0.0), (0.91, 1.0), (0.89, 0.0)):
        errors = quality.bond_errors(chains, factor * native, native)
        lengths = distances(native.numpy()[None], Bonded.of(chains).bonds)
        assert errors.within[0] == within
        assert errors.mean_absolute[0] == pytest.approx(abs(factor - 1) * lengths.mean(), abs=EXACT)
        assert errors.rms[0] == pytest.approx(abs(factor - 1) * np.sqrt((lengths**2).mean()), abs=EXACT)
        assert errors.largest[0] == pytest.approx(abs(factor - 1) * lengths.max(), abs=EXACT)


def test_angles_against_the_force_field() -> None:
    """Angles do not change with size; one that is opened by 30 degrees adds 30^2 / n to the mean square."""
    chains, native = peptide()
    before = quality.angle_errors(chains, native)
    assert 0.0 < before < 6.0
    np.testing.assert_allclose(quality.angle_errors(chains, 1.2 * native), before, rtol=1e-6)
    assert quality.ideal_bonds(chains, 1.2 * native)[0] == 0.0
    cysteine = SEQUENCE.index("C")
    ca, cb, sg = (native[cysteine, place] for place in (1, 4, 5))
    arms = [end - cb for end in (ca, sg)]
    now = torch.rad2deg(torch.arccos(torch.nn.functional.cosine_similarity(*arms, dim=0))).item()
    ideal = 108.6  # of CX-2C-SH in ff14SB
    opened = native.clone()
    turn = Rotation.from_rotvec(np.deg2rad(30.0) * _unit(torch.linalg.cross(*arms))).as_matrix()
    opened[cysteine, 5] = cb + torch.from_numpy(turn) @ arms[1]
    n_angles = len(Bonded.of(chains).angles)
    change = ((now + 30 - ideal) ** 2 - (now - ideal) ** 2) / n_angles
    after = quality.angle_errors(chains, opened)
    assert after[0] ** 2 - before[0] ** 2 == pytest.approx(change, rel=1e-3)


def _unit(vector: torch.Tensor) -> np.ndarray:
    return (vector / vector.norm()).numpy()


def test_bond_through_a_ring_is_counted() -> None:
    """The side chain of a lysine put through the ring of a phenylalanine."""
    chains = Chains.from_sequence(["F", "K"])
    positions = 3.0 * torch.arange(2.0)[:, None, None] + 0.3 * torch.arange(14.0)[:, None] * torch.ones(3)
    angle = torch.arange(6) * torch.pi / 3
    positions[0, 5:11] = torch.stack([0.14 * angle.cos(), 0.14 * angle.sin(), torch.zeros(6)], dim=1)
    both = positions.expand(2, -1, -1, -1).clone()
    both[1, 1, 6], both[1, 1, 7] = torch.tensor([0.0, 0.01, 0.07]), torch.tensor([0.01, 0.0, -0.07])
    assert quality.assess(chains, both)["ring_penetrations"].tolist() == [0.0, 1.0]


def test_bonds_across_a_gap_count_in_one_of_two_columns() -> None:
    chains, native = peptide("AAAA")
    native[2:] += torch.tensor([1.0, 0.0, 0.0])
    joined = torch.tensor([True, False, True, False])
    labels = tuple(ResidueLabel("A", number, "", "ALA") for number in range(1, 5))
    gapped = Chains(chains.types, joined, labels)
    moved = native.clone()
    moved[2:] += torch.tensor([1.0, 0.0, 0.0])
    errors = quality.bond_errors(gapped, moved, native)
    n_bonds = 4 * 4 + 2
    assert errors.within == 1.0
    assert errors.within_all == pytest.approx(n_bonds / (n_bonds + 1))
    assert np.isnan(quality.torsions(gapped, native).phi[0]).tolist() == [True, False, True, False]
    # Two residues that are said to be joined although their CA are far apart are a gap, too.
    assert quality.bond_errors(chains, moved, native).within == 1.0


def test_disulfides_of_the_reference_are_bonds() -> None:
    chains, native = peptide("CAAC")
    chains_apart = Chains.from_sequence(["CAAC"])
    sulfur = slot("CYS", "SG")
    native[3, sulfur] = native[0, sulfur] + torch.tensor([0.205, 0.0, 0.0])
    assert disulfide_pairs(chains_apart, native.numpy()[None]).tolist() == [[sulfur, 3 * 14 + sulfur]]
    assert quality.overlaps(chains, native, 0.22)[0] == len(_close(chains, native, 0.22, skip={(5, 47)}))
    broken = native.clone()
    broken[3, sulfur] += torch.tensor([0.2, 0.0, 0.0])
    errors = quality.bond_errors(chains, broken, native)
    assert errors.within_all < errors.within


def _close(chains: Chains, positions: torch.Tensor, distance: float, skip: set[tuple[int, int]]) -> list[object]:
    """Pairs closer than a distance more than three bonds apart, found without a tree."""
    near = set(Bonded.of(chains).near.tolist())
    atoms = np.flatnonzero(chains.mask.numpy().ravel()).tolist()
    flat = positions.reshape(-1, 3)
    return [
        (first, second)
        for first in atoms
        for second in atoms
        if first < second
        and (flat[first] - flat[second]).norm() < distance
        and first * len(flat) + second not in near
        and (first, second) not in skip
    ]


def test_omega_and_cis_prolines() -> None:
    omegas = [180.0, 180.0, 150.1, 149.9, 0.0, -29.0]
    chains, positions = peptide("AAAAAA", omega=omegas)
    trans = peptide("AAAAAA")[1]
    # The first has no peptide bond before it; against all-trans, three of five are off; without reference, cis is flat.
    assert quality.omega_flips(chains, positions, trans)[0] == pytest.approx(100 * 3 / 5)
    assert quality.omega_flips(chains, positions)[0] == pytest.approx(100 * 1 / 5)
    prolines = Chains(torch.full((6,), RESIDUES.index("PRO")), chains.joined, chains.labels)
    assert quality.cis_prolines(prolines, positions)[0] == pytest.approx(100 * 2 / 5)
    assert np.isnan(quality.cis_prolines(chains, positions)).all()


def test_errors_of_the_backbone() -> None:
    chains, found = peptide(phi=-60.0, psi=-45.0)
    _, reference = peptide(phi=-70.0, psi=170.0)
    phi, psi = quality.backbone_errors(chains, found, reference)
    assert (phi[0], psi[0]) == (pytest.approx(10.0, abs=1e-6), pytest.approx(145.0, abs=1e-6))


def test_recovery_of_side_chain_torsions() -> None:
    reference = peptide(chi=(-65.0, 180.0, 180.0, 180.0))[1]
    chains, found = peptide(chi=(-26.0, 131.0, 180.0, 180.0))
    chi1, chi12 = quality.chi_recovery(chains, found, reference)
    assert (chi1[0], chi12[0]) == (100.0, 0.0)
    assert quality.chi_recovery(chains, peptide(chi=(-24.0, 180.0, 180.0, 180.0))[1], reference)[0] == 0.0


def test_equivalent_atoms_may_have_each_others_names() -> None:
    """Aspartate turned by half a circle is itself; asparagine is not."""
    chains, native = peptide("DNE")
    _, turned = peptide("DNE", chi=(-65.0, 0.0, 180.0, 180.0))
    assert quality.chi_recovery(chains, turned, native)[1][0] == pytest.approx(100 / 3)
    swapped = native.clone()
    for residue, first, second in ((0, "OD1", "OD2"), (2, "OE1", "OE2")):
        places = [slot(RESIDUES[int(chains.types[residue])], name) for name in (first, second)]
        swapped[residue, places] = native[residue, places[::-1]]
    assert quality.deviations(chains, swapped, native).side_chain[0] == 0.0
    swapped[1, [6, 7]] = native[1, [7, 6]]
    distance = (native[1, 6] - native[1, 7]).norm().item()
    n_side_chain = 4 + 4 + 5
    expected = np.sqrt(2 * distance**2 / n_side_chain)
    assert quality.deviations(chains, swapped, native).side_chain[0] == pytest.approx(expected, abs=EXACT)


def test_deviations_of_a_shifted_structure() -> None:
    chains, native = peptide()
    shifted = native + torch.tensor([0.03, 0.04, 0.0], dtype=torch.float64)
    away = quality.deviations(chains, shifted, native)
    for value in (away.ca, away.backbone, away.side_chain):
        assert value[0] == pytest.approx(0.05, abs=EXACT)


def test_ramachandran_regions() -> None:
    for phi, psi, percent in ((-60, -45, 0.0), (-120, 130, 0.0), (60, 40, 0.0), (-60, 0, 0.0), (60, -100, 100.0)):
        chains, positions = peptide("AAA", phi=phi, psi=psi)
        assert quality.ramachandran_outliers(chains, positions)[0] == percent, (phi, psi)
    # Left-handed conformations are natural for glycine only.
    for name, percent in (("G", 0.0), ("A", 100.0)):
        chains, positions = peptide(f"A{name}A", phi=85.0, psi=-165.0)
        assert quality.ramachandran_outliers(chains, positions)[0] == percent, name


def test_missing_atoms_are_left_out() -> None:
    chains, native = peptide()
    model = 1.05 * native
    model[SEQUENCE.index("K"), slot("LYS", "CE") :] = torch.nan
    measures = quality.assess(chains, model, native)
    assert all(np.isfinite(values).all() for name, values in measures.items() if name != "cis_prolines")
    assert measures["bonds"] == 100.0
    assert np.isnan(quality.torsions(chains, model).chi[0, SEQUENCE.index("K"), 2:]).all()


def test_messages() -> None:
    chains, native = peptide()
    with pytest.raises(ValueError, match=r"`positions`: expected shape \(n_frames, 14, 14, 3\), got \(5, 3\)"):
        quality.clash_score(chains, np.zeros((5, 3)))
    lost = native.clone()
    lost[2, 1, 0] = torch.nan
    with pytest.raises(
        ValueError, match="`positions`: expected finite coordinates of every CA, got none in residue A:VAL3"
    ):
        quality.assess(chains, lost)
    with pytest.raises(
        ValueError, match="`reference`: expected one structure or 3, got 2. To fix it, select one for each"
    ):
        quality.deviations(chains, native.expand(3, -1, -1, -1), native.expand(2, -1, -1, -1))


def test_rotation_leaves_inner_measures_alone() -> None:
    chains, native = peptide()
    rotation = torch.from_numpy(Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix())
    first, second = quality.assess(chains, native), quality.assess(chains, native @ rotation.T + 3.0)
    for name, values in first.items():
        np.testing.assert_allclose(values, second[name], atol=EXACT, err_msg=name)
