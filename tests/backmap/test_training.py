"""Training: the loss and its gradient, masks and crops, bitwise continuation, messages."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flashmd.backmap.chains import Chains
from flashmd.backmap.dataset import Structure, load_structures
from flashmd.backmap.flow import flow_loss, rigid_pairs
from flashmd.backmap.frames import local_frames, to_world
from flashmd.backmap.layout import heavy_layout
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.residues import ATOMS, RESIDUES, slot
from flashmd.backmap.structure_text import PdbText
from flashmd.backmap.training import BackmapTraining, load_config, train
from flashmd.backmap.training.batches import blur, crop, epoch_batches, give_atoms, make_batch, make_example
from flashmd.backmap.training.run import learning_rate
from flashmd.cli.main import app
from flashmd.errors import CheckpointError, ConfigurationError
from tests.backmap.conftest import helix

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_backmap.yaml"
NETWORK = {"width": 8, "edge_width": 8, "n_layers": 1, "n_neighbors": 4, "n_conformers": 2, "dropout": 0.2}


def write_chains(structures: Sequence[Structure], path: Path) -> Path:
    """Write a data file."""
    names = sorted({name for atoms in ATOMS.values() for name in atoms})
    xyz, atom, owner, kinds, pointers = [], [], [], [], [0]
    for structure in structures:
        for index, kind in enumerate(structure.chains.types.tolist()):
            residue = len(kinds)
            kinds.append(kind)
            for place, name in enumerate(ATOMS[RESIDUES[kind]]):
                xyz.append(np.round(structure.positions[index, place].numpy() * 1e4))
                atom.append(names.index(name))
                owner.append(residue)
        pointers.append(len(kinds))
    np.savez(
        path,
        xyz_milli_angstrom=np.array(xyz, dtype=np.int32),
        atom_name=np.array(atom, dtype=np.uint8),
        atom_names=np.array(names),
        residue_of_atom=np.array(owner, dtype=np.int32),
        residue_type=np.array(kinds, dtype=np.uint8),
        residue_types=np.array(RESIDUES),
        residue_number=np.arange(len(kinds), dtype=np.int16),
        insertion_code=np.full(len(kinds), 32, dtype=np.uint8),
        chain_ptr=np.array(pointers, dtype=np.int32),
        chain_id=np.array([f"{structure.name}:B" for structure in structures]),
    )
    return path


@pytest.fixture
def data(structures: list[Structure], tmp_path: Path) -> Path:
    return write_chains(structures, tmp_path / "chains.npz")


def settings(data: Path, output: Path, **changes: Any) -> BackmapTraining:
    values: dict[str, Any] = {
        "data": data,
        "validation": data,
        "output": output,
        "network": NETWORK,
        "steps": 6,
        "batch_residues": 30,
        "crop_residues": 15,
        "precision": "float32",
        "report_every": 2,
    }
    return BackmapTraining.model_validate(values | changes)


def test_a_data_file_is_read_as_written(structures: list[Structure], data: Path) -> None:
    for read, written in zip(load_structures(data), structures, strict=True):
        assert read.name == f"{written.name}:B"
        assert torch.equal(read.chains.types, written.chains.types)
        assert read.chains.labels[0].chain == "B"
        assert torch.equal(read.chains.joined, written.chains.joined)
        assert torch.allclose(read.positions, written.positions, atol=1e-4)


def test_loss_is_zero_for_the_true_velocity_and_not_otherwise(model: BackmapModel, structures: list[Structure]) -> None:
    batch = make_batch([make_example(each) for each in structures], torch.tensor([0.2, 0.7, 0.8, 0.95]), 6)
    noise = torch.randn(2, 80, 14, 3, generator=torch.Generator().manual_seed(0))
    noise[1] = 0.0
    start = model.prior.start(batch.trace.types, batch.trace.shapes, noise[0])

    class Oracle(torch.nn.Module):
        def forward(self, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
            return (batch.structure - start) * batch.trace.free[..., None] + shift, torch.zeros(80, 4)

    shift = torch.zeros(())
    assert flow_loss(Oracle(), model.prior, batch, noise)[:2].abs().max() < 1e-6  # type: ignore[arg-type]
    shift = 0.1 * torch.randn(80, 14, 3, generator=torch.Generator().manual_seed(1))
    assert (flow_loss(Oracle(), model.prior, batch, noise)[:2] > 1e-3).all()  # type: ignore[arg-type]


def test_every_parameter_learns(model: BackmapModel, structures: list[Structure]) -> None:
    batch = make_batch([make_example(each) for each in structures], torch.tensor([0.2, 0.7, 0.8, 0.95]), 6)
    noise = torch.randn(2, 80, 14, 3, generator=torch.Generator().manual_seed(0))
    flow_loss(model.network, model.prior, batch, noise).sum().backward()
    for name, parameter in model.network.named_parameters():
        assert parameter.grad is not None, name
        assert bool((parameter.grad != 0).any()), name


def test_rigid_pairs() -> None:
    table = rigid_pairs()

    def rigid(residue: str, first: str, second: str) -> bool:
        low, high = sorted((slot(residue, first), slot(residue, second)))
        return bool(table[RESIDUES.index(residue), low, high])

    assert rigid("VAL", "CA", "CB")
    assert rigid("VAL", "CG1", "CG2")
    assert not rigid("LEU", "CA", "CD1")
    assert rigid("PHE", "CG", "CZ")
    assert not rigid("PRO", "CG", "N") or rigid("PRO", "CD", "N")
    assert not rigid("TRP", "CA", "CH2")


def test_crops_are_compact_and_masks_are_consistent(structures: list[Structure]) -> None:
    example = make_example(structures[0])
    generator = torch.Generator().manual_seed(0)
    small = crop(example, 7, generator)
    assert small.trace.types.shape == (7,)
    assert bool((small.trace.place.diff() > 0).all())
    assert crop(example, 20, generator) is example
    kinds = set()
    for _ in range(60):
        given = give_atoms(example, generator).trace
        assert bool(given.known[:, 1].all())
        empty = ~(example.trace.free | example.trace.known)
        assert not bool((given.known & empty).any())
        kinds.add((int(given.known.sum()), bool(given.has_centroid.any())))
    assert len(kinds) > 4


def test_batches_depend_on_seed_and_epoch_alone(structures: list[Structure]) -> None:
    examples = [make_example(each) for each in structures]

    def first(seed: int, epoch: int) -> torch.Tensor:
        sizes = {"batch_residues": 20, "crop_residues": 10, "n_neighbors": 4}
        batch, generator = next(iter(epoch_batches(examples, **sizes, trace_noise=0.01, seed=seed, epoch=epoch)))
        parts = (batch.structure, batch.time, batch.seen.ca, batch.seen.window, torch.rand(2, generator=generator))
        return torch.cat([part.flatten() for part in parts])

    assert torch.equal(first(1, 0), first(1, 0))
    assert not torch.equal(first(1, 0), first(1, 1))
    assert not torch.equal(first(1, 0), first(2, 0))


def test_blur_moves_what_residues_see_of_each_other_only(structures: list[Structure]) -> None:
    example = make_example(structures[0])
    trace = example.trace
    many = [blur(trace, 0.01, torch.Generator().manual_seed(seed)) for seed in range(200)]
    moved = torch.stack([each.ca - trace.ca for each in many])
    assert abs(float(moved.std()) - 0.01) < 3e-4
    assert abs(float(moved.mean())) < 3e-4
    shift = torch.stack([each.window - trace.window for each in many])
    there = trace.window[..., 3] == 1
    assert abs(float(shift[:, there, :3].std()) - 0.01) < 3e-4
    assert not shift[:, ~there].any()
    assert not shift[..., 3].any()
    batch = make_batch([example], torch.tensor([0.5]), 4, [many[0]])
    assert torch.equal(batch.trace.ca, trace.ca)
    assert torch.equal(batch.seen.axes, trace.axes)
    assert torch.equal(batch.structure, example.structure)
    assert not torch.equal(batch.graph.shift, make_batch([example], torch.tensor([0.5]), 4).graph.shift)


def test_dropout_is_for_training_alone(data: Path, tmp_path: Path) -> None:
    model = train(settings(data, tmp_path / "run"))
    batch = make_batch([make_example(each) for each in load_structures(data)], torch.full((4,), 0.5), 4)
    noise = torch.randn(2, 80, 14, 3, generator=torch.Generator().manual_seed(0))

    def loss() -> torch.Tensor:
        return flow_loss(model.network, model.prior, batch, noise)

    assert torch.equal(loss(), loss())
    model.train()
    assert not torch.equal(loss(), loss())


def test_an_interrupted_training_continues_bitwise(data: Path, tmp_path: Path) -> None:
    whole = train(settings(data, tmp_path / "whole"))

    class Stopped(Exception):
        pass

    def stop(_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train(settings(data, tmp_path / "parts"), on_report=stop)
    continued = train(settings(data, tmp_path / "parts"))
    for (name, value), other in zip(whole.state_dict().items(), continued.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    saved = BackmapModel.load(tmp_path / "parts" / "model.safetensors")
    assert torch.equal(saved.network.types.weight, whole.network.types.weight)
    assert len((tmp_path / "parts" / "log.csv").read_text().splitlines()) == 4


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_compiled_network_trains_alike(data: Path, tmp_path: Path) -> None:
    network = NETWORK | {"dropout": 0.0}  # compiled code draws other random numbers
    plain, compiled = (
        train(settings(data, tmp_path / str(use), network=network, compile=use)) for use in (False, True)
    )
    for (name, value), other in zip(plain.state_dict().items(), compiled.state_dict().values(), strict=True):
        assert torch.allclose(value, other, atol=1e-5), name


def test_training_learns_what_the_sequence_decides(tmp_path: Path) -> None:
    """Side chains that turn over behind a glycine: only messages along the chain can tell."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(12):
        letters = "".join("GA"[int(k)] for k in torch.randint(2, (30,), generator=generator))
        chains, ca = Chains.from_sequence(letters), helix(30)
        axes, _ = local_frames(ca[None], chains.joined)
        behind = torch.tensor([k > 0 and letters[k - 1] == "G" for k in range(30)])
        local = torch.zeros(30, 14, 3)
        local[:, 4] = torch.where(behind[:, None], 0.15, -0.15)
        local = (local + 0.01 * torch.randn(30, 14, 3, generator=generator)) * chains.mask[:, :, None]
        local[:, 1] = 0.0
        made.append(Structure(f"made{index}", chains, to_world(local, ca, axes[0])))
    data = write_chains(made, tmp_path / "made.npz")
    points: list[Any] = []
    changes = {"steps": 200, "report_every": 100, "learning_rate": 1e-2, "batch_residues": 60, "average": 0.9}
    train(settings(data, tmp_path / "run", **changes), on_report=points.append)
    assert points[-1].validation_conformer < 0.8 * points[0].validation_conformer
    assert points[-1].validation_velocity < points[0].validation_velocity


