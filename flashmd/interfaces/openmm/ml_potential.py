"""A potential in the systems that OpenMM-ML builds; only the plugin imports this module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from openmmml.mlpotential import MLPotentialImpl

from flashmd.interfaces.openmm.force import add_force, check_names

if TYPE_CHECKING:
    import openmm

OPTIONS = ("device", "dtype", "backend", "periodic")


class FlashMDPotential(MLPotentialImpl):  # type: ignore[misc]
    """A flashmd model, for a whole system or for some of its atoms.

    Args:
        model: file, or name of a shipped model.
        options: some of `OPTIONS`, see :func:`flashmd.interfaces.openmm.create_force`.

    Raises:
        TypeError: an option is unknown.
    """

    def __init__(self, model: str, options: Mapping[str, Any]) -> None:
        check_names(options, OPTIONS)
        self._model = model
        self._options = options

    def addForces(  # noqa: N802
        self,
        topology: openmm.app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        **args: Any,
    ) -> None:
        """Add the force to a system; where it is the only one, also set the masses of the particles.

        Args:
            topology: of the system.
            system: to which the force is added.
            atoms: indices of the atoms that the model acts on, or None for all.
            forceGroup: of the force.
            **args: some of `OPTIONS`; in a mixed system also options of the embedding, which are not looked at.

        Raises:
            TypeError: an option is unknown.
        """
        if atoms is None:
            check_names(args, OPTIONS)
        every = {**self._options, **args}
        options: dict[str, Any] = {name: every[name] for name in OPTIONS if name in every}
        if options.get("periodic") is None:
            boxed = topology.getPeriodicBoxVectors() is not None
            options["periodic"] = boxed or system.usesPeriodicBoundaryConditions()
        particles = None if atoms is None else [int(atom) for atom in atoms]
        masses = add_force(system, self._model, topology, particles=particles, force_group=forceGroup, **options)
        if particles is None:
            # Elements give masses already; of beads OpenMM-ML knows none and would hold them in place.
            for particle, mass in enumerate(masses):
                system.setParticleMass(particle, mass)

    def getMLLongRange(self) -> bool:  # noqa: N802
        """Return that interactions end at the cutoff."""
        return False
