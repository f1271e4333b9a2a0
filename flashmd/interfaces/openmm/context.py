"""A context of OpenMM as an energy model, so that what runs on models of this package runs on any force field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flashmd.errors import message
from flashmd.interfaces.openmm.engine import openmm_module
from flashmd.protocols import Evaluation
from flashmd.system import System

if TYPE_CHECKING:
    import openmm


class ContextModel:
    """Let a context of OpenMM evaluate systems, one after the other.

    Its integrator is not used. Positions and box of the context are those of the last system that was evaluated.

    Args:
        context: with positions, and without constraints or particles that do not move by themselves.

    Attributes:
        system: the particles as a system of float64, of type 0; the template for `SystemForces`.

    Raises:
        ValueError: there are constraints, virtual sites or particles without mass, which free motion would ignore.

    Example:
        >>> import openmm
        >>> from flashmd.interfaces.openmm import ContextModel
        >>> particles = openmm.System()
        >>> spring = openmm.CustomExternalForce("x^2")
        >>> for mass in (1.0, 4.0):
        ...     _ = spring.addParticle(particles.addParticle(mass))
        >>> _ = particles.addForce(spring)
        >>> context = openmm.Context(
        ...     particles, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
        ... )
        >>> context.setPositions([[0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> model = ContextModel(context)
        >>> model.evaluate(model.system).forces.tolist()
        [[-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, context: openmm.Context) -> None:
        self._openmm = openmm_module()
        self._context = context
        inside = context.getSystem()
        n = inside.getNumParticles()
        masses = [inside.getParticleMass(index).value_in_unit(self._openmm.unit.dalton) for index in range(n)]
        if inside.getNumConstraints() or min(masses) <= 0.0:
            got = f"{inside.getNumConstraints()} constraints, smallest mass {min(masses)} Da"
            fix = "create the system with `constraints=None` and `rigidWater=False`, without virtual sites"
            raise ValueError(message("`context`", "particles that move freely", got, fix))
        self._periodic = inside.usesPeriodicBoundaryConditions()
        state = context.getState(positions=True)
        self.system = System.single(
            torch.from_numpy(self._nm(state.getPositions(asNumpy=True))),
            torch.zeros(n, dtype=torch.int64),
            masses=torch.tensor(masses, dtype=torch.float64),
            cell=torch.from_numpy(self._nm(state.getPeriodicBoxVectors(asNumpy=True))) if self._periodic else None,
            pbc=self._periodic,
        )

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy and forces of every system.

        Args:
            system: systems of the particles of the context; boxes may differ.
            virial: must be False, OpenMM knows none.

        Raises:
            ValueError: another number of particles, or a virial.
        """
        n = self.system.n_atoms
        if virial:
            raise ValueError(message("`virial`", "False for a context of OpenMM", "True", "leave it out"))
        if system.n_atoms != n * system.n_systems:
            got, fix = f"{system.n_atoms} in {system.n_systems} systems", "make systems by `model.system.replicate(n)`"
            raise ValueError(message("`system`", f"{n} particles in each system", got, fix))
        positions = system.positions.detach().cpu().to(torch.float64).numpy().reshape(-1, n, 3)
        boxes = system.cell.detach().cpu().to(torch.float64).numpy()
        # Forces that call torch differentiate energies, whoever calls them.
        with torch.enable_grad():
            results = [self._one(place, box) for place, box in zip(positions, boxes, strict=True)]
        return Evaluation(
            energy=torch.tensor([energy for energy, _ in results], dtype=torch.float64, device=system.positions.device),
            forces=torch.from_numpy(np.concatenate([forces for _, forces in results])).to(system.positions),
        )

    def _one(self, positions: Any, box: Any) -> tuple[float, Any]:
        """Return energy, kJ/mol, and forces, kJ/mol/nm."""
        if self._periodic:
            self._context.setPeriodicBoxVectors(*box)
        self._context.setPositions(positions)
        state = self._context.getState(energy=True, forces=True)
        unit = self._openmm.unit.kilojoule_per_mole
        forces = state.getForces(asNumpy=True).value_in_unit(unit / self._openmm.unit.nanometer)
        return state.getPotentialEnergy().value_in_unit(unit), forces

    def _nm(self, values: Any) -> Any:
        return np.array(values.value_in_unit(self._openmm.unit.nanometer), dtype=np.float64)
