"""A bond through a ring is found and pushed out; natural structures have none."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.physics import Guidance, disulfides, ring_penetrations
from tests.backmap.physics.conftest import ca_only


def threaded() -> tuple[Chains, Tensor]:
    """A phenylalanine in the x-y plane with the bond CD-CE of a lysine through its ring."""
    chains = Chains.from_sequence(["K", "F"])
    positions = torch.zeros(1, 2, 14, 3, dtype=torch.float64)
    corner = torch.arange(6) * torch.pi / 3
    ring = 0.14 * torch.stack([corner.cos(), corner.sin(), torch.zeros(6)], 1)
    positions[0, 1, 5:11] = ring
    positions[0, 1, 4] = torch.tensor([0.29, 0.0, 0.0])
    positions[0, 1, [1, 0, 2, 3]] = torch.tensor(
        [[0.34, 0.14, 0.0], [0.3, 0.2, 0.1], [0.48, 0.15, 0.0], [0.55, 0.1, 0.1]]
    ).double()
    positions[0, 1, 11:] = positions[0, 1, 1]
    zigzag = torch.tensor([0.05, -0.04, 0.05, -0.04, 0.05, -0.04])
    positions[0, 0, [1, 4, 5, 6, 7, 8], 2] = torch.tensor([0.58, 0.455, 0.33, 0.07, -0.06, -0.19]).double() - 0.0
    positions[0, 0, [1, 4, 5, 6, 7, 8], 0] = 0.02 + zigzag.double()
    positions[0, 0, [0, 2, 3]] = torch.tensor([[0.1, 0.12, 0.6], [0.0, -0.1, 0.68], [0.1, -0.2, 0.7]]).double()
    positions[0, 0, 9:] = positions[0, 0, 1]
    return chains, positions


def test_bond_through_a_ring_is_found() -> None:
    chains, positions = threaded()
    found = ring_penetrations(chains, torch.cat([positions, positions + 0.0, positions]))
    assert found.frame.tolist() == [0, 1, 2]
    assert found.ring_residue.tolist() == [1, 1, 1]
    assert found.bond_residue.tolist() == [0, 0, 0]
    assert found.residues(3, 2).all()


def test_bond_beside_a_ring_is_not_found() -> None:
    chains, positions = threaded()
    positions[0, 0, :, 0] += 0.2
    assert len(ring_penetrations(chains, positions).frame) == 0


def test_guidance_pulls_the_bond_out() -> None:
    chains, positions = threaded()
    guidance = Guidance(chains, ca_only(chains))
    for step in range(12, 21):
        positions = positions + guidance(positions, step / 20, 0.05)
    assert len(ring_penetrations(chains, positions).frame) == 0


def test_natives_have_no_bond_in_a_ring(native: tuple[Chains, Tensor]) -> None:
    chains, positions = native
    assert len(ring_penetrations(chains, positions).frame) == 0


def test_disulfides_need_a_distance_in_every_frame() -> None:
    chains = Chains.from_sequence(["CGGGC", "C"])
    ca = torch.zeros(2, 6, 3)
    ca[:, :, 0] = torch.tensor([0.0, 2, 4, 6, 0.55, 0.9])
    assert disulfides(chains, ca) == ((0, 4),)
    ca[1, 4, 0] = 0.2
    assert disulfides(chains, ca) == ()
    ca[:, 4, 0], ca[:, 5, 0] = 1.2, 0.5
    assert disulfides(chains, ca) == ((0, 5),)


def test_cysteines_next_to_each_other_are_no_disulfide() -> None:
    chains = Chains.from_sequence("CGC")
    ca = torch.tensor([[[0.0, 0, 0], [0.38, 0, 0], [0.6, 0, 0]]])
    assert disulfides(chains, ca) == ()
