"""Guidance repairs what noise, reflection and overlap do to structures, and leaves natural ones alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from flashmd.backmap import quality
from flashmd.backmap.chains import Chains
from flashmd.backmap.physics import TERMS, Guidance, finish_termini
from flashmd.backmap.physics.chirality import chirality
from flashmd.backmap.residues import slot
from tests.backmap.peptides import peptide
from tests.backmap.physics.conftest import ca_only, shaken

NATIVE_MOVE = 0.025  # nm, root mean square; bonds and angles of entries differ from ideal ones by as much as this
BATCH = 1e-12  # nm, float64; sums over a frame may be taken in another order


def rms(moves: Tensor, chains: Chains) -> float:
    return float(moves[:, chains.mask].square().sum(-1).mean().sqrt())


def test_noise_is_taken_out_of_bonds_and_angles(native: tuple[Chains, Tensor]) -> None:
    chains, positions = native
    guidance = Guidance(chains, ca_only(chains))
    raw = shaken(chains, positions, 0.02)
    fixed = raw + guidance(raw, 1.0, 0.05)
    before, after = (quality.assess(chains, each, positions[0]) for each in (raw, fixed))
    assert before["bonds"][0] < 60
    assert after["bonds"][0] > 99.8
    assert after["bond_error"][0] < 0.015
    assert after["overlaps"][0] == 0
    assert after["d_residues"][0] == 0


def test_natives_hardly_move(native: tuple[Chains, Tensor]) -> None:
    chains, positions = native
    moves = Guidance(chains, ca_only(chains))(positions, 1.0, 0.05)
    assert rms(moves, chains) < NATIVE_MOVE


def test_contacts_of_natives_are_left_alone(native: tuple[Chains, Tensor]) -> None:
    chains, positions = native
    moves = Guidance(chains, ca_only(chains), terms=("lennard_jones",))(positions, 1.0, 0.05)
    assert rms(moves, chains) < 0.006


def test_known_atoms_stay_to_the_bit(helix: tuple[Chains, Tensor]) -> None:
    chains, positions = helix
    known = ca_only(chains)
    known[3:6, :4] = True
    raw = shaken(chains, positions.float(), 0.03)
    fixed = raw + Guidance(chains, known)(raw, 1.0, 0.05)
    assert torch.equal(fixed[:, known], raw[:, known])
    assert not torch.equal(fixed[:, chains.mask & ~known], raw[:, chains.mask & ~known])


def test_batch_is_loop_over_frames(helix: tuple[Chains, Tensor]) -> None:
    chains, positions = helix
    raw = torch.cat([shaken(chains, positions, size, seed) for seed, size in enumerate((0.005, 0.02, 0.04))])
    guidance = Guidance(chains, ca_only(chains))
    together = guidance(raw, 1.0, 0.05)
    alone = torch.cat([guidance(frame[None], 1.0, 0.05) for frame in raw])
    torch.testing.assert_close(together, alone, rtol=0, atol=BATCH)


def test_corrections_grow_towards_the_end(helix: tuple[Chains, Tensor]) -> None:
    chains, positions = helix
    raw = shaken(chains, positions, 0.02)
    guidance = Guidance(chains, ca_only(chains))
    sizes = [rms(guidance(raw, time, 0.05), chains) for time in (0.2, 0.75, 0.95, 1.0)]
    assert sizes[0] == 0
    assert sizes == sorted(sizes)


def test_peptide_bonds_become_trans_or_cis_as_the_trace_has_them() -> None:
    """Of noise this large, planarity alone leaves four bonds half way, whose CA atoms do not let them go on."""
    omega = [0.0 if place in (3, 7, 11) else 180.0 for place in range(14)]
    chains, positions = peptide(phi=-70.0, psi=140.0, omega=omega)
    raw = torch.cat([shaken(chains, positions[None], 0.08, seed) for seed in range(40)])
    fixed = raw + Guidance(chains, ca_only(chains))(raw, 1.0, 0.05)
    before, after = (quality.omega_flips(chains, each, positions) for each in (raw, fixed))
    assert before.min() > 0
    away = np.cos(np.deg2rad(quality.torsions(chains, fixed).omega - np.array(omega)))[:, 1:]
    assert away.min() > 0.5
    assert after.mean() < 0.05 * before.mean()


@pytest.mark.parametrize("name", ["ALA", "ILE", "THR", "LYS"])
def test_mirrored_side_chains_are_turned_back(helix: tuple[Chains, Tensor], name: str) -> None:
    chains, positions = helix
    place = [label.name for label in chains.labels].index(name)
    raw = positions.clone()
    n, ca, c = raw[0, place, :3]
    normal = torch.linalg.cross(n - ca, c - ca)
    normal = normal / normal.norm()
    raw[0, place, 4:] -= 2 * ((raw[0, place, 4:] - ca) @ normal)[:, None] * normal
    assert int((chirality(chains, raw)[0] < 0).sum()) == 1
    fixed = raw + Guidance(chains, ca_only(chains), terms=("chirality",))(raw, 0.6, 0.05)
    torch.testing.assert_close(fixed[:, chains.mask], positions[:, chains.mask])


@pytest.mark.parametrize(("name", "atoms"), [("VAL", ("CG1", "CG2")), ("LEU", ("CD1", "CD2"))])
def test_exchanged_methyl_groups_get_their_names_back(
    helix: tuple[Chains, Tensor], name: str, atoms: tuple[str, str]
) -> None:
    chains, positions = helix
    place = [label.name for label in chains.labels].index(name)
    one, other = (slot(name, atom) for atom in atoms)
    raw = positions.clone()
    raw[0, place, one], raw[0, place, other] = positions[0, place, other], positions[0, place, one]
    fixed = raw + Guidance(chains, ca_only(chains), terms=("chirality",))(raw, 0.6, 0.05)
    torch.testing.assert_close(fixed[:, chains.mask], positions[:, chains.mask])


@pytest.mark.parametrize("name", ["ILE", "THR"])
def test_wrong_branch_is_reflected(helix: tuple[Chains, Tensor], name: str) -> None:
    chains, positions = helix
    place = [label.name for label in chains.labels].index(name)
    raw = positions.clone()
    other = "CG1" if name == "ILE" else "OG1"
    ca, cb, stays = (raw[0, place, slot(name, atom)] for atom in ("CA", "CB", other))
    normal = torch.linalg.cross(ca - cb, stays - cb)
    normal = normal / normal.norm()
    branch = slot(name, "CG2")
    raw[0, place, branch] = raw[0, place, branch] - 2 * ((raw[0, place, branch] - cb) @ normal) * normal
    assert int((chirality(chains, raw)[1] < 0).sum()) == 1
    fixed = raw + Guidance(chains, ca_only(chains), terms=("chirality",))(raw, 0.6, 0.05)
    assert int((chirality(chains, fixed)[1] < 0).sum()) == 0


def test_overlapping_side_chains_part() -> None:
    chains = Chains.from_sequence(["K", "K"])
    _, one = peptide("K", chi=(180.0, 180.0, 180.0, 180.0))
    along = one[0, 8] - one[0, 1]
    axis = torch.linalg.cross(along, one[0, 0] - one[0, 1])
    axis = axis / axis.norm()
    other = 2 * (one @ axis)[..., None] * axis - one  # half a turn, which points the side chain the other way
    other = other + (one[0, 7] - other[0, 8]) + 0.01  # its NZ comes to lie on the first CE
    raw = torch.stack([one[0], other[0]])[None]
    assert float(torch.cdist(raw[0, 0], raw[0, 1]).min()) < 0.02
    fixed = raw + Guidance(chains, ca_only(chains))(raw, 1.0, 0.05)
    distance = torch.cdist(fixed[0, 0][chains.mask[0]], fixed[0, 1][chains.mask[1]])
    assert float(distance.min()) > 0.26


def test_unknown_terms_are_refused() -> None:
    chains = Chains.from_sequence("GA")
    with pytest.raises(ValueError, match=r"`terms`: expected names among bonds, angles.*, got bond. To fix it, remove"):
        Guidance(chains, ca_only(chains), terms=("bond",))
    with pytest.raises(ValueError, match=r"`known`.*\(2, 14\)"):
        Guidance(chains, torch.zeros(3, 14, dtype=torch.bool))
    assert set(TERMS) == {"bonds", "angles", "planarity", "lennard_jones", "chirality", "rings"}


def test_carboxylates_of_ends_are_flat_and_symmetric(helix: tuple[Chains, Tensor]) -> None:
    chains, positions = helix
    built, oxt = finish_termini(chains, positions)
    ca, c, o = (built[0, -1, each] for each in (1, 2, 3))
    assert float((o - c).norm()) == pytest.approx(0.125)
    assert float((oxt[0, -1] - c).norm()) == pytest.approx(0.125)
    assert float((o - ca).norm()) == pytest.approx(float((oxt[0, -1] - ca).norm()))
    assert float(torch.det(torch.stack([o - c, oxt[0, -1] - c, ca - c]))) == pytest.approx(0.0, abs=1e-9)
    assert float((o - positions[0, -1, 3]).norm()) < 0.01
    torch.testing.assert_close(built[0, :-1], positions[0, :-1])
    torch.testing.assert_close(oxt[0, :-1], positions[0, :-1, 2])
