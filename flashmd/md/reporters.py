"""What a run writes: one XTC per temperature and walker, a log, and the counts of exchanges.

During a chunk of steps, records stay on the device; they are fetched and written when the chunk ends. The bytes of a
file do not depend on how the steps were cut into chunks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flashmd.md.config import RunConfig
from flashmd.md.replica_exchange import Exchanges
from flashmd.md.run_folder import GrowingFile, RunFolder, trajectory_names, write_atomically
from flashmd.md.state import MDState, kinetic_temperature
from flashmd.xtc import encode_xtc

LOG_COLUMNS = (
    "step",
    "time_ps",
    "replica",
    "walker",
    "temperature_index",
    "temperature_K",
    "potential_energy_kJ_mol",
    "kinetic_temperature_K",
)
EXCHANGE_COLUMNS = ("lower_K", "upper_K", "proposed", "accepted")


@dataclass
class Records:
    """Frames and log lines of one chunk, still on the device.

    Attributes:
        frames: (step, positions [n_slots, n_beads, 3] in nm, cell [n_slots, 3, 3] in nm) of each saved frame.
        lines: (step, temperature index [n_replicas], values [2, n_replicas] = energy and kinetic temperature).
    """

    frames: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)
    lines: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)

    def save(self, state: MDState, exchanges: Exchanges) -> None:
        """Keep a frame of every slot: the replica that holds temperature t of walker w goes to slot t * W + w."""
        holder = exchanges.holder.reshape(-1)
        positions = state.positions.reshape(holder.shape[0], -1, 3)[holder]
        self.frames.append((state.step, positions, state.system.cell[holder]))

    def log(self, state: MDState, exchanges: Exchanges, *, backend: str) -> None:
        """Keep the energies and temperatures of every replica."""
        values = torch.stack([state.energy, kinetic_temperature(state, backend=backend)])
        self.lines.append((state.step, exchanges.temperature_index(), values))


@dataclass
class RunWriter:
    """The growing files of a run.

    Attributes:
        folder: of the run.
        config: resolved configuration.
        trajectories: one file for each slot.
        log: the log.
    """

    folder: RunFolder
    config: RunConfig
    trajectories: list[GrowingFile]
    log: GrowingFile

    @classmethod
    def open(cls, folder: RunFolder, config: RunConfig, *, sizes: dict[str, int] | None = None) -> RunWriter:
        """Create the files, or cut them back to the `sizes` that a checkpoint recorded."""
        known = sizes or {}
        names = trajectory_names(config.temperatures, config.walkers)
        files = [GrowingFile(folder.path / name, known.get(name, 0)) for name in names]
        log = GrowingFile(folder.log, known.get(folder.log.name, 0))
        for file in [*files, log]:
            file.truncate()
        if not log.size:
            log.append((",".join(LOG_COLUMNS) + "\n").encode())
        return cls(folder, config, files, log)

    def sizes(self) -> dict[str, int]:
        """Return the size of every file in bytes."""
        return {file.path.name: file.size for file in [*self.trajectories, self.log]}

    def write(self, records: Records) -> None:
        """Append the records of a chunk.

        Raises:
            OutputError: the disk is full or not writable.
        """
        if records.frames:
            for file, data in zip(self.trajectories, self._encode(records), strict=True):
                file.append(data)
        if records.lines:
            self.log.append("".join(self._lines(records)).encode())

    def write_exchanges(self, exchanges: Exchanges) -> None:
        """Replace the counts of exchanges."""
        pairs = zip(self.config.temperatures[:-1], self.config.temperatures[1:], strict=True)
        counts = zip(exchanges.proposed.tolist(), exchanges.accepted.tolist(), strict=True)
        rows = [",".join(EXCHANGE_COLUMNS)]
        rows += [f"{low!r},{high!r},{asked},{done}" for (low, high), (asked, done) in zip(pairs, counts, strict=True)]
        write_atomically(self.folder.exchanges, ("\n".join(rows) + "\n").encode())

    def sync(self) -> None:
        """Wait until all files are on the disk."""
        for file in [*self.trajectories, self.log]:
            file.sync()

    def _encode(self, records: Records) -> list[bytes]:
        steps = [step for step, _, _ in records.frames]
        positions = torch.stack([positions for _, positions, _ in records.frames]).to("cpu", torch.float32)
        cells = torch.stack([cell for _, _, cell in records.frames]).to("cpu", torch.float32)
        times = [step * self.config.time_step for step in steps]
        return encode_xtc(positions.numpy(), steps, times, cells=cells.numpy() if bool(cells.any()) else None)

    def _lines(self, records: Records) -> list[str]:
        temperatures, walkers, rows = self.config.temperatures, self.config.walkers, []
        held = torch.stack([index for _, index, _ in records.lines]).tolist()
        values = torch.stack([each for _, _, each in records.lines]).tolist()
        for (step, _, _), index, (energy, kinetic) in zip(records.lines, held, values, strict=True):
            time = f"{step},{step * self.config.time_step:.6f}"
            for replica, rung in enumerate(index):
                bath = f"{replica},{replica % walkers},{rung},{temperatures[rung]!r}"
                rows.append(f"{time},{bath},{energy[replica]:.6f},{kinetic[replica]:.4f}\n")
        return rows


def bead_topology(names: Sequence[str], residues: Sequence[tuple[str, int, int]]) -> Any:
    """Return an mdtraj topology of beads.

    Args:
        names: atom name of each bead.
        residues: for each bead (residue name, residue number, chain index); equal neighbours are one residue.
    """
    import mdtraj

    topology, last = mdtraj.Topology(), None
    chains: dict[int, Any] = {}
    residue: Any = None
    for name, label in zip(names, residues, strict=True):
        if label[2] not in chains:
            chains[label[2]] = topology.add_chain()
        chain = chains[label[2]]
        if label != last:
            residue, last = topology.add_residue(label[0], chain, resSeq=label[1]), label
        element = mdtraj.element.Element.getBySymbol(name[0] if name[0] in "CNO" else "C")
        topology.add_atom(name, element, residue)
    return topology


def write_pdb(path: Path, topology: Any, positions: np.ndarray[Any, Any]) -> None:
    """Write one frame ([n_beads, 3], nm) as PDB.

    Raises:
        OutputError: the disk is full or not writable.
    """
    import mdtraj

    with tempfile.TemporaryDirectory(prefix="flashmd-") as scratch:
        file = Path(scratch) / path.name
        mdtraj.Trajectory(positions[None], topology).save_pdb(str(file))
        write_atomically(path, file.read_bytes())
