"""From atoms to beads: choose the atoms that carry beads, and give every bead a type, a mass and a residue.

The map of configurations is a slice: a bead sits on its atom. Everything that is not a standard amino acid (water,
ions, caps) carries no bead.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flashmd.cg.beads import FIVE_BEAD_ATOMS, Resolution, bead_mass, bead_type, standard_residue
from flashmd.errors import message

_FARTHEST_NEIGHBOURS = 0.45
"""CA atoms of neighbouring residues are 0.38 nm apart, 0.29 nm at a cis bond; over a missing residue it is 0.5 nm."""

if TYPE_CHECKING:
    from mdtraj import Trajectory


@dataclass(frozen=True)
class CGStructure:
    """A coarse-grained molecule and its frames.

    Attributes:
        resolution: "ca" or "five_bead".
        sequence: standard three-letter name of each residue.
        residue_ids: number of each residue in the file.
        chain: index of the chain of each residue.
        types: [n_beads], int64 bead types.
        masses: [n_beads], float64, Da.
        bead_names: atom name of each bead.
        residue_index: [n_beads], int64, index into `sequence`.
        atom_indices: [n_beads], int64, atom of the source that carries the bead.
        positions: [n_frames, n_beads, 3], float32, nm.
    """

    resolution: Resolution
    sequence: tuple[str, ...]
    residue_ids: tuple[int, ...]
    chain: tuple[int, ...]
    types: Tensor
    masses: Tensor
    bead_names: tuple[str, ...]
    residue_index: Tensor
    atom_indices: Tensor
    positions: Tensor

    @property
    def n_beads(self) -> int:
        """Number of beads."""
        return self.types.shape[0]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.positions.shape[0]


@dataclass
class _Bead:
    atom: int
    name: str
    residue: int
    type: int
    mass: float


def map_structure(source: str | PathLike[str] | Trajectory, resolution: Resolution = "ca") -> CGStructure:
    """Map a structure or a trajectory to beads.

    Args:
        source: path of a file mdtraj can read without a separate topology (PDB, CIF, ...), or an mdtraj trajectory.
        resolution: "ca", one bead for each residue, or "five_bead", beads N CA CB C O (no CB in glycine).

    Returns:
        The beads in the atom order of the source.

    Raises:
        ValueError: an atom that must carry a bead or a whole residue is missing, an amino acid is unknown, there is no
            protein, or the file cannot be understood.

    Example:
        >>> from flashmd.cg import map_structure
        >>> structure = map_structure("chignolin.pdb", "ca")  # doctest: +SKIP
        >>> structure.sequence[:3]  # doctest: +SKIP
        ('TYR', 'TYR', 'ASP')
    """
    if resolution not in ("ca", "five_bead"):
        raise ValueError(message("`resolution`", "'ca' or 'five_bead'", repr(resolution), "pass one of the two"))
    trajectory = _load(source)
    beads: list[_Bead] = []
    sequence: list[str] = []
    residue_ids: list[int] = []
    chain: list[int] = []
    for residue in trajectory.topology.residues:
        name = standard_residue(residue.name)
        if name is None:
            _check_skippable(residue)
            continue
        beads.extend(_beads_of(residue, name, len(sequence), resolution))
        sequence.append(name)
        residue_ids.append(residue.resSeq)
        chain.append(residue.chain.index)
    if not beads:
        raise ValueError(message("the structure", "at least one amino acid", "none", "pass a protein structure"))
    atoms = [bead.atom for bead in beads]
    structure = CGStructure(
        resolution=resolution,
        sequence=tuple(sequence),
        residue_ids=tuple(residue_ids),
        chain=tuple(chain),
        types=torch.tensor([bead.type for bead in beads]),
        masses=torch.tensor([bead.mass for bead in beads], dtype=torch.float64),
        bead_names=tuple(bead.name for bead in beads),
        residue_index=torch.tensor([bead.residue for bead in beads]),
        atom_indices=torch.tensor(atoms),
        positions=torch.tensor(trajectory.xyz[:, atoms], dtype=torch.float32),
    )
    _check_unbroken(structure)
    return structure


def _check_unbroken(structure: CGStructure) -> None:
    """Refuse a chain with a gap, across which a bond would be drawn; the first frame tells."""
    anchors = [index for index, name in enumerate(structure.bead_names) if name == "CA"]
    steps = structure.positions[:1, anchors].diff(dim=1).norm(dim=2).flatten().tolist()
    for residue, length in enumerate(steps):
        if structure.chain[residue] == structure.chain[residue + 1] and length > _FARTHEST_NEIGHBOURS:
            first, second = (f"{structure.sequence[i]} {structure.residue_ids[i]}" for i in (residue, residue + 1))
            what = f"residues {first} and {second} of chain {structure.chain[residue]}"
            fix = "add missing residues (for example with pdbfixer), end the chain there, or make the molecule whole"
            raise ValueError(message(what, f"CA atoms within {_FARTHEST_NEIGHBOURS} nm", f"{length:.2f} nm", fix))


def _load(source: Any) -> Any:
    import mdtraj  # takes a second, so only where structures are read

    if isinstance(source, mdtraj.Trajectory):
        return source
    # Standard names are kept apart from what the file says: no renaming, no guessed bonds.
    try:
        return mdtraj.load(str(source))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        fix = "repair the file or convert it again"
        raise ValueError(message(f"`{source}`", "a structure", f"{type(error).__name__}: {error}", fix)) from error


def _beads_of(residue: Any, name: str, index: int, resolution: Resolution) -> list[_Bead]:
    wanted = ("CA",) if resolution == "ca" else tuple(a for a in FIVE_BEAD_ATOMS if not (name == "GLY" and a == "CB"))
    atoms: dict[str, int] = {}
    for atom in residue.atoms:
        atoms.setdefault(atom.name, atom.index)
    # Programs name the oxygens of the C-terminus differently.
    oxygen = next((a for a in ("O", "OT1", "OC1", "O1") if a in atoms), None)
    if oxygen is not None:
        atoms["O"] = atoms[oxygen]
    missing = [atom for atom in wanted if atom not in atoms]
    if missing:
        what = f"residue {residue.name} {residue.resSeq} of chain {residue.chain.index}"
        expected = f"atom{'s' if len(missing) > 1 else ''} {', '.join(missing)} for resolution '{resolution}'"
        fix = "complete the structure (for example with pdbfixer) or choose resolution 'ca'"
        raise ValueError(message(what, expected, f"only {', '.join(atoms)}", fix))
    beads = [_Bead(atoms[a], a, index, bead_type(name, a, resolution), bead_mass(name, a, resolution)) for a in wanted]
    return sorted(beads, key=lambda bead: bead.atom)


def _check_skippable(residue: Any) -> None:
    names = {atom.name for atom in residue.atoms}
    # A lone CA is a residue of a CA trace unless it is calcium.
    if {"N", "CA", "C"} <= names or (names == {"CA"} and not residue.name.upper().startswith("CA")):
        what = f"residue {residue.name} {residue.resSeq} of chain {residue.chain.index}"
        fix = "rename it to the closest standard amino acid or delete it"
        raise ValueError(message(what, "a standard amino acid", f"the name {residue.name!r}", fix))
