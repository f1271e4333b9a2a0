"""From a configuration to all that a run needs: the model, its identity, the replicas at their start, a topology.

Everything that can be wrong with the input is found here, before the first step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flashmd.cg.beads import CA_TYPES, FIVE_BEAD_TYPES
from flashmd.cg.mapping import CGStructure, map_structure
from flashmd.cg.topology import build_system
from flashmd.devices import open_device
from flashmd.errors import ConfigurationError, ToleranceNotMetError, message
from flashmd.md.config import RunConfig
from flashmd.md.plan import RunPlan
from flashmd.md.reporters import bead_topology
from flashmd.potential import checkpoint
from flashmd.potential.base import Potential
from flashmd.potential.compiled import CompiledPotential
from flashmd.system import System


def prepare(config: RunConfig) -> RunPlan:
    """Load the model and the structures of a configuration and check that they belong together.

    Raises:
        ConfigurationError: a structure cannot be read, its frames do not fit, the model does not cover its beads, or
            it cannot be compiled as accurately as it should.
        CheckpointError: the model cannot be read.
    """
    device = _device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    model = checkpoint.load(config.model, dtype=config.dtype, device=device)
    structure = _map(config.structure, config)
    frames = [frame for path in config.initial for frame in _frames(path, structure, config)]
    if not frames:
        frames = [structure.positions[0].to(config.dtype)]
    one = build_system(structure, dtype=config.dtype)
    dealt = torch.cat([frames[replica % len(frames)] for replica in range(config.n_replicas)])
    system = one.replicate(config.n_replicas).with_positions(dealt).to(device)
    _check_covered(model, structure, system, config)
    identity, topology = checkpoint.model_hash(config.model), _topology(structure)
    if config.potential == "exact":
        return RunPlan(config, model, identity, system, topology)
    compiled = _compile(model, system, config)
    notes = tuple(f"{name}: {report.summary()}" for name, report in compiled.reports.items())
    return RunPlan(config, compiled, identity, system, topology, notes=notes)


def _compile(model: Potential, system: System, config: RunConfig) -> CompiledPotential:
    try:
        return model.compile(system)
    except (ToleranceNotMetError, ValueError) as error:
        advice = "In a configuration, `precision: double` is more accurate and `potential: exact` does not compile."
        raise ConfigurationError(f"model {config.model}: {error} {advice}") from error


def _device(name: str) -> torch.device:
    try:
        return open_device(
            name, what="key `device`", fix="write `device: cpu`, or install a torch that finds the device"
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _map(path: Path, config: RunConfig) -> CGStructure:
    try:
        return map_structure(path, config.resolution)
    except OSError as error:
        fix = "correct the path; it starts from the folder of the configuration file"
        raise ConfigurationError(message(f"structure {path}", "a readable file", str(error), fix)) from None
    except ValueError as error:
        raise ConfigurationError(f"structure {path}: {error}") from error


def _frames(path: Path, structure: CGStructure, config: RunConfig) -> list[Tensor]:
    """Return the start positions in one file, each [n_beads, 3], nm."""
    if path.suffix == ".npz":
        positions = _load_npz(path)
    else:
        other = _map(path, config)
        if not torch.equal(other.types, structure.types):
            fix = "pass frames of the molecule in `structure`"
            raise ConfigurationError(message(f"start positions {path}", "the same beads", "other beads", fix))
        positions = other.positions
    if positions.ndim == 2:
        positions = positions[None]
    if positions.ndim != 3 or positions.shape[1:] != (structure.n_beads, 3) or not len(positions):
        expected, fix = f"shape (n_frames, {structure.n_beads}, 3)", "save one row for each bead, in nm"
        raise ConfigurationError(message(f"start positions {path}", expected, f"{tuple(positions.shape)}", fix))
    return list(positions.to(config.dtype))


def _load_npz(path: Path) -> Tensor:
    fix = "save it with `numpy.savez(path, positions=...)`, in nm"
    try:
        with np.load(path, allow_pickle=False) as content:
            return torch.from_numpy(np.asarray(content["positions"], dtype=np.float64))
    except (OSError, KeyError, ValueError) as error:
        expected = "an array `positions`"
        raise ConfigurationError(message(f"start positions {path}", expected, str(error), fix)) from None


def _check_covered(model: Potential, structure: CGStructure, system: System, config: RunConfig) -> None:
    finite = system.positions.isfinite().all(1)
    if not bool(finite.all()):
        atom = int(torch.nonzero(~finite)[0])
        replica, bead = divmod(atom, structure.n_beads)
        what, fix = f"start position of replica {replica}, bead {bead}", "repair the structure or `initial` file"
        raise ConfigurationError(message(what, "finite numbers", "a non-finite value", fix))
    _check_bead_types(model, structure, config)
    try:
        model.check(system)
    except ValueError as error:
        pair = f"model {config.model} and structure {config.structure}"
        raise ConfigurationError(f"{pair} do not fit: {error}") from error


def _check_bead_types(model: Potential, structure: CGStructure, config: RunConfig) -> None:
    """Compare names, where the model has them: the same number may mean another bead to it."""
    if model.bead_types is None:
        return
    names = CA_TYPES if structure.resolution == "ca" else FIVE_BEAD_TYPES
    present = set(structure.types.tolist())
    for name, number in names.items():
        if number in present and model.bead_types.get(name) != number:
            known = ", ".join(f"{each} ({index})" for each, index in sorted(model.bead_types.items()))
            fix = "choose a model of this molecule and `resolution`, or correct `resolution`"
            what = f"bead types of structure {config.structure} for model {config.model}"
            raise ConfigurationError(message(what, known, f"{name} ({number})", fix))


def _topology(structure: CGStructure) -> Any:
    index = structure.residue_index.tolist()
    residues = [(structure.sequence[r], structure.residue_ids[r], structure.chain[r]) for r in index]
    return bead_topology(structure.bead_names, residues)
