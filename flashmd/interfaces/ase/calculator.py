"""A calculator of ASE on a model: energies, forces and stress of atoms or of beads."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from numpy.typing import NDArray
from torch import Tensor

from flashmd.errors import message
from flashmd.interfaces.ase.labels import BeadTypes
from flashmd.interfaces.ase.placement import EVERYTHING, Placement
from flashmd.interfaces.model import LoadedModel, open_model
from flashmd.potential import Potential
from flashmd.protocols import Evaluation
from flashmd.system import System
from flashmd.units import ANGSTROM, ELECTRONVOLT

Results = dict[str, Any]
_FORCE = ANGSTROM / ELECTRONVOLT
"""eV/angstrom in one kJ/mol/nm."""
_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


class FlashMDCalculator(Calculator):
    """Energies, forces and stress of ASE's atoms from a model.

    Energy and forces come from one evaluation, the stress where it is asked for, `energies` (the shares of the atoms;
    terms of priors are divided equally among their atoms) from another one. The neighbour list is kept from step to
    step and does not show in the results: the same atoms always get the same bits. An instance may be shared by
    threads, which take turns.

    Args:
        model: model file, name of a shipped model such as ``"chignolin-ca"``, or a potential.
        device: as in torch.
        dtype: "float32" or "float64", for finite differences, tight optimisations and vibrations.
        backend: "compiled", or "kernel" or "reference" for the network without tables.
        bead_types: name or integer of each atom, or a dictionary of these by residue or chemical symbol. Without it,
            the array ``bead_type`` of the atoms counts, then chemical symbols or, for coarse-grained models, the
            names that :mod:`ase.io` reads from PDB files.

    Attributes:
        model: what is evaluated; an :class:`~flashmd.interfaces.model.LoadedModel`.
        n_evaluations: number of times that the model was evaluated.

    Raises:
        CheckpointError: the file cannot be read.
        ValueError: an option is unknown or the device is not there; later, the atoms are not what the model knows.

    Example:
        >>> from flashmd.interfaces.ase import FlashMDCalculator, beads_to_atoms
        >>> beads = beads_to_atoms("data/structures/chignolin_native_ca.pdb")
        >>> beads.calc = FlashMDCalculator("chignolin-ca")
        >>> beads.get_forces().shape
        (10, 3)
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress", "energies"]  # noqa: RUF012 - as ASE has it

    def __init__(
        self,
        model: str | Path | Potential,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        backend: str = "compiled",
        bead_types: BeadTypes | None = None,
    ) -> None:
        self.model: LoadedModel = open_model(model, dtype=dtype, device=device, backend=backend)
        self.bead_types = bead_types
        self.n_evaluations = 0
        self._placement = Placement(self.model, bead_types)
        self._stress_asked = False
        self._lock = threading.RLock()
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def atoms(self) -> ase.Atoms | None:
        """Atoms to which the results belong, a copy; None where there are none."""
        return self._placement.atoms() if self._placement.is_current else None

    @atoms.setter
    def atoms(self, atoms: ase.Atoms | None) -> None:
        self._placement.is_current, self.results = False, {}
        if atoms is not None:
            self._placement.place(atoms, EVERYTHING)

    def check_state(self, atoms: ase.Atoms, tol: float = 0.0) -> list[str]:
        """Return what has changed since the last evaluation; the smallest difference counts, whatever `tol`."""
        del tol
        return self._placement.changes(atoms)

    def get_property(self, name: str, atoms: ase.Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Return a property, from the cache where nothing has changed; see ASE."""
        with self._lock:
            value = super().get_property(name, atoms, allow_calculation)  # type: ignore[no-untyped-call]
            self._stress_asked = self._stress_asked or name == "stress"
            return value

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = EVERYTHING,
    ) -> None:
        """Evaluate the model; ASE calls this where the cache does not help.

        Raises:
            ValueError: there are no atoms, they are not finite, or not what the model knows.
            PropertyNotImplementedError: a stress without a volume, or energies of a model that does not share them.
        """
        with self._lock:
            given = self.atoms if atoms is None else atoms
            if given is None:
                fix = "pass the atoms, or ask the atoms for the property"
                raise ValueError(message("`atoms`", "atoms, or those of an earlier call", "neither", fix))
            if system_changes:
                self.results = {}
            system = self._placement.place(given, system_changes)
            if set(properties) != {"energies"}:
                # Who asked for the stress last time, a barostat or a cell filter, will ask again.
                expected = bool(system_changes) and self._stress_asked and self._placement.volume > 0.0
                volume = _checked(self._placement.volume) if expected or "stress" in properties else None
                evaluation = self._evaluate(system, virial=volume is not None)
                self.results.update(_results(evaluation.energy.item(), _in_ase(evaluation.forces)))
                if volume is not None:
                    self.results["stress"] = _stress(evaluation, 0, volume)
            if "energies" in properties:
                self.results["energies"] = self._energies(system)
            self._stress_asked = "stress" in properties

    def batch(self, images: Sequence[ase.Atoms], *, stress: bool = False) -> list[Results]:
        """Evaluate many structures together, which takes less time than one after the other.

        With the backend "compiled" the numbers are those of single structures bit for bit, with the others up to
        rounding.

        Args:
            images: structures, which may have different atoms and cells.
            stress: also return the stress.

        Returns:
            For each structure a dictionary with energy, free_energy, forces and, on request, stress.

        Raises:
            TypeError: `images` are single atoms.
            ValueError: there are no structures, or one of them is refused.
            PropertyNotImplementedError: the stress of a structure without a volume.

        Example:
            >>> from flashmd.interfaces.ase import FlashMDCalculator, beads_to_atoms
            >>> folded = beads_to_atoms("data/structures/chignolin_native_ca.pdb")
            >>> unfolded = beads_to_atoms("data/structures/chignolin_unfolded_ca.pdb")
            >>> native, other = FlashMDCalculator("chignolin-ca").batch([folded, unfolded])
            >>> native["energy"] < other["energy"]
            True
        """
        if isinstance(cast("object", images), ase.Atoms):
            fix = "pass `[atoms]`, or ask the atoms for their energy"
            raise TypeError(message("`images`", "a sequence of ase.Atoms", "ase.Atoms", fix))
        place = Placement(self.model, self.bead_types)
        systems, volumes = [], []
        for atoms in images:
            systems.append(place.place(atoms, place.changes(atoms)))
            volumes.extend([_checked(place.volume)] if stress else [])
        batch = System.concatenate(systems)
        with self._lock:
            evaluation = self._evaluate(batch, virial=stress)
        energies, forces = evaluation.energy.tolist(), _in_ase(evaluation.forces)
        parts = np.split(forces, batch.ptr[1:-1].tolist())
        results = [_results(energy, part.copy()) for energy, part in zip(energies, parts, strict=True)]
        for index, volume in enumerate(volumes):
            results[index]["stress"] = _stress(evaluation, index, volume)
        return results

    def set(self, **parameters: object) -> dict[str, object]:
        """Refuse parameters, since those of the constructor cannot be changed afterwards."""
        if parameters:
            fix = "make another `FlashMDCalculator`"
            raise ValueError(message("`set`", "no parameters", ", ".join(parameters), fix))
        return {}

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Return JSON values that say which model was evaluated and how; files of ASE keep them."""
        del skip_default
        options = self.model.options
        return {
            "model": self.model.name,
            "sha256": self.model.sha256,
            "device": str(options.device),
            "dtype": str(options.dtype).removeprefix("torch."),
            "backend": options.backend,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Leave the lock behind."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a lock of its own, and a cache, which a shallow copy would otherwise share."""
        self.__dict__.update(state)
        self._lock = threading.RLock()
        self._placement, self.results = copy.copy(self._placement), dict(self.results)

    def _get_name(self) -> str:
        return "flashmd"

    def _evaluate(self, system: System, *, virial: bool) -> Evaluation:
        self.n_evaluations += 1
        return self.model.evaluate(system, virial=virial)

    def _energies(self, system: System) -> NDArray[np.float64]:
        """Return the shares of the atoms, eV."""
        self.n_evaluations += 1
        try:
            shares = self.model.atom_energies(system)
        except TypeError as error:
            raise PropertyNotImplementedError(str(error)) from None
        return np.asarray(shares.cpu().numpy() / ELECTRONVOLT)


def _results(energy: float, forces: NDArray[np.float64]) -> Results:
    """Return the results from an energy, kJ/mol, and forces in ASE's units."""
    energy /= ELECTRONVOLT
    return {"energy": energy, "free_energy": energy, "forces": forces}


def _in_ase(forces: Tensor) -> NDArray[np.float64]:
    """Return forces [n_atoms, 3] in eV/angstrom, in a new array."""
    own: NDArray[np.float64] = np.multiply(forces.cpu().numpy(), _FORCE, dtype=np.float64)
    return own


def _stress(evaluation: Evaluation, index: int, volume: float) -> NDArray[np.float64]:
    """Return the stress of a system in Voigt's order, eV per cubic angstrom."""
    strain = cast("Tensor", evaluation.virial)[index].cpu().numpy() / (ELECTRONVOLT * volume)
    voigt: NDArray[np.float64] = (0.5 * (strain + strain.T))[_VOIGT]
    return voigt


def _checked(volume: float) -> float:
    if volume == 0.0:
        fix = "set a cell with three vectors (`atoms.center(vacuum=10.0)` makes one), or do without the stress"
        raise PropertyNotImplementedError(message("the stress", "a cell with a volume", "none", fix))
    return volume
