"""What `simulate` is given: everything a run needs, whoever put it together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flashmd.md.config import RunConfig
from flashmd.protocols import EnergyModel
from flashmd.system import System


@dataclass(frozen=True)
class RunPlan:
    """All that `simulate` needs.

    Attributes:
        config: resolved configuration.
        model: energy model of the batch.
        model_hash: identity of the model; a run is continued with the same one only.
        system: one system for each replica, temperature-major, at its start.
        topology: mdtraj topology of one replica, for the files.
        backend: implementation of operators, "kernel" or "reference".
        notes: lines about the model, such as the accuracy of its compiled form, to say and to write down.
    """

    config: RunConfig
    model: EnergyModel
    model_hash: str
    system: System
    topology: Any
    backend: str = "kernel"
    notes: tuple[str, ...] = ()
