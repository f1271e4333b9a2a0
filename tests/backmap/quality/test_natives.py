"""Measures of experimental structures have the values of independent evaluations."""

from __future__ import annotations

import pytest

from flashmd.backmap import quality
from flashmd.backmap.chains import Chains
from tests.backmap.structures import SHARED, read_heavy

NATIVES = {"T0862": (93, 0.0, 2.8), "T0869": (104, 0.0, 6.1)}
"""Residues, pairs below 2.0 A and below 2.6 A for each 1,000 atoms, to one digit."""


@pytest.mark.parametrize("name", NATIVES)
def test_targets(name: str) -> None:
    path = SHARED / "backmapping" / f"test-full-scs-multi_FM_{name}.pdb"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    chains, native = read_heavy(path)
    n_residues, overlaps, contacts = NATIVES[name]
    measures = quality.assess(chains, native, native)
    assert chains.n_residues == n_residues
    assert measures["overlaps"].round(1) == overlaps
    assert measures["contacts"].round(1) == contacts
    for key in ("clashes", "d_residues", "mirrored", "omega", "bond_error", "rmsd_side_chain"):
        assert measures[key] == 0.0, key
    assert measures["ramachandran"] <= 2.0


def test_gap_of_t0862_is_found() -> None:
    path = SHARED / "backmapping" / "test-full-scs-multi_FM_T0862.pdb"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    chains, native = read_heavy(path)
    assert isinstance(chains, Chains)
    assert int((~chains.joined).sum()) == 2
    closed = native.clone()
    after = int((~chains.joined).nonzero()[0, 0]) + 1
    closed[after:] += closed[after - 1, 2] - closed[after, 0] + 0.077
    errors = quality.bond_errors(chains, closed, native)
    assert (errors.within[0], errors.within_all[0] < 1.0) == (1.0, True)
