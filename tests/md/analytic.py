"""Energy models whose answers are known, and runs made of them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from flashmd.md import RunConfig, RunPlan, RunSummary, parse_config, simulate
from flashmd.md.reporters import bead_topology
from flashmd.protocols import EnergyModel, Evaluation
from flashmd.system import System

BACKEND = "reference"
"""The plain implementation needs no build; one test compares it with the kernels."""
N_BEADS = 3


def per_system(values: Tensor, system: System) -> Tensor:
    """Sum [n_atoms] over each system, float64."""
    return torch.zeros(system.n_systems, dtype=torch.float64).index_add(0, system.batch, values.to(torch.float64))


class Harmonic:
    """E = k/2 |x|^2 for every bead; elementwise."""

    def __init__(self, stiffness: float) -> None:
        self.stiffness = stiffness

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        x = system.positions
        return Evaluation(per_system(0.5 * self.stiffness * x.square().sum(1), system), -self.stiffness * x)


class DoubleWell:
    """E = h ((x/a)^2 - 1)^2 + k/2 (y^2 + z^2) for every bead; elementwise."""

    def __init__(self, barrier: float, half_width: float, stiffness: float) -> None:
        self.barrier, self.half_width, self.stiffness = barrier, half_width, stiffness

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        x = system.positions
        reduced = x[:, 0] / self.half_width
        well = reduced.square() - 1.0
        energy = self.barrier * well.square() + 0.5 * self.stiffness * x[:, 1:].square().sum(1)
        along = -4.0 * self.barrier * well * reduced / self.half_width
        return Evaluation(per_system(energy, system), torch.cat([along[:, None], -self.stiffness * x[:, 1:]], 1))


class Dimer:
    """Lennard-Jones between the two beads of every system."""

    def __init__(self, epsilon: float, sigma: float) -> None:
        self.epsilon, self.sigma = epsilon, sigma

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        x = system.positions.reshape(-1, 2, 3)
        edge = x[:, 1] - x[:, 0]
        squared = edge.square().sum(1)
        sixth = (self.sigma**2 / squared) ** 3
        energy = 4.0 * self.epsilon * (sixth.square() - sixth)
        factor = 24.0 * self.epsilon * (2.0 * sixth.square() - sixth) / squared
        pull = factor[:, None] * edge
        return Evaluation(energy.to(torch.float64), torch.stack([-pull, pull], 1).reshape(-1, 3))


class Free:
    """No force."""

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        zeros = torch.zeros(system.n_systems, dtype=torch.float64)
        return Evaluation(zeros, torch.zeros_like(system.positions))


class Remembering(Harmonic):
    """Rounds differently depending on where it last rebuilt its list, as a model with a neighbour list does."""

    def __init__(self, stiffness: float, reach: float) -> None:
        super().__init__(stiffness)
        self.reach = reach
        self.reference: Tensor | None = None

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        x = system.positions
        if self.reference is None or float((x - self.reference).abs().max()) > self.reach:
            self.reference = x.clone()
        displaced = (x - self.reference) * self.stiffness + self.reference * self.stiffness
        return Evaluation(per_system(0.5 * self.stiffness * x.square().sum(1), system), -displaced)

    def list_state(self) -> dict[str, Tensor]:
        return {} if self.reference is None else {"list": self.reference}

    def restore_lists(self, system: System, state: dict[str, Tensor]) -> None:
        self.reference = state.get("list")


class Killed(BaseException):
    """Stands for the sudden end of a process."""


class Dying:
    """Another model that dies at one of its evaluations."""

    def __init__(self, model: EnergyModel, last_call: int, error: BaseException) -> None:
        self.model, self.left, self.error = model, last_call, error

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.model.evaluate(system, virial=virial)


class Pole:
    """Harmonic, but the force of one bead is NaN once it is beyond a wall."""

    def __init__(self, stiffness: float, wall: float) -> None:
        self.inner, self.wall = Harmonic(stiffness), wall

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        evaluation = self.inner.evaluate(system)
        beyond = system.positions.abs().amax(1, keepdim=True) > self.wall
        return Evaluation(evaluation.energy, torch.where(beyond, torch.nan, evaluation.forces))


def beads(n_replicas: int, n_beads: int = N_BEADS, *, dtype: torch.dtype = torch.float64, mass: float = 12.0) -> System:
    """Replicas of a few beads near the origin, all alike."""
    x = torch.linspace(-0.05, 0.05, 3 * n_beads, dtype=torch.float64).reshape(n_beads, 3).to(dtype)
    one = System.single(x, torch.ones(n_beads, dtype=torch.int64), masses=torch.full((n_beads,), mass, dtype=dtype))
    return one.replicate(n_replicas)


def run_config(output: Path, **changes: object) -> RunConfig:
    """Two ladders of three temperatures; everything happens often."""
    values: dict[str, object] = {
        "model": "analytic",
        "structure": "beads.pdb",
        "output": str(output),
        "temperatures": ["300 K", "330 K", "363 K"],
        "walkers": 2,
        "time_step": "4 fs",
        "friction": "1 / ps",
        "n_steps": 120,
        "exchange_interval": 10,
        "save_interval": 15,
        "log_interval": 15,
        "checkpoint_interval": 40,
        "recentre_interval": 0,
        "seed": 5,
        "precision": "double",
    }
    return parse_config(values | changes)


def run_plan(config: RunConfig, model: EnergyModel, *, n_beads: int = N_BEADS) -> RunPlan:
    """Put a run of an analytic model together."""
    topology = bead_topology(["CA"] * n_beads, [("GLY", number + 1, 0) for number in range(n_beads)])
    system = beads(config.n_replicas, n_beads, dtype=config.dtype)
    name = hashlib.sha256(type(getattr(model, "model", model)).__name__.encode()).hexdigest()
    return RunPlan(config, model, name, system, topology, backend=BACKEND)


def run(config: RunConfig, model: EnergyModel, *, resume: bool = False, overwrite: bool = False) -> RunSummary:
    """Run without talking."""
    return simulate(run_plan(config, model), resume=resume, overwrite=overwrite, console=Console(file=io.StringIO()))


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of all files that must not depend on interruptions."""
    names = [*folder.glob("*.xtc"), folder / "log.csv", folder / "exchanges.csv"]
    return {file.name: file.read_bytes() for file in sorted(names)}
