"""Checkpoints of a run: one safetensors file with all that a bitwise continuation needs, written atomically.

The order matters: trajectories and log reach the disk first, then the checkpoint that names their sizes replaces the
old one. Whatever was written after the last checkpoint is cut off when the run continues.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import flashmd
from flashmd.errors import CheckpointError, message
from flashmd.md.config import FREE_TO_CHANGE, PLACES, RunConfig
from flashmd.md.replica_exchange import Exchanges
from flashmd.md.run_folder import write_atomically
from flashmd.md.state import MDState
from flashmd.system import System

FORMAT = "flashmd-restart"
VERSION = 1
_MODEL_PREFIX = "model."


@runtime_checkable
class RemembersSteps(Protocol):
    """An energy model whose rounding depends on earlier calls, such as on when its neighbour list was built."""

    def list_state(self) -> dict[str, Tensor]:
        """Return what a continuation needs, by name."""
        ...

    def restore_lists(self, system: System, state: Mapping[str, Tensor]) -> None:
        """Bring the model to the state it was in; `system` has the box and beads of the run."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint file.

    Attributes:
        tensors: by name.
        metadata: step, sizes of the files, resolved configuration, model hash.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def beads_hash(system: System) -> str:
    """Return the sha256 of all that a structure file says of the beads, positions excepted."""
    digest = hashlib.sha256()
    parts = {"types": system.types, "masses": system.masses, "ptr": system.ptr, **system.interactions}
    for name in sorted(parts):
        digest.update(name.encode() + b"\0" + parts[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def model_memory(model: object) -> dict[str, Tensor]:
    """Return copies of what a model remembers of earlier steps; empty for most."""
    if not isinstance(model, RemembersSteps):
        return {}
    return {name: tensor.detach().clone() for name, tensor in model.list_state().items()}


def restore_memory(model: object, tensors: Mapping[str, Tensor], system: System) -> None:
    """Give a model its memory back."""
    if isinstance(model, RemembersSteps):
        model.restore_lists(system, tensors)


def write_checkpoint(
    path: Path,
    state: MDState,
    exchanges: Exchanges,
    *,
    model: object,
    config: RunConfig,
    model_hash: str,
    sizes: dict[str, int],
) -> None:
    """Replace the checkpoint.

    Args:
        path: file to replace.
        state: replicas.
        exchanges: temperatures they hold and counts.
        model: energy model, asked for its memory.
        config: resolved configuration.
        model_hash: identity of the model.
        sizes: bytes of every growing file, all on the disk already.

    Raises:
        OutputError: the disk is full or not writable; the old checkpoint stays.
    """
    tensors = {
        "positions": state.positions,
        "velocities": state.velocities,
        "forces": state.forces,
        "energy": state.energy,
        "cell": state.system.cell,
        "holder": exchanges.holder,
        "proposed": exchanges.proposed,
        "accepted": exchanges.accepted,
    }
    tensors |= {_MODEL_PREFIX + name: tensor for name, tensor in model_memory(model).items()}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "flashmd": flashmd.__version__,
        "step": state.step,
        "model_hash": model_hash,
        "beads": beads_hash(state.system),
        "sizes": sizes,
        "config": config.resolved(),
    }
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, metadata={"content": json.dumps(content)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: the file is absent, damaged, or of another kind or version.
    """
    try:
        data = path.read_bytes()
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        content = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["content"])
    except OSError as error:
        fix = "pass the folder of a run that has reached its first checkpoint"
        raise CheckpointError(message(f"checkpoint {path}", "a readable file", error.strerror or "", fix)) from None
    except (SafetensorError, ValueError, KeyError) as error:
        fix = "start the run again with `--overwrite`"
        raise CheckpointError(message(f"checkpoint {path}", "a checkpoint of a run", f"{error}", fix)) from None
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        got = f"{content.get('format')} {content.get('version')}"
        fix = "continue with the version of flashmd that wrote it"
        raise CheckpointError(message(f"checkpoint {path}", f"{FORMAT} {VERSION}", got, fix))
    return Checkpoint(tensors, content)


def check_matches(checkpoint: Checkpoint, *, config: RunConfig, model_hash: str, folder: Path, system: System) -> None:
    """Refuse to continue another run.

    Raises:
        CheckpointError: model, configuration or beads differ, or a trajectory is shorter than the checkpoint knows.
    """
    content = checkpoint.metadata
    if content["model_hash"] != model_hash:
        expected, fix = f"the model {content['model_hash'][:16]} it was started with", "pass the model of that run"
        raise CheckpointError(message(f"run {folder}", expected, f"model {model_hash[:16]}", fix))
    # Runs from before there was a choice evaluated the network itself.
    new, old = config.resolved(), {"potential": "exact", **content["config"]}
    fixed = sorted((new.keys() | old.keys()) - FREE_TO_CHANGE - PLACES)
    changed = [key for key in fixed if new.get(key) != old.get(key)]
    if changed:
        expected = ", ".join(f"`{key}: {old.get(key)}`" for key in changed)
        got = ", ".join(f"`{key}: {new.get(key)}`" for key in changed)
        fix = f"leave them as they were (only {', '.join(sorted(FREE_TO_CHANGE))} may change) or start another run"
        raise CheckpointError(message(f"run {folder}", expected, got, fix))
    if content["beads"] != beads_hash(system):
        fix = "put back the structure file of that run"
        raise CheckpointError(message(f"run {folder}", "the beads of its checkpoint", "other beads or bonds", fix))
    for name, size in content["sizes"].items():
        present_size = (folder / name).stat().st_size if (folder / name).exists() else 0
        if present_size < size:
            fix = "put the file back, or start the run again with `--overwrite`"
            raise CheckpointError(message(f"{folder / name}", f"{size} bytes or more", f"{present_size}", fix))


def restore(checkpoint: Checkpoint, state: MDState, model: object) -> tuple[MDState, Exchanges]:
    """Return the state of a checkpoint and bring the model's memory back.

    Args:
        checkpoint: as read.
        state: any state of the same replicas, whose constants are kept.
        model: energy model.
    """
    device, tensors = state.positions.device, checkpoint.tensors
    moved = {name: tensor.to(device) for name, tensor in tensors.items()}
    system = dataclasses.replace(state.system, positions=moved["positions"], cell=moved["cell"])
    exchanges = Exchanges(moved["holder"], moved["proposed"], moved["accepted"])
    restored = dataclasses.replace(
        state,
        system=system,
        velocities=moved["velocities"],
        forces=moved["forces"],
        energy=moved["energy"],
        step=int(checkpoint.metadata["step"]),
    )
    memory = {name.removeprefix(_MODEL_PREFIX): moved[name] for name in moved if name.startswith(_MODEL_PREFIX)}
    restore_memory(model, memory, system)
    return restored, exchanges
