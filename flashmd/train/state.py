"""The state of a training between two epochs, written atomically and without pickle.

Tensors lie in a safetensors file; counters and the learning curve in its JSON header. Shuffling depends on seed and
epoch alone, so parameters, optimiser state and counters are all that a bitwise continuation needs.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from flashmd.errors import CheckpointError, message
from flashmd.files import write_atomically

AGAIN = "start the training again: it continues from its last finished epoch"
"""What to do after a training could not write."""
_FORMAT = "flashmd-training-1"


@dataclass(frozen=True)
class CurvePoint:
    """One epoch of the learning curve; errors are mean squares of a force component, (kJ/mol/nm)^2.

    Attributes:
        epoch: 1 for the first.
        learning_rate: at the end of the epoch.
        train: mean over the batches of the epoch, while the parameters move.
        validation: of the averaged parameters at the end of the epoch.
        seconds: duration of the epoch with its validation.
    """

    epoch: int
    learning_rate: float
    train: float
    validation: float
    seconds: float


@dataclass
class TrainingState:
    """Counters, parameters and optimiser of a training.

    Attributes:
        network: parameters being optimised.
        optimizer: AdamW with its moments.
        average: exponential moving average of the parameters, by name; these are validated and kept.
        best: the averaged parameters of least validation error.
        epoch: finished epochs.
        curve: one point for each finished epoch.
    """

    network: nn.Module
    optimizer: torch.optim.AdamW
    average: dict[str, Tensor]
    best: dict[str, Tensor]
    epoch: int = 0
    curve: list[CurvePoint] = field(default_factory=list)

    @property
    def best_point(self) -> CurvePoint | None:
        """The epoch of least validation error."""
        return min(self.curve, key=lambda point: point.validation, default=None)

    @property
    def epochs_without_progress(self) -> int:
        """Epochs since the best one."""
        return self.epoch - (self.best_point.epoch if self.best_point else 0)


def new_state(network: nn.Module, *, learning_rate: float, weight_decay: float) -> TrainingState:
    """Return the state before the first epoch."""
    parameters = dict(network.named_parameters())
    return TrainingState(
        network=network,
        optimizer=torch.optim.AdamW(parameters.values(), lr=learning_rate, weight_decay=weight_decay, foreach=True),
        average={name: p.detach().clone() for name, p in parameters.items()},
        best={name: p.detach().clone() for name, p in parameters.items()},
    )


def save_state(state: TrainingState, path: Path, *, fingerprint: str) -> None:
    """Write the state; a kill never leaves half a file.

    Args:
        state: what to write.
        path: file.
        fingerprint: of configuration and data; `load_state_` refuses another one.

    Raises:
        OutputError: the disk is full or not writable; the old state stays.
    """
    tensors = {f"network/{name}": p.detach() for name, p in state.network.named_parameters()}
    tensors.update({f"average/{name}": value for name, value in state.average.items()})
    tensors.update({f"best/{name}": value for name, value in state.best.items()})
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer/{index}/{key}": value for key, value in values.items()})
    record = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "epoch": state.epoch,
        "curve": [asdict(point) for point in state.curve],
    }
    data = save({k: v.clone() for k, v in tensors.items()}, metadata={"training": json.dumps(record)})
    write_atomically(path, data, advice=AGAIN)


def load_state_(state: TrainingState, path: Path, *, fingerprint: str) -> None:
    """Continue from a file, in place.

    Raises:
        CheckpointError: the file is damaged or belongs to another configuration or data set.
    """
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        fix = "delete it to start again"
        raise CheckpointError(message(f"training state {path}", "a readable file", str(error), fix)) from None
    if record.get("format") != _FORMAT or record.get("fingerprint") != fingerprint:
        fix = "restore configuration and data set, or choose another `output`"
        got = "one of another configuration, data set or version"
        raise CheckpointError(message(f"training state {path}", "a state of this training", got, fix))
    _restore_tensors_(state, tensors)
    state.epoch = record["epoch"]
    state.curve = [CurvePoint(**point) for point in record["curve"]]


def _restore_tensors_(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    parameters = dict(state.network.named_parameters())
    for key, value in tensors.items():
        kind, name = key.split("/", 1)
        if kind == "network":
            with torch.no_grad():
                parameters[name].copy_(value)
        elif kind == "optimizer":
            index, entry = name.split("/")
            moments.setdefault(int(index), {})[entry] = value
        else:
            (state.average if kind == "average" else state.best)[name] = value
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def cosine_rate(step: int, n_steps: int, *, warmup: int) -> float:
    """Return the factor of the learning rate: linear rise over `warmup` steps, then a cosine from 1 to 0.01.

    >>> [round(cosine_rate(step, 105, warmup=4), 3) for step in (0, 3, 4, 54, 104)]
    [0.25, 1.0, 1.0, 0.505, 0.01]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, n_steps - 1 - warmup)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
