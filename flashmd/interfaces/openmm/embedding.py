"""A potential in a system that OpenMM-ML builds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flashmd.errors import message
from flashmd.interfaces.openmm.force import Model, add_force

if TYPE_CHECKING:
    import openmm

OPTIONS = ("device", "dtype", "backend", "periodic")


def check_options(names: Iterable[str]) -> None:
    """Refuse names of options that there are not.

    Raises:
        TypeError: there is one.
    """
    unknown = sorted(set(names) - set(OPTIONS))
    if unknown:
        fix = "remove it"
        raise TypeError(message(f"option `{unknown[0]}`", f"one of {', '.join(OPTIONS)}", "another name", fix))


def add_to_system(
    model: Model,
    topology: openmm.app.Topology,
    system: openmm.System,
    atoms: Iterable[int] | None,
    force_group: int,
    options: Mapping[str, Any],
) -> None:
    """Add a force to a system; where it is the only one, also the masses of its particles.

    Args:
        model: see :func:`flashmd.interfaces.openmm.create_force`.
        topology: of the system.
        system: to which the force is added.
        atoms: indices of the atoms that the model acts on, or None for all.
        force_group: of the force.
        options: those of `create_force`; in a mixed system also options of the embedding, which are not looked at.

    Raises:
        TypeError: an option is unknown.
    """
    if atoms is None:
        check_options(options)
    known: dict[str, Any] = {name: options[name] for name in OPTIONS if name in options}
    if known.get("periodic") is None:
        known["periodic"] = topology.getPeriodicBoxVectors() is not None or system.usesPeriodicBoundaryConditions()
    particles = None if atoms is None else [int(atom) for atom in atoms]
    masses = add_force(system, model, topology, particles=particles, force_group=force_group, **known)
    if particles is None:
        # Elements give masses already; of beads OpenMM-ML knows none and would hold them in place.
        for particle, mass in enumerate(masses):
            system.setParticleMass(particle, mass)
