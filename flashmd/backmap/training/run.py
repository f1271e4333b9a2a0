"""The training of a backmapping model from its configuration to the files it leaves."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from flashmd.backmap.flow import LOSS_WEIGHTS, Batch, flow_loss
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.network import VelocityNetwork
from flashmd.backmap.residues import N_SLOTS
from flashmd.backmap.training.batches import Example, epoch_batches, make_batch, make_example
from flashmd.backmap.training.config import BackmapTraining
from flashmd.backmap.training.folder import ReadData, read_data
from flashmd.backmap.training.state import AGAIN, Point, TrainingState, load_state_, new_state, save_state
from flashmd.errors import message
from flashmd.files import write_atomically, writing

STATE_FILE, MODEL_FILE, LOG_FILE = "state.safetensors", "model.safetensors", "log.csv"
_WARM_UP = 100
_CLIP = 0.5
_N_VALIDATION = 24
_MAX_VALIDATION = 300
_TIMES = (0.05, 0.35, 0.65, 0.9, 0.2, 0.5, 0.8, 0.97)


@dataclass(frozen=True)
class _Check:
    """Batches with fixed times and noise to judge the model by."""

    batches: list[Batch]
    noise: list[Tensor]

    @torch.no_grad()
    def losses(self, model: BackmapModel) -> list[float]:
        parts = [flow_loss(model.network, model.prior, *each) for each in zip(self.batches, self.noise, strict=True)]
        mean: list[float] = torch.stack(parts).mean(0).tolist()
        return mean


def learning_rate(config: BackmapTraining, step: int) -> float:
    """Return the learning rate of a step: a short warm-up, a plateau, a linear fall to zero."""
    rising = (step + 1) / _WARM_UP
    falling = (config.steps - step) / (config.decay * config.steps)
    return config.learning_rate * min(1.0, rising, falling)


def train(config: BackmapTraining, on_report: Callable[[Point], None] | None = None) -> BackmapModel:
    """Train a model and write it; continue where an earlier call was interrupted.

    Args:
        config: the training.
        on_report: called after each validation.

    Returns:
        The model with averaged parameters, as written to ``model.safetensors`` in the output folder.

    Raises:
        ValueError: no structure can be used.
        CheckpointError: the output folder holds the state of another training.
        OutputError: the disk is full or not writable.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    data, validation = read_data(config.data), read_data(config.validation)
    examples = [make_example(structure) for structure in data.structures]
    if sum(example.trace.types.shape[0] for example in examples) < config.batch_residues:
        got = f"{len(examples)} proteins with fewer residues than a batch"
        raise ValueError(message("`data`", f"{config.batch_residues} residues", got, "lower `batch_residues`"))
    with writing(config.output, advice=AGAIN):
        config.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    model = BackmapModel(config.network.config())
    if isinstance(model.network, VelocityNetwork):
        model.prior.fit(data.structures)
    state = new_state(model, config.learning_rate, config.weight_decay)
    path, mark = config.output / STATE_FILE, _fingerprint(config, data)
    if path.exists():
        load_state_(state, path, mark)
    write_atomically(config.output / "config.yaml", config.to_yaml().encode(), advice=AGAIN)
    for name, part in ((f"{kind}_chains.txt", part) for kind, part in (("training", data), ("validation", validation))):
        lines = [*part.used, *(f"# left out: {line}" for line in part.left_out)]
        write_atomically(config.output / name, ("\n".join(lines) + "\n").encode(), advice=AGAIN)
    check = _validation(config, validation)
    _optimise(config, state, examples, check, on_report, mark)
    return state.averaged()


def _fingerprint(config: BackmapTraining, data: ReadData) -> str:
    """Return what a state must share with the configuration that continues it."""
    digest = hashlib.sha256()
    for structure in data.structures:
        digest.update(structure.name.encode())
        digest.update(structure.positions.numpy().tobytes())
    kept = config.model_dump(mode="json", include={"network", "batch_residues", "crop_residues", "seed"})
    return hashlib.sha256(json.dumps([kept, digest.hexdigest()], sort_keys=True).encode()).hexdigest()


