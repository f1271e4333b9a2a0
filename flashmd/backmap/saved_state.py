"""What the saved states of trainings share: whose state a file holds, and the moments of the optimiser by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.optim import AdamW

from flashmd.errors import CheckpointError, message
from flashmd.tensor_files import read_tensors

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class StateKind:
    """A kind of state files.

    Attributes:
        format: entry of the header that every file of the kind has.
        name: of what they are the state, such as "training".
        verb: what to do again without a state, such as "train".
        inputs: what a state belongs to, in words.
    """

    format: str
    name: str
    verb: str
    inputs: str

    def read(self, path: Path, fingerprint: str) -> tuple[dict[str, str], dict[str, Tensor]]:
        """Return header and tensors.

        Raises:
            CheckpointError: the file is damaged, or its fingerprint is another one.
        """
        header, tensors = read_tensors(path, what="state", fix=f"delete it to {self.verb} from the beginning")
        if header.get("format") != self.format or header.get("fingerprint") != fingerprint:
            fix = f"choose another `output`, or restore the {self.inputs} it was started with"
            raise CheckpointError(
                message(f"state {path}", f"the state of this {self.name}", "that of another one", fix)
            )
        return header, tensors


def moments(optimizer: AdamW, network: nn.Module) -> dict[str, Tensor]:
    """Return the moments of all parameters, none before the first step."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        own = optimizer.state.get(parameter, {})
        tensors |= {f"{key}.{name}": own[key].contiguous() for key in _MOMENTS if key in own}
    return tensors


def load_moments_(optimizer: AdamW, network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser the moments that `moments` returned."""
    for name, parameter in network.named_parameters():
        if f"exp_avg.{name}" in tensors:
            optimizer.state[parameter] = {key: tensors[f"{key}.{name}"] for key in _MOMENTS}
