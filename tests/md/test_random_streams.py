"""Names of random streams never collide and do not depend on what else runs."""

from __future__ import annotations

import torch

from flashmd.md.random_streams import bead_streams, exchange_streams, replica_identities


def test_all_streams_of_a_run_differ() -> None:
    identities = replica_identities(5, 3)
    ptr = torch.arange(16) * 7
    streams = torch.cat([bead_streams(identities, ptr), exchange_streams(5, 3).reshape(-1)])
    assert streams.unique().numel() == streams.numel() == 15 * 7 + 4 * 3
    assert bool((streams >= 0).all())


def test_the_first_ladder_does_not_know_of_the_others() -> None:
    many, one = replica_identities(4, 3).reshape(4, 3), replica_identities(4, 1)
    assert torch.equal(many[:, 0], one)
    assert torch.equal(exchange_streams(4, 3)[:, 0], exchange_streams(4, 1)[:, 0])
    assert replica_identities(16384, 2).unique().numel() == 2 * 16384


def test_the_stream_of_a_bead_does_not_depend_on_its_place_in_the_batch() -> None:
    identities, ptr = torch.tensor([9, 4]), torch.tensor([0, 2, 5])
    together = bead_streams(identities, ptr)
    alone = bead_streams(torch.tensor([4]), torch.tensor([0, 3]))
    assert torch.equal(together[2:], alone)