def _validation(config: BackmapTraining, data: ReadData) -> _Check:
    structures = [each for each in data.structures if each.chains.n_residues <= _MAX_VALIDATION]
    generator = torch.Generator().manual_seed(config.seed)
    examples = [make_example(structure) for structure in structures[:_N_VALIDATION]]
    groups = [examples[begin : begin + 4] for begin in range(0, len(examples), 4)]
    if not groups:
        got = f"no protein of at most {_MAX_VALIDATION} residues"
        raise ValueError(message("`validation`", "structures", got, "add smaller proteins"))
    times = torch.tensor(_TIMES)
    batches = [
        make_batch(group, times.roll(4 * index)[: len(group)], config.network.n_neighbors)
        for index, group in enumerate(groups)
    ]
    return _Check(batches, [_noise(batch, generator) for batch in batches])


def _noise(batch: Batch, generator: torch.Generator) -> Tensor:
    return torch.randn(2, batch.structure.shape[0], N_SLOTS, 3, generator=generator)


def _steps(
    config: BackmapTraining, state: TrainingState, examples: Sequence[Example]
) -> Iterator[tuple[Batch, torch.Generator]]:
    """Yield the batches that are left, keeping the counters of the state."""
    while True:
        batches = epoch_batches(
            examples,
            batch_residues=config.batch_residues,
            crop_residues=config.crop_residues,
            n_neighbors=config.network.n_neighbors,
            seed=config.seed,
            epoch=state.epoch,
            trace_noise=config.trace_noise,
        )
        for index, batch in enumerate(batches):
            if index >= state.batch:
                state.batch = index + 1
                yield batch
        state.epoch, state.batch = state.epoch + 1, 0


def _optimise(
    config: BackmapTraining,
    state: TrainingState,
    examples: Sequence[Example],
    check: _Check,
    on_report: Callable[[Point], None] | None,
    mark: str,
) -> None:
    network = state.model.network
    if config.compile:
        network.compile(dynamic=True)
    sums, begun = torch.zeros(3, dtype=torch.float64), time.perf_counter()
    weights = torch.tensor(LOSS_WEIGHTS)
    for batch, generator in _steps(config, state, examples):
        if state.step >= config.steps:
            break
        rate = learning_rate(config, state.step)
        state.optimizer.param_groups[0]["lr"] = rate
        noise = _noise(batch, generator)
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))  # of what is dropped
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            losses = flow_loss(network, state.model.prior, batch, noise)
        state.optimizer.zero_grad()
        (losses * weights).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        state.optimizer.step()
        state.step += 1
        state.update_average_(config.average)
        sums += losses.detach().double()
        if state.step % config.report_every == 0 or state.step == config.steps:
            begun = _report(config, state, check, (sums, rate, begun), on_report, mark)
            sums.zero_()


def _report(
    config: BackmapTraining,
    state: TrainingState,
    check: _Check,
    progress: tuple[Tensor, float, float],
    on_report: Callable[[Point], None] | None,
    mark: str,
) -> float:
    """Validate, write everything, and return the time."""
    sums, rate, begun = progress
    count = state.step - (state.curve[-1].step if state.curve else 0)
    model = state.averaged()
    now = time.perf_counter()
    train, validation = (sums / count).tolist(), check.losses(model)
    point = Point(
        state.step, rate, train[0], train[1], train[2], validation[0], validation[1], validation[2], now - begun
    )
    state.curve.append(point)
    save_state(state, config.output / STATE_FILE, mark)
    card = {
        "steps": state.step,
        "configuration": config.model_dump(mode="json", exclude={"data", "validation", "output"}),
    }
    model.save(config.output / MODEL_FILE, card=card)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(asdict(point)))
    writer.writeheader()
    writer.writerows(asdict(each) for each in state.curve)
    write_atomically(config.output / LOG_FILE, table.getvalue().encode(), advice=AGAIN)
    if on_report is not None:
        on_report(point)
    return now
