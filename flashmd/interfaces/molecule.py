"""From the topology of another package to types, masses and lists of terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flashmd.cg import CGStructure, Resolution, build_system, map_structure
from flashmd.errors import message
from flashmd.potential import Potential
from flashmd.potential.resolution import particles_of
from flashmd.system import System

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mdtraj import Topology


def system_of(
    topology: Topology, model: Potential, *, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> System:
    """Return the particles of a topology as a model sees them, at the origin.

    Args:
        topology: mdtraj topology; the particles of a coarse-grained model are its beads, and nothing else.
        model: tells whether particles are beads or atoms.
        dtype: of positions and masses.
        device: of the result.

    Raises:
        ValueError: the model does not know an element or a bead, or a particle carries no bead.

    Example:
        >>> import mdtraj
        >>> from flashmd.potential import load
        >>> topology = mdtraj.load("data/structures/chignolin_native_ca.pdb").topology
        >>> system_of(topology, load("chignolin-ca"), dtype=torch.float32).n_atoms
        10
    """
    kind = particles_of(model)
    system = _atoms(topology, model, dtype) if kind == "atoms" else _beads(topology, kind, dtype)
    moved = system.to(device)
    model.check(moved)
    return moved


def types_of(symbols: Sequence[str], model: Potential) -> Tensor:
    """Return the types [n_atoms] of atoms by their chemical symbols.

    Raises:
        ValueError: the model does not know one of them.
    """
    known = model.bead_types or {}
    for atom, symbol in enumerate(symbols):
        if symbol not in known:
            fix = "remove the atom, or choose a model of its element"
            raise ValueError(message(f"atom {atom}", f"an element of {', '.join(known)}", repr(symbol), fix))
    return torch.tensor([known[symbol] for symbol in symbols], dtype=torch.int64)


def _atoms(topology: Topology, model: Potential, dtype: torch.dtype) -> System:
    elements = [atom.element for atom in topology.atoms]
    types = types_of([element.symbol for element in elements], model)
    masses = torch.tensor([element.mass for element in elements], dtype=dtype)
    return System.single(torch.zeros(len(elements), 3, dtype=dtype), types, masses=masses)


def _beads(topology: Topology, resolution: Resolution, dtype: torch.dtype) -> System:
    import mdtraj  # takes a second, so only where beads are looked up

    nowhere = np.zeros((1, topology.n_atoms, 3), dtype=np.float32)
    structure = map_structure(mdtraj.Trajectory(nowhere, topology), resolution)
    _check_only_beads(structure, topology)
    return build_system(structure, dtype=dtype)


def _check_only_beads(structure: CGStructure, topology: Topology) -> None:
    carriers = set(structure.atom_indices.tolist())
    for atom in topology.atoms:
        if atom.index not in carriers:
            what = f"particle {atom.index} ({atom.name} of {atom.residue})"
            fix = "map the structure to beads first, or name the beads in `particles`"
            raise ValueError(message(what, f"a bead of resolution '{structure.resolution}'", "none", fix))
