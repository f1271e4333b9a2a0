"""From the topology of OpenMM to the particles that a model sees, through a description that is small to store.

A force travels as text (XML). The lists of terms of a protein grow with the square of its beads, its names do not: so
names travel, and the lists are made again.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.interfaces.model import LoadedModel
from flashmd.interfaces.molecule import system_of
from flashmd.interfaces.openmm.engine import openmm_module
from flashmd.potential.resolution import particles_of
from flashmd.system import System

if TYPE_CHECKING:
    import mdtraj


@dataclass(frozen=True)
class NamedResidue:
    """A residue of a topology.

    Attributes:
        name: as in the topology.
        number: of the residue.
        chain: index of its chain.
        atoms: index in the topology, name and chemical symbol of those of its atoms that count; "" is no element.
    """

    name: str
    number: int
    chain: int
    atoms: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True)
class Molecule:
    """The particles that a force acts on, by name.

    Attributes:
        residues: in the order of the topology.
        order: position among the atoms of `residues` of each particle of the force.
    """

    residues: tuple[NamedResidue, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, topology: Any, particles: Sequence[int] | None) -> Molecule:
        """Describe the atoms of an `openmm.app.Topology`, or those with the given indices, in the given order.

        Raises:
            ValueError: an index is not in the topology or occurs twice.
        """
        chosen = list(range(topology.getNumAtoms())) if particles is None else list(particles)
        check_particles(chosen, topology.getNumAtoms())
        wanted = set(chosen)
        residues = []
        for residue in topology.residues():
            atoms = tuple((atom.index, atom.name, _symbol(atom)) for atom in residue.atoms() if atom.index in wanted)
            if atoms:
                residues.append(NamedResidue(residue.name, _number(residue), residue.chain.index, atoms))
        place = {atom[0]: row for row, atom in enumerate(atom for each in residues for atom in each.atoms)}
        return cls(tuple(residues), tuple(place[index] for index in chosen))

    def system(self, model: LoadedModel) -> System:
        """Return the particles at the origin, in the order of the force, in double precision.

        Raises:
            ValueError: the model does not know an element or a bead.
        """
        kind = particles_of(model.potential)
        if kind == "atoms":
            self._check_elements(model.potential.bead_types or {})
        topology = self._mdtraj_topology()
        device = model.options.device
        system = system_of(topology, model.potential, dtype=torch.float64, device=device)
        return reordered(system, torch.tensor(self.order, device=device))

    def _check_elements(self, known: dict[str, int]) -> None:
        for residue in self.residues:
            for index, name, symbol in residue.atoms:
                if symbol not in known:
                    what = f"atom {index} ({name} of {residue.name} {residue.number})"
                    fix = "choose a model of its element, or leave the atom out with `particles`"
                    raise ValueError(message(what, f"an element of {', '.join(known)}", repr(symbol or None), fix))

    def _mdtraj_topology(self) -> mdtraj.Topology:
        import mdtraj  # takes a second, so only where a force is made

        topology, chains = mdtraj.Topology(), {}
        for residue in self.residues:
            if residue.chain not in chains:
                chains[residue.chain] = topology.add_chain()
            added = topology.add_residue(residue.name, chains[residue.chain], resSeq=residue.number)
            for _, name, symbol in residue.atoms:
                known = symbol.upper() in mdtraj.element.Element._elements_by_symbol
                element = mdtraj.element.Element.getBySymbol(symbol) if known else mdtraj.element.virtual
                topology.add_atom(name, element, added)
        return topology


def listed(particles: Iterable[int] | None) -> list[int] | None:
    """Return indices of whatever integer type as a list, which can be read twice.

    Raises:
        TypeError: one is no integer, as in a mask.
    """
    if particles is None:
        return None
    found = []
    for index in particles:
        try:
            found.append(operator.index(index))
        except TypeError:
            fix = "pass indices (`numpy.flatnonzero(mask)` makes them of a mask)"
            raise TypeError(message("`particles`", "integers", repr(index), fix)) from None
    return found


def check_particles(particles: Sequence[int], n_particles: int) -> None:
    """Refuse indices of which there are none, that occur twice, or that are none of `n_particles`."""
    fix = "pass each index of the topology that the model shall act on once"
    outside = [index for index in particles if not 0 <= index < n_particles]
    if outside:
        expected = f"indices from 0 to {n_particles - 1}, the particles of the topology"
        raise ValueError(message("`particles`", expected, f"{outside[0]}", fix))
    if not particles or len(set(particles)) < len(particles):
        got = "the same index twice" if particles else "none"
        raise ValueError(message("`particles`", "at least one index and each once", got, fix))


def reordered(system: System, order: Tensor) -> System:
    """Return a system whose k-th particle is that of index `order[k]`."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return dataclasses.replace(
        system,
        positions=system.positions[order],
        types=system.types[order],
        masses=system.masses[order],
        interactions={name: place[terms] for name, terms in system.interactions.items()},
    )


def describe(topology: Any, particles: Sequence[int] | None) -> Molecule | System:
    """Return what a force keeps of a topology: names, or the system itself where one was given.

    Raises:
        TypeError: the topology is neither OpenMM's nor a `System`.
        ValueError: the particles do not fit to it.
    """
    if isinstance(topology, openmm_module().app.Topology):
        return Molecule.of(topology, particles)
    if not isinstance(topology, System):
        fix = "pass `pdb.topology`, or the result of `flashmd.cg.build_system`"
        got = type(topology).__name__
        raise TypeError(message("`topology`", "an openmm.app.Topology or a flashmd.System", got, fix))
    if topology.n_systems != 1:
        fix = "pass one molecule; OpenMM simulates one copy in a Context"
        raise ValueError(message("`topology`", "a batch of one system", f"{topology.n_systems} systems", fix))
    if bool(topology.pbc.any()) and not bool(topology.pbc.all()):
        fix = "set all three flags, with a box that is large enough where nothing repeats"
        raise ValueError(message("`pbc` of the topology", "all directions or none", "some of them", fix))
    if particles is not None and len(particles) != topology.n_atoms:
        fix = "name the particle of OpenMM's System for each atom of the flashmd.System"
        raise ValueError(message("`particles`", f"{topology.n_atoms} indices", f"{len(particles)}", fix))
    return topology


def _symbol(atom: Any) -> str:
    return "" if atom.element is None else str(atom.element.symbol)


def _number(residue: Any) -> int:
    """Return the number in a residue's name tag, or where there is none its place in the topology."""
    try:
        return int(residue.id)
    except ValueError:
        return int(residue.index)
