"""The state of a training between two steps, written atomically and without pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from flashmd.backmap.model import BackmapModel
from flashmd.errors import CheckpointError, message
from flashmd.files import write_atomically

_FORMAT = "flashmd-backmap-training-1"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
AGAIN = "start the training again: it continues from the last state it wrote"


@dataclass(frozen=True)
class Point:
    """One line of the learning curve, see `flow_loss` for the parts of the loss.

    Attributes:
        step: steps done.
        learning_rate: at that step.
        velocity: nm, mean since the last point.
        distance: nm, mean since the last point.
        conformer: mean since the last point.
        validation_velocity: nm, of the averaged parameters.
        validation_distance: nm, of the averaged parameters.
        validation_conformer: of the averaged parameters.
        seconds: since the last point.
    """

    step: int
    learning_rate: float
    velocity: float
    distance: float
    conformer: float
    validation_velocity: float
    validation_distance: float
    validation_conformer: float
    seconds: float


@dataclass
class TrainingState:
    """Parameters, their average, the optimiser and counters.

    Attributes:
        model: parameters being optimised, and the prior.
        optimizer: AdamW.
        average: moving average of the network's parameters, by name.
        step: steps done.
        epoch: epoch that the next step belongs to.
        batch: batches of that epoch already used.
        curve: learning curve.
    """

    model: BackmapModel
    optimizer: torch.optim.AdamW
    average: dict[str, Tensor]
    step: int = 0
    epoch: int = 0
    batch: int = 0
    curve: list[Point] = field(default_factory=list)

    def update_average_(self, memory: float) -> None:
        """Take the present parameters into the average; early on, a shorter memory forgets the initial ones."""
        memory = min(memory, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.model.network.named_parameters():
                self.average[name].lerp_(parameter, 1 - memory)

    def averaged(self) -> BackmapModel:
        """Return a model with the averaged parameters."""
        model = BackmapModel(self.model.config)
        model.prior.load_state_dict(self.model.prior.state_dict())
        model.network.load_state_dict(self.average)
        return model.eval()


def new_state(model: BackmapModel, learning_rate: float, weight_decay: float) -> TrainingState:
    """Return the state before the first step."""
    parameters = dict(model.network.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values(), lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99))
    return TrainingState(model, optimizer, {name: value.detach().clone() for name, value in parameters.items()})


def save_state(state: TrainingState, path: Path, fingerprint: str) -> None:
    """Write a state.

    Raises:
        OutputError: the disk is full or not writable; the previous state stays.
    """
    tensors = {f"model.{name}": value.detach().contiguous() for name, value in state.model.state_dict().items()}
    tensors |= {f"average.{name}": value.contiguous() for name, value in state.average.items()}
    for name, parameter in state.model.network.named_parameters():
        moments = state.optimizer.state.get(parameter, {})
        tensors |= {f"{key}.{name}": moments[key].contiguous() for key in _MOMENTS if key in moments}
    counters = {"step": state.step, "epoch": state.epoch, "batch": state.batch}
    header = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "counters": json.dumps(counters),
        "curve": json.dumps([vars(point) for point in state.curve]),
    }
    write_atomically(path, save(tensors, header), advice=AGAIN)


def load_state_(state: TrainingState, path: Path, fingerprint: str) -> None:
    """Read a state into one that was just made.

    Raises:
        CheckpointError: the file is damaged or belongs to another training.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (OSError, SafetensorError) as error:
        fix = "delete it to train from the beginning"
        raise CheckpointError(message(f"state {path}", "a readable file", str(error), fix)) from None
    if header.get("format") != _FORMAT or header.get("fingerprint") != fingerprint:
        fix = "choose another `output`, or restore the data, network, batches and seed it was started with"
        raise CheckpointError(message(f"state {path}", "the state of this training", "that of another one", fix))
    state.model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    state.average = {name[8:]: value for name, value in tensors.items() if name.startswith("average.")}
    for name, parameter in state.model.network.named_parameters():
        if f"exp_avg.{name}" in tensors:
            state.optimizer.state[parameter] = {key: tensors[f"{key}.{name}"] for key in _MOMENTS}
    for key, value in json.loads(header["counters"]).items():
        setattr(state, key, value)
    state.curve = [Point(**point) for point in json.loads(header["curve"])]
