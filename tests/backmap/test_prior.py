"""The tables of residues: moments, conformers, and the closed form of the flow under their mixture."""

import pytest
import torch

from flashmd.backmap.chains import Chains
from flashmd.backmap.dataset import Structure
from flashmd.backmap.frames import local_frames, to_local, to_world
from flashmd.backmap.graph import Trace, make_trace
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.network import _Context, _Mixture
from flashmd.backmap.prior import _FLOOR, ResiduePrior
from flashmd.backmap.residues import RESIDUES, slot_mask
from tests.backmap.conftest import helix


@pytest.fixture
def trace(structures: list[Structure], ca_only: torch.Tensor) -> Trace:
    return make_trace(structures[0].chains, structures[0].positions[None, :, 1], ca_only)


def test_start_has_the_stated_moments(model: BackmapModel, trace: Trace) -> None:
    noise = torch.randn(4000, 20, 14, 3, generator=torch.Generator().manual_seed(1))
    kinds, shapes = trace.types.repeat(4000), trace.shapes.repeat(4000)
    drawn = model.prior.start(kinds, shapes, noise.view(-1, 14, 3)).view(4000, 20, 42)
    mean, deviation = model.prior.mean[trace.types, trace.shapes], model.prior.deviation[trace.types, trace.shapes]
    assert torch.allclose(drawn.mean(0), mean, atol=0.02)
    assert torch.allclose(drawn.std(0), deviation, rtol=0.1, atol=1e-6)
    empty = ~slot_mask()[trace.types].repeat_interleave(3, dim=1)
    assert bool((drawn[:, empty] == 0).all())


def test_conformers_of_separate_clusters_are_found() -> None:
    """Two tight clusters of alanines give two centres, their width and their frequencies."""
    generator = torch.Generator().manual_seed(0)
    chains, ca = Chains.from_sequence("A" * 12), helix(12)
    axes, _ = local_frames(ca[None], chains.joined)
    made = []
    for _ in range(20):
        local = torch.zeros(12, 14, 3)
        local[:, 4] = torch.where(torch.rand(12, 1, generator=generator) < 0.25, 0.2, -0.2)
        made.append(Structure("made", chains, to_world(local, ca, axes[0])))
    prior = ResiduePrior(2, 0.5).fit(made)
    kind = RESIDUES.index("ALA")
    local = torch.cat([_local(each) for each in made])
    share = (prior.nearest(torch.full((240,), kind), local).bincount(minlength=2) / 240).sort().values
    assert share[0].item() == pytest.approx(0.25, abs=0.08)
    assert prior.log_frequency[kind, 0].exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert float(prior.width[kind].min()) == pytest.approx(_FLOOR)


def _local(structure: Structure) -> torch.Tensor:
    known = torch.zeros(structure.chains.n_residues, 14, dtype=torch.bool)
    trace = make_trace(structure.chains, structure.positions[None, :, 1], known)
    return to_local(structure.positions, trace.ca, trace.axes)


@pytest.mark.parametrize("time", [0.0, 0.3, 0.8, 1.0])
def test_mixture_velocity_is_the_posterior_mean(model: BackmapModel, trace: Trace, time: float) -> None:
    """Against a self-normalised average over draws of the mixture, one coordinate of one residue at a time."""
    prior = model.prior.double()
    generator = torch.Generator().manual_seed(4)
    row = int((trace.types == RESIDUES.index("GLY")).nonzero()[0])
    trace = trace[torch.tensor([row])]
    mean, start = prior.mean[trace.types, trace.shapes], prior.deviation[trace.types, trace.shapes].square()
    width = prior.width[trace.types].square()
    at = mean + 0.1 * torch.randn(1, 42, generator=generator, dtype=torch.float64) * slot_mask()[
        trace.types
    ].repeat_interleave(3, dim=1)
    mixture = _Mixture.of(prior, at.view(1, 14, 3), torch.tensor([time], dtype=torch.float64), trace)
    variance = time**2 * width + (1 - time) ** 2 * start
    centres = prior.centres[trace.types][0]
    used = (slot_mask()[trace.types].repeat_interleave(3, dim=1) & ~trace.known.repeat_interleave(3, dim=1))[0]
    rest = (at - time * centres - (1 - time) * mean)[:, used]
    weight = (prior.log_frequency[trace.types, trace.shapes][0] - (rest**2 / variance[0, used]).sum(-1) / 2).softmax(0)
    gain = (time * width - (1 - time) * start)[0, used] / variance[0, used]
    expected = (weight[:, None] * ((centres - mean)[:, used] + gain * rest)).sum(0)
    nothing = _Context(torch.zeros(1, 4).double(), torch.zeros(1, 42).double(), torch.zeros(1, 14).double())
    found = mixture.velocity(nothing).flatten()[used]
    assert torch.allclose(found, expected, atol=1e-9)