def test_learning_rate_rises_stays_and_falls(tmp_path: Path) -> None:
    config = settings(tmp_path, tmp_path, steps=1000, decay=0.5, learning_rate=1.0)
    rates = [learning_rate(config, step) for step in (0, 99, 400, 750, 1000)]
    assert rates == pytest.approx([0.01, 1.0, 1.0, 0.5, 0.0])


def test_command_line_and_messages(data: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path / "run", steps=2)
    (tmp_path / "train.yaml").write_text(config.to_yaml())
    result = CliRunner().invoke(app, ["train-backmap", str(tmp_path / "train.yaml")])
    assert result.exit_code == 0, result.output
    assert "step 2: velocity" in result.output
    assert f"model in {tmp_path / 'run' / 'model.safetensors'}" in result.output
    with pytest.raises(CheckpointError, match="the state of this training, got that of another one"):
        train(settings(data, tmp_path / "run", seed=9))
    with pytest.raises(ValueError, match="`data`.*lower `batch_residues`"):
        train(settings(data, tmp_path / "other", batch_residues=10_000))
    (tmp_path / "train.yaml").write_text("data: a\nvalidation: b\noutput: c\nbatch_residue: 3\n")
    with pytest.raises(ConfigurationError, match="write `batch_residues`"):
        load_config(tmp_path / "train.yaml")


def test_the_example_trains_on_folders(structures: list[Structure], tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "train.yaml")
    for name in ("training", "validation"):
        (tmp_path / "structures" / name).mkdir(parents=True)
        layout = heavy_layout(structures[0].chains)
        atoms = torch.zeros(len(layout.names), 3)
        atoms[torch.tensor([atom != "OXT" for atom in layout.names])] = structures[0].chains.flatten(
            structures[0].positions
        )
        (tmp_path / "structures" / name / "a.pdb").write_text(PdbText(layout).model(atoms.numpy()))
    config = load_config(tmp_path / "train.yaml").model_copy(
        update={"output": tmp_path / "run", "steps": 1, "batch_residues": 15, "report_every": 1}
    )
    train(config)
    assert (tmp_path / "run" / "training_chains.txt").read_text() == "a.pdb:A\n"
    assert BackmapModel.load(tmp_path / "run" / "model.safetensors").config.n_neighbors == 18
