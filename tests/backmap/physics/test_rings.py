"""A bond through a ring is found and pushed out; natural structures have none."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.physics import Guidance, disulfides, ring_penetrations
from tests.backmap.physics.conftest import ca_only
from tests.backmap.threaded import threaded


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
