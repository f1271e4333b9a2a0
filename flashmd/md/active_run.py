"""A run under way: its state, its rules, its files, and what happens in each step and each chunk of steps."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable

import torch
from torch import Tensor

import flashmd
from flashmd.errors import FlashMDError, NonFiniteForceError, OutputError, message
from flashmd.md.config import RunConfig
from flashmd.md.failure import dump_failure, find_failure, is_sound
from flashmd.md.integrators import LangevinBAOAB
from flashmd.md.plan import RunPlan
from flashmd.md.random_streams import replica_identities
from flashmd.md.replica_exchange import Exchanges, TemperatureLadder
from flashmd.md.reporters import Records, RunWriter, write_pdb
from flashmd.md.restart import check_matches, model_memory, read_checkpoint, restore, restore_memory, write_checkpoint
from flashmd.md.run_folder import RunFolder, write_atomically
from flashmd.md.state import MDState, recentre
from flashmd.protocols import EnergyModel

CHUNK_STEPS = 1000
"""Most steps between two looks at the numbers; no result depends on it."""


class ActiveRun:
    """State, rules and files of a run under way.

    Args:
        plan: what to run.
    """

    def __init__(self, plan: RunPlan) -> None:
        config, device = plan.config, plan.system.positions.device
        self.plan, self.folder = plan, RunFolder(config.output)
        self.integrator = LangevinBAOAB(config.time_step, config.friction, config.seed, backend=plan.backend)
        self.ladder = TemperatureLadder(
            config.temperatures, config.walkers, seed=config.seed, backend=plan.backend, device=device
        )
        self.recentre = config.recentre_interval > 0 and not bool(plan.system.pbc.any())
        self.exchanges = self.ladder.init()
        self.state: MDState
        self.writer: RunWriter
        self.saved_step = -1

    def start(self, *, resume: bool, overwrite: bool) -> None:
        """Make or find the folder and the state."""
        plan, config = self.plan, self.plan.config
        found = read_checkpoint(self.folder.checkpoint) if resume else None
        if found is not None:
            check_matches(found, config=config, model_hash=plan.model_hash, folder=self.folder.path, system=plan.system)
        baths = self.ladder.values[self.exchanges.temperature_index()]
        identities = replica_identities(self.ladder.n_temperatures, config.walkers)
        self.state = self.integrator.init(plan.system, plan.model, temperature=baths, identities=identities)
        _require_sound(self.state)
        if found is None:
            self.folder.create(overwrite=overwrite)
            self._write_first_files()
        else:
            self.state, self.exchanges = restore(found, self.state, plan.model)
            self.state = self.state.with_temperature(self.ladder.values[self.exchanges.temperature_index()])
            self.writer = RunWriter.open(self.folder, config, sizes=found.metadata["sizes"])
            self.saved_step = self.state.step
            self._write_configuration()

    def _write_first_files(self) -> None:
        """Write all that a continuation needs, or leave nothing."""
        plan, config = self.plan, self.plan.config
        try:
            write_pdb(self.folder.topology, plan.topology, _first_replica(plan.system.positions, config).numpy())
            self.writer = RunWriter.open(self.folder, config)
            self._write_configuration()
            self.checkpoint()
        except OutputError as error:
            self.folder.clear()
            what, fix = f"run folder {self.folder.path}", "free some space or change `output`, then start again"
            raise OutputError(message(what, "room for the first files of a run", f"{error.__cause__}", fix)) from error

    def _write_configuration(self) -> None:
        text = _provenance(self.plan) + self.plan.config.to_yaml()
        write_atomically(self.folder.config, text.encode())

    def chunk(self, stopped: Callable[[], bool]) -> None:
        """Advance to the next boundary, look at the numbers, write what was recorded."""
        config, records = self.plan.config, Records()
        start, memory = _snapshot(self.state), model_memory(self.plan.model)
        first_exchanges = self.exchanges
        end = next_boundary(start.step, config)
        try:
            while self.state.step < end and not stopped():
                self._advance(self.plan.model, records)
            sound = bool(is_sound(self.state))
        except (ValueError, RuntimeError, FlashMDError):
            self._diagnose(start, first_exchanges, memory, end)
            raise
        if not sound:
            self._diagnose(start, first_exchanges, memory, end)
        self.writer.write(records)
        if self.state.step % config.checkpoint_interval == 0:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Bring everything to the disk, unless this step is there already."""
        if self.saved_step == self.state.step:
            return
        self.writer.write_exchanges(self.exchanges)
        self.writer.sync()
        write_checkpoint(
            self.folder.checkpoint,
            self.state,
            self.exchanges,
            model=self.plan.model,
            config=self.plan.config,
            model_hash=self.plan.model_hash,
            sizes=self.writer.sizes(),
        )
        self.saved_step = self.state.step

    def _advance(self, model: EnergyModel, records: Records) -> None:
        config, backend = self.plan.config, self.plan.backend
        self.state = self.integrator.step(self.state, model)
        step = self.state.step
        if step % config.exchange_interval == 0:
            attempt = step // config.exchange_interval
            self.state, self.exchanges = self.ladder.step(self.state, self.exchanges, attempt=attempt)
        if self.recentre and step % config.recentre_interval == 0:
            self.state = recentre(self.state, backend=backend)
        if step % config.save_interval == 0:
            records.save(self.state, self.exchanges)
        if step % config.log_interval == 0:
            records.log(self.state, self.exchanges, backend=backend)

    def _diagnose(self, start: MDState, exchanges: Exchanges, memory: dict[str, Tensor], end: int) -> None:
        """Repeat the chunk with open eyes; keep what was recorded before the failure."""
        records = Records()
        self.exchanges = exchanges
        restore_memory(self.plan.model, memory, start.system)

        def advance(state: MDState, model: EnergyModel) -> MDState:
            self.state = state
            self._advance(model, records)
            return self.state

        found = find_failure(start, self.plan.model, advance, last_step=end)
        if found is not None:
            state, error = found
            self.writer.write(records)
            raise dump_failure(self.folder, self.plan.topology, state, error)


def next_boundary(step: int, config: RunConfig) -> int:
    """Return the step at which the chunk that starts at `step` ends."""
    intervals = (CHUNK_STEPS, config.checkpoint_interval)
    return min(config.n_steps, *((step // each + 1) * each for each in intervals))


def _snapshot(state: MDState) -> MDState:
    # A model may reuse the buffers it returned.
    return dataclasses.replace(state, forces=state.forces.clone(), energy=state.energy.clone())


def _require_sound(state: MDState) -> None:
    if not bool(is_sound(state)):
        sound = state.forces.isfinite().all(1) & state.energy.isfinite()[state.system.batch]
        sound = sound & state.velocities.isfinite().all(1) & state.positions.isfinite().all(1)
        atom = int(torch.nonzero(~sound)[0]) if not bool(sound.all()) else int(state.positions.abs().amax(1).argmax())
        replica = int(state.system.batch[atom])
        raise NonFiniteForceError(0, replica, atom - int(state.system.ptr[replica]), "The start structure is at fault.")


def _first_replica(positions: Tensor, config: RunConfig) -> Tensor:
    return positions.reshape(config.n_replicas, -1, 3)[0].detach().cpu()


def _provenance(plan: RunPlan) -> str:
    device = plan.system.positions.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    versions = f"flashmd {flashmd.__version__}, torch {torch.__version__}, python {platform.python_version()}"
    lines = [versions, f"device {device} ({name})", f"model sha256 {plan.model_hash}", *plan.notes]
    return "".join(f"# {line}\n" for line in lines)
