"""Energies and gradients of many structures with OpenMM, in parallel processes, every failure counted.

The System of a molecule is built once, and each process keeps one Context for it. A structure whose energy or gradient
is not a finite number is a failure: it is marked, never replaced by a number, and too many of them raise.
"""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flashmd.backmap.force_fields.molecule import FILES, ForceFieldName, build_system
from flashmd.errors import EnergyFailureError, message

if TYPE_CHECKING:
    from types import TracebackType

    from flashmd.backmap.hydrogens.protonation import AllAtoms

_FEWEST = 20
"""Structures to evaluate before a share of failures says anything."""
_CONTEXTS = 64
"""Molecules that a process keeps a Context of."""


@dataclass(frozen=True)
class EnergyBatch:
    """What the force field says of some structures.

    Attributes:
        energy: [n_frames], float64, kJ/mol; NaN where the evaluation failed.
        gradient: [n_frames, n_atoms, 3], float64, kJ/mol/nm; zero where the evaluation failed.
        failed: [n_frames], bool.
    """

    energy: Tensor
    gradient: Tensor
    failed: Tensor


class EnergyWorkers:
    """A force field and the processes that evaluate it.

    Args:
        force_field: "amber14-gbn2" (Amber ff14SB with the GBn2 solvent) or "charmm36" (in vacuum), without cutoff.
        processes: worker processes; 1 evaluates in the calling process.
        failure_limit: largest share of structures that may fail before an error is raised.
        platform: platform of OpenMM: "CPU" or, in double precision, "Reference".

    Attributes:
        evaluated: structures evaluated so far.
        failed: those among them whose energy or gradient was not finite.

    Raises:
        EnergyFailureError: when called and more structures failed than the limit allows, or a process died.
        MissingDependencyError: OpenMM is not installed.

    Example:
        >>> import torch
        >>> from flashmd.backmap.hydrogens import all_atoms
        >>> from flashmd.backmap.chains import Chains
        >>> atoms = all_atoms(Chains.from_sequence("GG"))
        >>> positions = 0.3 * torch.randn(1, atoms.n_atoms, 3, generator=torch.Generator().manual_seed(0))
        >>> with EnergyWorkers("amber14-gbn2") as workers:
        ...     batch = workers(atoms, positions)
        >>> batch.gradient.shape, workers.evaluated, workers.failed
        (torch.Size([1, 17, 3]), 1, 0)
    """

    def __init__(
        self,
        force_field: ForceFieldName,
        *,
        processes: int = 1,
        failure_limit: float = 0.1,
        platform: Literal["CPU", "Reference"] = "CPU",
    ) -> None:
        if force_field not in FILES:
            fix = "choose one of them"
            raise ValueError(message("`force_field`", f"one of {', '.join(FILES)}", repr(force_field), fix))
        if processes < 1:
            raise ValueError(message("`processes`", "at least 1", str(processes), "pass 1 for no extra process"))
        self.force_field = force_field
        self.failure_limit = failure_limit
        self.evaluated = 0
        self.failed = 0
        self._platform = platform
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self._folder = TemporaryDirectory(prefix="flashmd-systems-")
        self._files: dict[int, tuple[AllAtoms, Path]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        _context.cache_clear()
        self._folder.cleanup()

    def __call__(self, atoms: AllAtoms, positions: Tensor) -> EnergyBatch:
        """Evaluate structures of one molecule.

        Args:
            atoms: names and bonds, as the force field needs them.
            positions: [n_frames, n_atoms, 3], nm.
        """
        path, frames = self._system_file(atoms), positions.detach().cpu().double().numpy()
        shares = np.array_split(frames, min(self._processes, max(len(frames), 1)))
        try:
            results = [_evaluate(path, self._platform, shares[0])] if len(shares) == 1 else self._spread(path, shares)
        except BrokenProcessPool as error:
            fix = "use fewer processes, or see the system's log for the reason, often a lack of memory"
            got = "the sudden end of one"
            raise EnergyFailureError(message("worker processes", "all of them to answer", got, fix)) from error
        energy = torch.from_numpy(np.concatenate([one[0] for one in results]))
        gradient = torch.from_numpy(np.concatenate([one[1] for one in results]))
        failed = energy.isnan()
        self.evaluated += len(frames)
        self.failed += int(failed.sum())
        self._check()
        return EnergyBatch(energy.to(positions.device), gradient.to(positions.device), failed.to(positions.device))

    def charges(self, atoms: AllAtoms) -> Tensor:
        """Return the partial charges of all atoms: [n_atoms], float64, elementary charges."""
        import openmm

        system = openmm.XmlSerializer.deserialize(self._system_file(atoms).read_text(encoding="utf-8"))
        nonbonded = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
        unit = openmm.unit.elementary_charge
        charges = [nonbonded.getParticleParameters(i)[0].value_in_unit(unit) for i in range(atoms.n_atoms)]
        return torch.tensor(charges, dtype=torch.float64)

    def _spread(self, path: Path, shares: list[NDArray[np.float64]]) -> list[_Result]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._processes, mp_context=get_context("spawn"))
        paths, platforms = itertools.repeat(path), itertools.repeat(self._platform)
        return list(self._pool.map(_evaluate, paths, platforms, shares))

    def _system_file(self, atoms: AllAtoms) -> Path:
        if id(atoms) not in self._files:
            path = Path(self._folder.name) / f"{len(self._files)}.xml"
            path.write_text(_system_text(atoms, self.force_field), encoding="utf-8")
            self._files[id(atoms)] = (atoms, path)
        return self._files[id(atoms)][1]

    def _check(self) -> None:
        if self.evaluated >= _FEWEST and self.failed > self.failure_limit * self.evaluated:
            got = f"{self.failed} of {self.evaluated} with {self.force_field}"
            fix = "look at the structures (atoms on top of each other?), or raise `failure_limit`"
            expected = f"at most {self.failure_limit:.0%} without a finite energy"
            raise EnergyFailureError(message("structures", expected, got, fix))


