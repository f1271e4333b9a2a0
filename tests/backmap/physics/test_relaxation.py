"""Relaxation lowers the energy of every structure on its own and holds what it is told to hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flashmd.backmap import quality
from flashmd.backmap.chains import Chains
from flashmd.backmap.physics import relax
from tests.backmap.physics.conftest import ca_only, shaken

BATCH = 1e-9  # nm, float64; sums over a frame may be taken in another order
TOLERANCE = 50.0  # kJ/mol/nm, the default of `relax`


def test_energy_falls_and_forces_end_small(helix: tuple[Chains, Tensor]) -> None:
    chains, positions = helix
    raw = torch.cat([positions, shaken(chains, positions, 0.01)])
    relaxed = relax(chains, raw, ca_only(chains), steps=60)
    assert bool((relaxed.energy < relaxed.start_energy).all())
    assert float(relaxed.max_force.max()) < TOLERANCE
    assert int(relaxed.steps.max()) < 60
    again = relax(chains, relaxed.positions, ca_only(chains))
    assert bool((again.start_energy <= relaxed.energy).all())


def test_known_atoms_stay_to_the_bit(helix: tuple[Chains, Tensor]) -> None:
    chains, positions = helix
    known = ca_only(chains)
    raw = shaken(chains, positions.float(), 0.01)
    relaxed = relax(chains, raw, known).positions
    assert torch.equal(relaxed[:, known], raw[:, known])


def test_a_restraint_lets_known_atoms_move_a_little(helix: tuple[Chains, Tensor]) -> None:
    chains, positions = helix
    raw = shaken(chains, positions, 0.01)
    moves = [
        float((relax(chains, raw, ca_only(chains), restraint=stiffness).positions - raw)[:, :, 1].norm(dim=-1).max())
        for stiffness in (1e3, 1e5)
    ]
    assert 0 < moves[1] < moves[0] < 0.03


def test_batch_is_loop_over_frames(helix: tuple[Chains, Tensor]) -> None:
    chains, positions = helix
    raw = torch.cat([shaken(chains, positions, size, seed) for seed, size in enumerate((0.0, 0.01, 0.02))])
    together = relax(chains, raw, ca_only(chains))
    alone = [relax(chains, frame[None], ca_only(chains)) for frame in raw]
    torch.testing.assert_close(together.positions, torch.cat([each.positions for each in alone]), rtol=0, atol=BATCH)
    assert together.steps.tolist() == [int(each.steps) for each in alone]


def test_structures_stay_natural(native: tuple[Chains, Tensor]) -> None:
    chains, positions = native
    relaxed = relax(chains, positions, ca_only(chains))
    measures = quality.assess(chains, relaxed.positions, positions[0])
    assert measures["bonds"][0] == 100
    assert measures["bond_error"][0] < 0.012
    assert measures["overlaps"][0] == 0
    assert measures["rmsd_backbone"][0] < 0.2
    assert measures["rmsd_side_chain"][0] < 0.35
    assert measures["rmsd_ca"][0] == 0


def test_a_disulfide_bond_gets_its_length() -> None:
    chains = Chains.from_sequence(["C", "C"])
    half = torch.zeros(14, 3, dtype=torch.float64)
    half[:6] = torch.tensor(
        [
            [0.37, 0.1, 0.1],
            [0.28, 0.0, 0.0],
            [0.37, -0.1, 0.1],
            [0.37, -0.2, 0.1],
            [0.2, 0.02, -0.13],
            [0.12, -0.09, -0.2],
        ]
    )
    half[6:] = half[1]
    other = half * torch.tensor([-1.0, -1.0, 1.0])
    raw = torch.stack([half, other])[None]
    relaxed = relax(chains, raw, ca_only(chains), disulfides=[(0, 1)]).positions
    assert float((relaxed[0, 0, 5] - relaxed[0, 1, 5]).norm()) == pytest.approx(0.204, abs=0.003)
    free = relax(chains, raw, ca_only(chains)).positions
    assert float((free[0, 0, 5] - free[0, 1, 5]).norm()) > 0.25


@pytest.mark.parametrize(("name", "value"), [("restraint", -1.0), ("steps", 0), ("tolerance", 0.0)])
def test_numbers_must_be_positive(helix: tuple[Chains, Tensor], name: str, value: float) -> None:
    chains, positions = helix
    with pytest.raises(
        ValueError, match=rf"`{name}`: expected a positive number, got {value}. To fix it, pass a larger"
    ):
        relax(chains, positions, ca_only(chains), **{name: value})
