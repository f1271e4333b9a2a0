"""What becomes of drawn structures: measures for the table, hydrogens, energies, short dynamics, atoms to write."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from flashmd.backmap.layout import AtomLayout, heavy_layout, heavy_positions, segments_of
from flashmd.backmap.noise import structure_seed
from flashmd.backmap.options import BackmapOptions
from flashmd.backmap.outputs import Cell
from flashmd.backmap.physics import ring_penetrations
from flashmd.backmap.sampling import Structures
from flashmd.backmap.trace import Trace

if TYPE_CHECKING:
    from flashmd.backmap.force_fields import ForceFieldName, Molecule

_ANGSTROM_PER_NM = 10.0
_KJ_PER_KCAL = 4.184
_IMIDAZOLES = {"HSD": "HID", "HSE": "HIE", "HSP": "HIP", "HISD": "HID", "HISE": "HIE", "HISH": "HIP"}
"""Histidines by the names of CHARMM and GROMACS, with those of Amber, which are understood without."""
_LARGEST_SEED = 0x7FFF_FFFF
_ENERGIES: tuple[tuple[ForceFieldName, str], ...] = (("amber14-gbn2", "amber14_gbn2"), ("charmm36", "charmm36"))


def check_force_fields(trace: Trace, options: BackmapOptions) -> None:
    """Refuse, before any structure is drawn, what no force field can evaluate, where one is needed.

    Raises:
        ValueError: a piece of chain has a single residue.
        MissingDependencyError: OpenMM is not installed.
    """
    if options.hydrogens or options.md_check:
        from flashmd.backmap.force_fields.molecule import openmm_app, refuse_lone

        openmm_app()
        refuse_lone(trace.chains)


class Finisher:
    """Finishes the structures of one run.

    Args:
        trace: what was given.
        options: choices.
        disulfides: pairs of residues with a bond between their SG.

    Attributes:
        layout: atoms of the positions that `finish` returns.
    """

    def __init__(self, trace: Trace, options: BackmapOptions, disulfides: tuple[tuple[int, int], ...]) -> None:
        self._trace, self._options = trace, options
        self._molecule: Molecule | None = None
        if options.hydrogens or options.md_check:
            from flashmd.backmap.force_fields import Molecule

            self._molecule = Molecule.of(trace.chains, imidazoles=_imidazoles(trace), disulfides=disulfides)
        self.layout = heavy_layout(trace.chains) if self._molecule is None else _full_layout(self._molecule)

    def finish(self, batch: Structures) -> tuple[np.ndarray[Any, Any], list[dict[str, Cell]]]:
        """Return the positions to write, [n, n_atoms, 3] in nm, and a row of the table for each structure."""
        stages = {"raw": batch.raw, "relaxed": batch.positions} if self._options.relax else {"raw": batch.raw}
        columns: dict[str, list[Cell]] = {"redrawn": list(batch.redrawn.tolist())}
        positions = heavy_positions(self._trace.chains, batch.positions, batch.oxt)
        for stage, structures in stages.items():
            columns |= {f"{stage}_{key}": values for key, values in self._measure(structures, batch).items()}
            if self._molecule is not None:
                positions, found = _energies(self._molecule, structures)
                columns |= {f"{stage}_{key}": values for key, values in found.items()}
        if self._options.md_check and self._molecule is not None:
            columns |= self._dynamics(self._molecule, positions, batch)
        rows = [{key: values[index] for key, values in columns.items()} for index in range(len(batch.frames))]
        return positions.float().numpy(), rows

    def _measure(self, structures: Tensor, batch: Structures) -> dict[str, list[Cell]]:
        from flashmd.backmap.quality import assess

        chains, known = self._trace.chains, self._trace.known
        columns: dict[str, list[Cell]] = {
            name: list(each.tolist()) for name, each in assess(chains, structures).items()
        }
        rings = ring_penetrations(chains, structures, disulfides=batch.disulfides).frame
        columns["rings"] = torch.bincount(rings, minlength=len(structures)).tolist()
        moved = (structures - batch.given)[:, known].norm(dim=-1).amax(1)
        columns["moved"] = (moved * _ANGSTROM_PER_NM).tolist()
        return columns

    def _dynamics(self, molecule: Molecule, positions: Tensor, batch: Structures) -> dict[str, list[Cell]]:
        from flashmd.backmap.force_fields import md_check

        columns: dict[str, list[Cell]] = {"md_passed": [], "md_peak_K": [], "md_fault": []}
        for row, frame, sample in zip(positions, batch.frames.tolist(), batch.samples.tolist(), strict=True):
            seed = structure_seed(self._options.seed, frame, sample) & _LARGEST_SEED
            check = md_check(molecule, row[None], seed=seed)
            peak = float(check.peak[0])
            columns["md_passed"].append(check.passed[0])
            columns["md_peak_K"].append(peak if math.isfinite(peak) else None)
            columns["md_fault"].append(check.reasons[0])
        return columns


def _imidazoles(trace: Trace) -> dict[int, str]:
    """Return the form of each histidine whose name tells it."""
    names = enumerate(label.name for label in trace.chains.labels)
    return {index: _IMIDAZOLES[name] for index, name in names if name in _IMIDAZOLES}


def _full_layout(molecule: Molecule) -> AtomLayout:
    atoms = molecule.atoms
    residues = tuple(atoms.residue.tolist())
    return AtomLayout(atoms.chains.labels, segments_of(atoms.chains), residues, atoms.names, atoms.elements)


def _energies(molecule: Molecule, structures: Tensor) -> tuple[Tensor, dict[str, list[Cell]]]:
    from flashmd.backmap.force_fields import add_hydrogens, single_points

    full = add_hydrogens(molecule, structures)
    columns: dict[str, list[Cell]] = {"hydrogens_fault": list(full.reasons)}
    for field, name in _ENERGIES:
        found = single_points(molecule, full.positions, field)
        columns[name] = (found.per_residue / _KJ_PER_KCAL).tolist()
        columns[f"{name}_fault"] = list(found.reasons)
    return full.positions, columns