_Result = tuple[NDArray[np.float64], NDArray[np.float64]]


def _system_text(atoms: AllAtoms, force_field: ForceFieldName) -> str:
    """Return the serialised System of a molecule."""
    system = build_system(atoms, force_field)
    import openmm

    text: str = openmm.XmlSerializer.serialize(system)
    return text


@lru_cache(maxsize=_CONTEXTS)
def _context(path: Path, platform: str) -> Any:
    """Return the Context of a System in this process."""
    import openmm

    system = openmm.XmlSerializer.deserialize(path.read_text(encoding="utf-8"))
    properties = {"Threads": "1"} if platform == "CPU" else {}
    chosen = openmm.Platform.getPlatformByName(platform)
    return openmm.Context(system, openmm.VerletIntegrator(0.001), chosen, properties)


def _evaluate(path: Path, platform: str, frames: NDArray[np.float64]) -> _Result:
    """Return energies [n_frames] and gradients [n_frames, n_atoms, 3]; NaN and zeros where they are not finite."""
    import openmm

    context = _context(path, platform)
    energies, gradients = np.full(len(frames), math.nan), np.zeros_like(frames)
    for index, frame in enumerate(frames):
        if not np.isfinite(frame).all():
            continue
        try:
            context.setPositions(frame)
            state = context.getState(getEnergy=True, getForces=True)
        except openmm.OpenMMException:
            continue
        energy = state.getPotentialEnergy().value_in_unit(openmm.unit.kilojoule_per_mole)
        forces = state.getForces(asNumpy=True).value_in_unit(openmm.unit.kilojoule_per_mole / openmm.unit.nanometer)
        if math.isfinite(energy) and np.isfinite(forces).all():
            energies[index], gradients[index] = energy, -forces
    return energies, gradients
