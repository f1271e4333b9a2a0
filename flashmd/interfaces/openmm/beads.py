"""Beads as OpenMM sees them: particles without an element, in the residues of the protein, with bonds to draw."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from flashmd.cg import CGStructure, Resolution, interaction_lists, map_structure
from flashmd.interfaces.openmm.engine import openmm_module

if TYPE_CHECKING:
    import mdtraj
    import openmm


def coarse_grain(
    source: str | PathLike[str] | mdtraj.Trajectory | CGStructure, resolution: Resolution = "ca"
) -> tuple[openmm.app.Topology, openmm.unit.Quantity]:
    """Map a structure to beads.

    Args:
        source: structure file or mdtraj trajectory (see :func:`flashmd.cg.map_structure`), or a mapped structure,
            which has its own resolution.
        resolution: "ca" or "five_bead".

    Returns:
        The topology, with the bonds of the chains, and the positions of the first frame.

    Example:
        >>> from flashmd.interfaces.openmm import coarse_grain
        >>> topology, positions = coarse_grain("data/structures/chignolin_native_ca.pdb")
        >>> topology.getNumAtoms(), topology.getNumBonds()
        (10, 9)
    """
    openmm = openmm_module()
    structure = source if isinstance(source, CGStructure) else map_structure(source, resolution)
    topology = openmm.app.Topology()
    chains = {index: topology.addChain() for index in dict.fromkeys(structure.chain)}
    rows = zip(structure.sequence, structure.residue_ids, structure.chain, strict=True)
    residues = [topology.addResidue(name, chains[chain], id=str(number)) for name, number, chain in rows]
    owners = structure.residue_index.tolist()
    beads = [topology.addAtom(name, None, residues[owners[i]]) for i, name in enumerate(structure.bead_names)]
    for name, terms in interaction_lists(structure).items():
        if name.endswith("bonds"):
            for first, second in terms.tolist():
                topology.addBond(beads[first], beads[second])
    positions = structure.positions[0].double().numpy()
    return topology, openmm.unit.Quantity(positions, openmm.unit.nanometer)
