"""A molecule as OpenMM knows it: topology, Systems of the force fields, Contexts, and structures with all atoms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.force_fields.lennard_jones import merge_lennard_jones
from flashmd.backmap.hydrogens.protonation import AllAtoms, all_atoms
from flashmd.errors import message, require

if TYPE_CHECKING:
    import openmm

ForceFieldName = Literal["amber14", "amber14-gbn2", "charmm36"]
FILES: dict[str, tuple[str, ...]] = {
    "amber14": ("amber14-all.xml",),
    "amber14-gbn2": ("amber14-all.xml", "implicit/gbn2.xml"),
    "charmm36": ("charmm36.xml",),
}
"""Files of OpenMM for each force field; without "gbn2" there is no solvent."""
FORCE_TOLERANCE = 10.0
"""kJ/mol/nm, root mean square force at which a structure is at a minimum."""


@dataclass(frozen=True)
class Molecule:
    """All atoms of some chains, and what OpenMM needs to evaluate them; Systems are built once.

    Attributes:
        atoms: names, elements and bonds.

    Example:
        >>> from flashmd.backmap.chains import Chains
        >>> molecule = Molecule.of(Chains.from_sequence("GAS"))
        >>> molecule.atoms.n_atoms, molecule.system("amber14").getNumParticles()
        (31, 31)
    """

    atoms: AllAtoms
    _systems: dict[tuple[str, float | None, bool], Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls, chains: Chains, *, imidazoles: Mapping[int, str] | None = None, disulfides: Iterable[tuple[int, int]] = ()
    ) -> Molecule:
        """Give chains all their atoms.

        Args:
            chains: the residues; every piece of chain gets charged ends.
            imidazoles: "HID", "HIE" or "HIP" for residues that are histidines.
            disulfides: pairs of residues, cysteines joined by a bond.
        """
        return cls(all_atoms(chains, imidazoles=imidazoles, disulfides=disulfides))

    def system(
        self, force_field: ForceFieldName, *, cutoff: float | None = None, constrain_hydrogens: bool = False
    ) -> openmm.System:
        """Return the System of a force field, built at the first call.

        Args:
            force_field: a key of `FILES`.
            cutoff: nm, of non-bonded interactions; none by default.
            constrain_hydrogens: hold the lengths of bonds to hydrogens.

        Raises:
            ValueError: the force field is unknown, or a piece of chain has a single residue.
            MissingDependencyError: OpenMM is not installed.
        """
        key = (force_field, cutoff, constrain_hydrogens)
        if key not in self._systems:
            self._systems[key] = build_system(
                self.atoms, force_field, cutoff=cutoff, constrain_hydrogens=constrain_hydrogens
            )
        return self._systems[key]

    @property
    def hydrogens(self) -> Tensor:
        """Which atoms are hydrogens: [n_atoms], bool."""
        return torch.tensor([element == "H" for element in self.atoms.elements])

    def heavy_part(self, positions: Tensor) -> Tensor:
        """Return padded heavy atoms, [n_frames, n_residues, 14, 3], of all atoms, [n_frames, n_atoms, 3]."""
        return self.atoms.chains.pad(positions[:, self.atoms.heavy])


def build_system(
    atoms: AllAtoms, force_field: ForceFieldName, *, cutoff: float | None = None, constrain_hydrogens: bool = False
) -> openmm.System:
    """Build the System of a force field, see `Molecule.system`."""
    if force_field not in FILES:
        got = repr(force_field)
        raise ValueError(message("`force_field`", f"one of {', '.join(FILES)}", got, "choose one of them"))
    app = openmm_app()
    topology = topology_of(atoms)
    options: dict[str, Any] = {"nonbondedMethod": app.NoCutoff}
    if cutoff is not None:
        options = {"nonbondedMethod": app.CutoffNonPeriodic, "nonbondedCutoff": cutoff}
    options["constraints"] = app.HBonds if constrain_hydrogens else None
    system = parsed(force_field).createSystem(topology, **options)
    merge_lennard_jones(system)
    return system


@lru_cache(maxsize=len(FILES))
def parsed(force_field: ForceFieldName) -> Any:
    """Return a force field; its files take seconds to read."""
    return openmm_app().ForceField(*FILES[force_field])


def openmm_app() -> Any:
    """Return the module `openmm.app`.

    Raises:
        MissingDependencyError: OpenMM is not installed.
    """
    try:
        from openmm import app
    except ImportError:
        raise require("openmm", "openmm") from None
    return app


def topology_of(atoms: AllAtoms) -> Any:
    """Return the topology of OpenMM; every piece of chain is a chain.

    Raises:
        ValueError: a piece of chain has a single residue.
    """
    app = openmm_app()
    refuse_lone(atoms.chains)
    topology = app.Topology()
    joined, labels = atoms.chains.joined.tolist(), atoms.chains.labels
    residues: list[Any] = []
    for index, form in enumerate(atoms.forms):
        begins = index == 0 or not joined[index - 1]
        chain = topology.addChain(labels[index].chain or None) if begins else residues[-1].chain
        label = labels[index]
        residues.append(topology.addResidue(form, chain, str(label.number), label.insertion_code))
    made = [
        topology.addAtom(name, app.Element.getBySymbol(element), residues[residue])
        for name, element, residue in zip(atoms.names, atoms.elements, atoms.residue.tolist(), strict=True)
    ]
    for first, second in atoms.bonds.tolist():
        topology.addBond(made[first], made[second])
    return topology


def context_of(system: openmm.System, integrator: openmm.Integrator | None = None) -> openmm.Context:
    """Return a Context on one processor thread; OpenMM would take the first platform it finds, often a slow one."""
    import openmm

    chosen = openmm.Platform.getPlatformByName("CPU")
    return openmm.Context(system, integrator or openmm.VerletIntegrator(0.001), chosen, {"Threads": "1"})


def go_downhill(
    context: openmm.Context, frame: NDArray[np.float64], iterations: int
) -> tuple[NDArray[np.float64], str]:
    """Minimise one structure by L-BFGS to a root mean square force of 10 kJ/mol/nm or for so many steps.

    Returns:
        positions, those of `frame` where it failed, and why it failed, "" where it did not.
    """
    import openmm

    try:
        context.setPositions(frame)
        openmm.LocalEnergyMinimizer.minimize(context, FORCE_TOLERANCE, iterations)
        found = np.array(context.getState(positions=True).getPositions(asNumpy=True)._value)
    except openmm.OpenMMException as error:
        return frame, str(error)
    return (found, "") if np.isfinite(found).all() else (frame, "atoms went to infinity")


def as_frames(positions: Tensor, n_atoms: int) -> NDArray[np.float64]:
    """Return positions of all atoms as a float64 array, [n_frames, n_atoms, 3].

    Raises:
        ValueError: the shape is another one.
    """
    if positions.ndim != 3 or positions.shape[1:] != (n_atoms, 3):
        got, fix = f"{tuple(positions.shape)}", "add hydrogens with `add_hydrogens` first"
        raise ValueError(message("`positions`", f"shape (n_frames, {n_atoms}, 3)", got, fix))
    return np.asarray(positions.detach().cpu().double().numpy())


def refuse_lone(chains: Chains) -> None:
    """Refuse chains of which a force field has no residue.

    Raises:
        ValueError: a piece of chain has a single residue.
    """
    joined = chains.joined
    lone = ~joined & ~torch.cat([joined.new_zeros(1), joined[:-1]])
    if bool(lone.any()):
        names = ", ".join(str(chains.labels[i]) for i in lone.nonzero()[:, 0].tolist())
        fix = "leave those residues out: a force field has no residue with two charged ends"
        raise ValueError(message("pieces of chain", "two residues or more", f"single ones: {names}", fix))
