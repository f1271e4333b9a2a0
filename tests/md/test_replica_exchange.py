"""Ladders: refused arguments. Statistics of exchanges are in tests/physics."""

from __future__ import annotations

import pytest
import torch

from flashmd.md import Exchanges, LangevinBAOAB, TemperatureLadder
from flashmd.md.random_streams import replica_identities
from tests.md.analytic import BACKEND, Harmonic, beads


def test_temperature_index_inverts_the_holders() -> None:
    none = torch.zeros(2, dtype=torch.int64)
    exchanges = Exchanges(torch.tensor([[2, 5], [0, 1], [4, 3]]), none, none)
    assert exchanges.temperature_index().tolist() == [1, 1, 0, 2, 2, 0]


def test_one_temperature_never_exchanges() -> None:
    ladder = TemperatureLadder([300.0], 2, backend=BACKEND)
    state = LangevinBAOAB(0.004, 1.0, seed=1, backend=BACKEND).init(beads(2), Harmonic(1.0), temperature=300.0)
    after, exchanges = ladder.step(state, ladder.init(), attempt=0)
    assert after is state
    assert exchanges.proposed.shape == (0,)


def test_a_ladder_does_not_depend_on_the_number_of_walkers() -> None:
    model, held = Harmonic(300.0), []
    for n_walkers in (1, 3):
        ladder = TemperatureLadder([300.0, 320.0, 341.0], n_walkers, seed=9, backend=BACKEND)
        exchanges = ladder.init()
        integrator = LangevinBAOAB(0.004, 1.0, seed=9, backend=BACKEND)
        baths = ladder.values[exchanges.temperature_index()]
        names = replica_identities(3, n_walkers)
        state = integrator.init(beads(3 * n_walkers), model, temperature=baths, identities=names)
        for step in range(1, 61):
            state = integrator.step(state, model)
            if step % 3 == 0:
                state, exchanges = ladder.step(state, exchanges, attempt=step // 3)
        first = exchanges.holder[:, 0]
        held.append((first // n_walkers, state.positions.reshape(3 * n_walkers, -1)[first]))
    assert torch.equal(held[0][0], held[1][0])
    assert held[0][0].tolist() != [0, 1, 2], "nothing was exchanged, so nothing was tested"
    assert torch.equal(held[0][1], held[1][1])


@pytest.mark.parametrize(
    ("temperatures", "n_walkers", "text"),
    [
        ([300.0, 300.0], 1, r"`temperatures`: expected positive, rising numbers, got \[300\.0, 300\.0\]"),
        ([], 1, r"`temperatures`: expected positive, rising numbers, got \[\]"),
        ([-1.0], 1, r"`temperatures`: expected positive, rising numbers, got \[-1\.0\]"),
        ([300.0], 0, r"`n_walkers`: expected at least 1, got 0"),
    ],
)
def test_bad_ladders_are_refused(temperatures: list[float], n_walkers: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TemperatureLadder(temperatures, n_walkers)
