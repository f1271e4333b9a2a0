"""The state of a post-training between two steps, written atomically and without pickle."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from flashmd.backmap.model import BackmapModel
from flashmd.backmap.saved_state import StateKind, load_moments_, moments
from flashmd.files import write_atomically

_KIND = StateKind("flashmd-backmap-post-training-1", "post-training", "start", "model, data and settings")
AGAIN = "start the post-training again: it continues from the last state it wrote"


@dataclass(frozen=True)
class PostPoint:
    """One line of the learning curve; energies are medians over structures, kJ/mol for each residue.

    Attributes:
        step: steps done; 0 is the model as it came.
        loss: mean since the last point.
        train_energy: of the structures drawn in training since the last point.
        validation_energy: of held-out chains, drawn with the averaged parameters and always the same noise.
        spread: nm, root mean square distance of free atoms of held-out structures from their mean over the noise.
        failed: structures without a finite energy so far.
        seconds: since the last point.
    """

    step: int
    loss: float
    train_energy: float
    validation_energy: float
    spread: float
    failed: int
    seconds: float


@dataclass
class PostState:
    """Parameters, their average, the optimiser and what was measured.

    Attributes:
        base: the model as it came, frozen.
        model: the model that is trained.
        optimizer: AdamW.
        average: moving average of the network's parameters, by name.
        step: steps done.
        curve: learning curve.
    """

    base: BackmapModel
    model: BackmapModel
    optimizer: torch.optim.AdamW
    average: dict[str, Tensor]
    step: int = 0
    curve: list[PostPoint] = field(default_factory=list)

    @classmethod
    def start(cls, base: BackmapModel, learning_rate: float) -> PostState:
        """Return the state before the first step."""
        base = base.eval().requires_grad_(False)
        model = copy.deepcopy(base)
        model.network.requires_grad_(True)
        parameters = dict(model.network.named_parameters())
        optimizer = torch.optim.AdamW(parameters.values(), lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
        return cls(base, model, optimizer, {name: value.detach().clone() for name, value in parameters.items()})

    def update_average_(self, memory: float) -> None:
        """Take the present parameters into the average."""
        with torch.no_grad():
            for name, parameter in self.model.network.named_parameters():
                self.average[name].lerp_(parameter, 1 - memory)

    def averaged(self) -> BackmapModel:
        """Return a model with the averaged parameters."""
        model = copy.deepcopy(self.base)
        model.network.load_state_dict(self.average, strict=False)
        return model

    def moved(self) -> float:
        """Return by how much the averaged parameters differ from those of the base, relative to their length."""
        pairs = [(self.average[name], old) for name, old in self.base.network.named_parameters()]
        change = sum(float((new - old).double().square().sum()) for new, old in pairs)
        length = sum(float(old.double().square().sum()) for _, old in pairs)
        return float((change / length) ** 0.5)

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the state.

        Raises:
            OutputError: the disk is full or not writable; the previous state stays.
        """
        tensors = {f"average.{name}": value.contiguous() for name, value in self.average.items()}
        for name, parameter in self.model.network.named_parameters():
            tensors[f"model.{name}"] = parameter.detach().contiguous()
        tensors |= moments(self.optimizer, self.model.network)
        header = {
            "format": _KIND.format,
            "fingerprint": fingerprint,
            "step": str(self.step),
            "curve": json.dumps([asdict(point) for point in self.curve]),
        }
        write_atomically(path, save(tensors, header), advice=AGAIN)

    def load_(self, path: Path, fingerprint: str) -> None:
        """Read a state into one that was just made.

        Raises:
            CheckpointError: the file is damaged or belongs to another post-training.
        """
        header, tensors = _KIND.read(path, fingerprint)
        for name, parameter in self.model.network.named_parameters():
            parameter.data.copy_(tensors[f"model.{name}"])
            self.average[name] = tensors[f"average.{name}"]
        load_moments_(self.optimizer, self.model.network, tensors)
        self.step = int(header["step"])
        self.curve = [PostPoint(**point) for point in json.loads(header["curve"])]
