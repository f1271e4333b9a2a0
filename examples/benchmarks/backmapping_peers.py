"""The programs that backmapping is compared with, each called by its own command on a C-alpha trace in a PDB file.

A gap is the end of a chain in that file. cgback makes chains apart; PULCHRA takes all residues for one chain.
"""

import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.residues import ATOMS, RESIDUES, SLOT_CA
from flashmd.errors import message

COMMANDS: dict[str, tuple[str, ...]] = {
    "cgback M": ("cgback", "{trace}", "-o", "{model}", "-m", "M", "-s", "{seed}"),
    "pulchra": ("pulchra", "{trace}", "-O", "{model}"),
    "pulchra, CA kept": ("pulchra", "-c", "{trace}", "-O", "{model}"),
}
"""Command lines by the names of the methods; those without a seed give one structure."""


@dataclass(frozen=True)
class Timed:
    """One structure of a method.

    Attributes:
        positions: [n_residues, 14, 3], nm.
        seconds: s, processor time of user and system, without what the command takes to show its help.
    """

    positions: Tensor
    seconds: float


def has_seed(method: str) -> bool:
    """Whether a method gives another structure for another seed."""
    return "{seed}" in COMMANDS[method]


def available(method: str) -> bool:
    """Whether the command of a method is installed beside this Python."""
    return _program(method).is_file()


def run(method: str, chains: Chains, trace: Tensor, seed: int) -> Timed:
    """Rebuild all atoms of one chain.

    Args:
        method: a key of `COMMANDS`.
        chains: one chain, with or without gaps.
        trace: [n_residues, 3], nm, positions of the CA atoms.
        seed: of the random numbers of the method, where it has any.

    Raises:
        RuntimeError: the command failed or left out an atom.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = {"trace": str(Path(folder) / "trace.pdb"), "model": str(Path(folder) / "model.pdb"), "seed": str(seed)}
        Path(paths["trace"]).write_text(_ca_pdb(chains, trace), encoding="ascii")
        words = [word.format(**paths) for word in COMMANDS[method][1:]]
        seconds = _seconds(method, words) - _startup(method)
        return Timed(_read(chains, Path(paths["model"]), method), seconds)


def _program(method: str) -> Path:
    return Path(sys.executable).with_name(COMMANDS[method][0])


@lru_cache
def _startup(method: str) -> float:
    """Return the processor time of a command that only shows its help."""
    return _seconds(method, ["--help"])


def _seconds(method: str, words: list[str]) -> float:
    """Run the command of a method in one thread and return its processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command, environment = [_program(method), *words], {**os.environ, **threads}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        got = f"{done.returncode}: {done.stderr[-300:]}"
        raise RuntimeError(message(f"`{method}`", "exit status 0", got, "run the command by hand on that chain"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _ca_pdb(chains: Chains, trace: Tensor) -> str:
    line = "ATOM  {0:5d}  CA  {1} A{0:4d}    {2:8.3f}{3:8.3f}{4:8.3f}  1.00  0.00           C"
    rows = []
    residues = zip(chains.types.tolist(), trace.tolist(), chains.joined.tolist(), strict=True)
    for number, (kind, place, joined) in enumerate(residues, start=1):
        rows.append(line.format(number, RESIDUES[kind], *(10 * position for position in place)))
        rows += [] if joined else ["TER"]
    return "\n".join([*rows, "END", ""])


def _read(chains: Chains, path: Path, method: str) -> Tensor:
    """Return the heavy atoms of a model as [n_residues, 14, 3], nm; residues are told by their order."""
    positions = torch.full((chains.n_residues, 14, 3), torch.nan, dtype=torch.float64)
    residue, last = -1, ""
    for row in path.read_text(encoding="ascii").splitlines():
        if not row.startswith("ATOM"):
            last = ""
            continue
        residue, last, name = residue + (row[17:27] != last), row[17:27], row[12:16].strip()
        names = ATOMS[RESIDUES[int(chains.types[residue])]]
        if name in names:
            place = [float(row[column : column + 8]) / 10 for column in (30, 38, 46)]
            positions[residue, names.index(name)] = torch.tensor(place, dtype=torch.float64)
    if missing := int((positions.isnan().any(-1) & chains.mask).sum()):
        raise RuntimeError(
            message(f"the model of `{method}`", "all heavy atoms", f"{missing} missing", "look at its file")
        )
    return torch.where(chains.mask[:, :, None], positions, positions[:, SLOT_CA, None])
