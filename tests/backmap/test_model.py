"""Sampling: what is given stays, streams belong to structures, handedness and rotations are respected."""

from pathlib import Path

import pytest
import torch

from flashmd.backmap import BackmapOptions, backmap
from flashmd.backmap.dataset import Structure
from flashmd.backmap.graph import make_graph, make_trace
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.quality import assess
from flashmd.errors import CheckpointError
from tests.backmap.test_frames import rotation

BATCH_TOLERANCE = 1e-5  # nm: matrix products of other sizes round differently in float32


def sample(
    model: BackmapModel, structure: Structure, known: torch.Tensor, seeds: list[int], **options: object
) -> torch.Tensor:
    frames = structure.positions[None].expand(len(seeds), -1, -1, -1)
    drawn: torch.Tensor = model.sample(structure.chains, frames, known, seeds=torch.tensor(seeds), steps=4, **options)  # type: ignore[arg-type]
    return drawn


def test_known_atoms_are_bitwise_those_given(
    model: BackmapModel, structures: list[Structure], ca_only: torch.Tensor
) -> None:
    known = ca_only.clone()
    known[::2, :5] = True
    known &= structures[0].chains.mask
    drawn = sample(model, structures[0], known, [1, 2])
    assert torch.equal(drawn[:, known], structures[0].positions[None].expand(2, -1, -1, -1)[:, known])
    assert not torch.equal(
        drawn[:, ~known & structures[0].chains.mask][0], structures[0].positions[~known & structures[0].chains.mask]
    )


def test_what_is_unknown_does_not_matter(
    model: BackmapModel, structures: list[Structure], ca_only: torch.Tensor
) -> None:
    hidden = Structure("hidden", structures[0].chains, torch.where(ca_only[..., None], structures[0].positions, 7.0))
    assert torch.equal(sample(model, structures[0], ca_only, [1]), sample(model, hidden, ca_only, [1]))


def test_a_sample_depends_on_its_seed_alone(
    model: BackmapModel, structures: list[Structure], ca_only: torch.Tensor
) -> None:
    together = sample(model, structures[0], ca_only, [3, 4, 5])
    for index, seed in enumerate([3, 4, 5]):
        alone = sample(model, structures[0], ca_only, [seed])[0]
        assert torch.allclose(together[index], alone, atol=BATCH_TOLERANCE)
    assert (together[0] - together[1]).abs().max() > 0.01


def test_samples_turn_with_the_trace_but_do_not_mirror(
    model: BackmapModel, structures: list[Structure], ca_only: torch.Tensor
) -> None:
    turned = rotation(2).float()
    original = sample(model, structures[0], ca_only, [1])
    moved = Structure("moved", structures[0].chains, structures[0].positions @ turned.T)
    assert torch.allclose(sample(model, moved, ca_only, [1]), original @ turned.T, atol=1e-4)
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    mirrored = Structure("mirrored", structures[0].chains, structures[0].positions @ mirror)
    assert (sample(model, mirrored, ca_only, [1]) - original @ mirror).abs().max() > 0.01


def test_a_small_protein_is_seen_as_a_large_one_is(structures: list[Structure], ca_only: torch.Tensor) -> None:
    """Nobody is its own neighbour; all others, each as often as the rest, leave the mean of messages as it is."""
    trace = make_trace(structures[0].chains, structures[0].positions[None, :, 1], ca_only)
    seven = torch.arange(20) < 7
    graph = make_graph(trace[seven], [7], 12)
    for residue, near in enumerate(graph.neighbors.tolist()):
        assert sorted(near) == sorted(2 * [other for other in range(7) if other != residue])
    assert make_graph(trace[torch.arange(20) < 1], [1], 3).neighbors.tolist() == [[0, 0, 0]]


def test_the_shipped_model_knows_small_proteins() -> None:
    """Chignolin has fewer residues than others have neighbours; its backbone is as good as theirs."""
    result = backmap("data/structures/chignolin_native_ca.pdb", options=BackmapOptions(samples=4, seed=1))
    measures = assess(result.chains, result.structures)
    assert measures["ramachandran"].max() == 0.0
    assert measures["omega"].max() == 0.0


def test_heun_follows_the_same_flow(model: BackmapModel, structures: list[Structure], ca_only: torch.Tensor) -> None:
    for parameter in model.network.parameters():
        parameter.data *= 0.3
    chains, frames = structures[0].chains, structures[0].positions[None]
    seeds = torch.tensor([1])

    def run(steps: int, solver: str) -> torch.Tensor:
        return model.sample(chains, frames, ca_only, seeds=seeds, steps=steps, solver=solver)

    fine = run(320, "heun")
    euler, heun = (run(40, "euler") - fine).norm(), (run(40, "heun") - fine).norm()
    assert heun < 0.5 * euler


def test_guidance_is_added_and_spares_known_atoms(
    model: BackmapModel, structures: list[Structure], ca_only: torch.Tensor
) -> None:
    calls = []

    def push(positions: torch.Tensor, time: float, step: float) -> torch.Tensor:
        calls.append((time, step))
        return torch.full_like(positions, 0.1 if time == pytest.approx(1.0) else 0.0)

    free = sample(model, structures[0], ca_only, [1])
    pushed = sample(model, structures[0], ca_only, [1], guidance=push)
    moved = structures[0].chains.mask & ~ca_only
    assert torch.allclose((pushed - free)[:, moved], torch.tensor(0.1), atol=1e-5)
    assert torch.equal(pushed[:, ca_only], free[:, ca_only])
    assert calls == [(pytest.approx(0.25 * k), 0.25) for k in (1, 2, 3, 4)]


def test_a_model_survives_its_file(
    model: BackmapModel, structures: list[Structure], ca_only: torch.Tensor, tmp_path: Path
) -> None:
    model.save(tmp_path / "model.safetensors", card={"steps": 3})
    loaded = BackmapModel.load(tmp_path / "model.safetensors")
    assert torch.equal(sample(model, structures[0], ca_only, [1]), sample(loaded, structures[0], ca_only, [1]))


def test_messages(model: BackmapModel, structures: list[Structure], ca_only: torch.Tensor, tmp_path: Path) -> None:
    chains, frames = structures[0].chains, structures[0].positions[None]
    with pytest.raises(ValueError, match=r"`positions`.*\(1, 20, 14, 3\).*\(1, 20, 5, 3\).*Chains.pad"):
        model.sample(chains, frames[:, :, :5], ca_only, seeds=torch.tensor([1]))
    with pytest.raises(ValueError, match="a CA for every residue.*none for A:"):
        model.sample(chains, frames, torch.zeros_like(ca_only), seeds=torch.tensor([1]))
    with pytest.raises(ValueError, match="`seeds` or `noise`.*neither"):
        model.sample(chains, frames, ca_only)
    with pytest.raises(ValueError, match="`seeds` or `noise`.*both"):
        model.sample(chains, frames, ca_only, seeds=torch.tensor([1]), noise=torch.zeros(1, 20, 14, 3))
    with pytest.raises(ValueError, match="`noise`.*draw one for each frame"):
        model.sample(chains, frames, ca_only, noise=torch.zeros(2, 20, 14, 3))
    (tmp_path / "wrong").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"wrong.*flashmd train-backmap"):
        BackmapModel.load(tmp_path / "wrong")
