"""The function that OpenMM calls in every step: from a State to an energy and forces.

One State holds the positions of one Context, but does not tell of which. What is kept between calls, the neighbour
list, is therefore kept for each thread and checked against the positions; it never changes a result.
"""

from __future__ import annotations

import dataclasses
import math
import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flashmd.errors import EvaluationError, NonFiniteForceError, message
from flashmd.interfaces.model import LoadedModel
from flashmd.interfaces.openmm.engine import openmm_module
from flashmd.interfaces.openmm.particles import Molecule
from flashmd.protocols import EnergyModel
from flashmd.system import System

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Unusable:
    """Why a function could not be restored, and what it was to be restored from."""

    reason: Exception
    stored: dict[str, Any]


class PotentialCompute:
    """A potential as the function of an `openmm.PythonForce`.

    It pickles as the path and the hash of the model file and the names of the particles. Threads do not wait for each
    other: each has an evaluator of its own.

    Args:
        model: see :func:`flashmd.interfaces.model.open_model`.
        particles: what the force acts on.
        periodic: use the box of the Context.
        selection: indices of the particles where OpenMM hands over all, None where it hands over those of the force.

    Attributes:
        masses: of the particles, Da, whatever the precision of the model.
        last_exception: what went wrong in the last call that failed; OpenMM keeps only its text.

    Raises:
        ValueError: the model does not know an element or a bead.

    Example:
        >>> import openmm
        >>> from flashmd.interfaces.openmm import coarse_grain, create_system
        >>> topology, positions = coarse_grain("data/structures/chignolin_native_ca.pdb")
        >>> system = create_system(topology, "chignolin-ca", backend="python")
        >>> context = openmm.Context(
        ...     system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
        ... )
        >>> context.setPositions(positions)
        >>> context.getState(forces=True).getForces(asNumpy=True).shape
        (10, 3)
    """

    _latest: ClassVar[BaseException | None] = None

    def __init__(
        self,
        model: LoadedModel,
        particles: Molecule | System,
        *,
        periodic: bool,
        selection: Sequence[int] | None = None,
    ) -> None:
        self.name = model.name
        self.model = model
        self.particles = particles
        self.periodic = periodic
        self.selection = None if selection is None else tuple(selection)
        self.last_exception: BaseException | None = None
        self._threads = threading.local()
        self._unusable: _Unusable | None = None
        options = model.options
        system = particles if isinstance(particles, System) else particles.system(model)
        self.masses: list[float] = system.masses.tolist()
        system = system.to(options.device, options.dtype)
        self.system = dataclasses.replace(system, pbc=torch.full_like(system.pbc, periodic))
        model.potential.check(self.system.with_positions(torch.zeros_like(system.positions)))

    def __call__(self, state: Any) -> tuple[float, Array]:
        """Return the energy, kJ/mol, and the forces [n_particles, 3], kJ/mol/nm, at the positions of a State.

        Raises:
            EvaluationError: the evaluation failed or gave no finite numbers.
        """
        worker = None
        try:
            # The grad mode of whoever drives the simulation must not reach the model.
            with torch.inference_mode(mode=False), torch.no_grad():
                worker = self._worker()
                worker.read(state)
                return worker.evaluate(state)
        except (Exception, KeyboardInterrupt) as error:
            raise self._failure(error, worker, state) from error

    def __getstate__(self) -> dict[str, Any]:
        if self._unusable is not None:
            return self._unusable.stored
        # As bytes, so that a model that cannot be opened any more is not met before `__setstate__`.
        model = pickle.dumps(self.model)
        own = {"name": self.name, "particles": self.particles, "periodic": self.periodic, "selection": self.selection}
        return {**own, "model": model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the function; what prevents that is raised when it is called, since OpenMM crashes if this raises."""
        try:
            model = pickle.loads(state["model"])  # noqa: S301  (whoever got here has unpickled this function already)
            PotentialCompute.__init__(
                self, model, state["particles"], periodic=state["periodic"], selection=state["selection"]
            )
        except Exception as error:  # noqa: BLE001
            self.name, self.last_exception, self._unusable = state["name"], error, _Unusable(error, state)

    def _worker(self) -> _Worker:
        """Return the worker of this thread."""
        if self._unusable is not None:
            raise self._unusable.reason
        worker: _Worker | None = getattr(self._threads, "worker", None)
        if worker is None:
            worker = self._threads.worker = _Worker(self)
        return worker

    def _failure(self, error: BaseException, worker: _Worker | None, state: Any) -> EvaluationError:
        """Remember an error and return one whose text says all, since OpenMM hands on no more than the text."""
        self.last_exception = PotentialCompute._latest = error
        reason = "interrupted from the keyboard" if isinstance(error, KeyboardInterrupt) else str(error)
        largest = None if worker is None else worker.largest_force()
        return EvaluationError(self.name, int(state.getStepCount()), reason, largest)


def last_exception() -> BaseException | None:
    """Return what went wrong in the latest evaluation that failed in this process, with its traceback.

    OpenMM turns every exception into an `OpenMMException` of the same text and forgets the rest.

    Example:
        >>> import openmm
        >>> from flashmd.interfaces.openmm import coarse_grain, create_system, last_exception
        >>> topology, positions = coarse_grain("data/structures/chignolin_native_ca.pdb")
        >>> system = create_system(topology, "chignolin-ca", backend="python")
        >>> context = openmm.Context(
        ...     system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
        ... )
        >>> context.setPositions(positions * float("nan"))
        >>> try:
        ...     state = context.getState(energy=True)
        ... except openmm.OpenMMException:
        ...     print(type(last_exception()).__name__)
        ValueError
    """
    return PotentialCompute._latest


class TorchPotentialCompute(PotentialCompute):
    """The same as the function of an `openmmtorch.PythonTorchForce`, which hands over and takes tensors."""

    def __call__(self, state: Any, positions: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return the energy, kJ/mol, and contiguous forces [n_particles, 3], kJ/mol/nm, as the positions are.

        Raises:
            EvaluationError: the evaluation failed or gave no finite numbers.
        """
        worker = None
        try:
            # The grad mode of whoever drives the simulation must not reach the model.
            with torch.inference_mode(mode=False), torch.no_grad():
                worker = self._worker()
                worker.take(positions, state)
                energy, forces = worker.evaluate(state)
        except (Exception, KeyboardInterrupt) as error:
            raise self._failure(error, worker, state) from error
        return torch.tensor(energy, dtype=torch.float64), torch.from_numpy(forces).to(positions.detach())


class _Worker:
    """The evaluator of one thread, and the memory through which positions come.

    Args:
        compute: whose calls it serves.
    """

    def __init__(self, compute: PotentialCompute) -> None:
        self._model: EnergyModel = compute.model.new_evaluator()
        self._system = dataclasses.replace(compute.system, positions=torch.zeros_like(compute.system.positions))
        self._periodic = compute.periodic
        self._rows = None if compute.selection is None else np.array(compute.selection)
        self._resize(compute.system.n_atoms)
        self._box = b""
        self._forces: Array | None = None
        self._raw: bool | None = None
        self._openmm = openmm_module()

    def read(self, state: Any) -> None:
        """Take positions and box from a State."""
        if self._raw is None:
            self._raw = self._reads_raw(state)
        if self._raw:
            # OpenMM writes without looking at the size of the buffer.
            self._expect(state._getNumParticles())
            state._getVectorAsNumpy(self._openmm.State.Positions, self._buffer)
        else:
            positions = state.getPositions(asNumpy=True).value_in_unit(self._openmm.unit.nanometer)
            self._expect(len(positions))
            self._buffer[:] = positions
        self._take(self._incoming)
        self._read_box(state)

    def take(self, positions: Tensor, state: Any) -> None:
        """Take positions from a tensor and the box from a State."""
        self._expect(len(positions))
        self._take(positions.detach())
        self._read_box(state)

    def evaluate(self, state: Any) -> tuple[float, Array]:
        """Evaluate at the positions that were taken.

        Raises:
            NonFiniteForceError: energy or forces are no finite numbers.
        """
        result = self._model.evaluate(self._system)
        energy, forces = result.energy.item(), result.forces.to("cpu", torch.float64).contiguous().numpy()
        # One sum tells whether any number is not finite; OpenMM would go on with a NaN energy.
        if not (math.isfinite(energy) and math.isfinite(np.vdot(forces, forces))):
            wrong = np.flatnonzero(~np.isfinite(forces).all(axis=1))
            raise NonFiniteForceError(int(state.getStepCount()), 0, int(wrong[0]) if len(wrong) else 0)
        self._forces = forces
        if self._rows is None:
            return energy, forces
        everywhere = np.zeros_like(self._buffer)
        everywhere[self._rows] = forces
        return energy, everywhere

    def largest_force(self) -> float | None:
        """Return the largest force on a particle in the last evaluation that succeeded, kJ/mol/nm."""
        return None if self._forces is None else float(np.linalg.norm(self._forces, axis=1).max())

    def _reads_raw(self, state: Any) -> bool:
        """Whether the short way past units, which is not documented, gives what the documented one gives."""
        documented = state.getPositions(asNumpy=True).value_in_unit(self._openmm.unit.nanometer)
        try:
            raw = np.zeros((state._getNumParticles(), 3))
            state._getVectorAsNumpy(self._openmm.State.Positions, raw)
        except (AttributeError, TypeError):
            return False
        return np.array_equal(raw, documented, equal_nan=True)

    def _read_box(self, state: Any) -> None:
        if not self._periodic:
            return
        box = np.asarray(state.getPeriodicBoxVectors(asNumpy=True)._value)
        if box.tobytes() != self._box:
            cell = torch.from_numpy(box)[None].to(self._system.cell)
            self._system, self._box = dataclasses.replace(self._system, cell=cell), box.tobytes()

    def _take(self, positions: Tensor) -> None:
        self._system.positions.copy_(positions if self._rows is None else positions[self._rows])

    def _expect(self, n_particles: int) -> None:
        """Refuse a State of another number of particles than the force has.

        Raises:
            ValueError: it has.
        """
        if n_particles == len(self._buffer):
            return
        if self._rows is None or n_particles <= self._rows.max():
            fix = "make the force with the topology of this system, or name its particles in `particles`"
            expected = f"{len(self._buffer)}, those of its topology"
            raise ValueError(message("particles of the force", expected, f"{n_particles}", fix))
        self._resize(n_particles)

    def _resize(self, n_particles: int) -> None:
        """Make room for the positions of so many particles."""
        self._buffer: Array = np.zeros((n_particles, 3))
        self._incoming = torch.from_numpy(self._buffer)
