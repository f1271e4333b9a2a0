"""The state of a training between two steps, written atomically and without pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from flashmd.backmap.model import BackmapModel
from flashmd.backmap.saved_state import StateKind, load_moments_, moments
from flashmd.files import write_atomically

_KIND = StateKind("flashmd-backmap-training-1", "training", "train", "data, network, batches and seed")
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
    tensors |= moments(state.optimizer, state.model.network)
    counters = {"step": state.step, "epoch": state.epoch, "batch": state.batch}
    header = {
        "format": _KIND.format,
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
    header, tensors = _KIND.read(path, fingerprint)
    state.model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    state.average = {name[8:]: value for name, value in tensors.items() if name.startswith("average.")}
    load_moments_(state.optimizer, state.model.network, tensors)
    for key, value in json.loads(header["counters"]).items():
        setattr(state, key, value)
    state.curve = [Point(**point) for point in json.loads(header["curve"])]
