"""Energies and short dynamics as columns of the table of measures."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.backmap.force_fields.dynamics import md_check
from flashmd.backmap.force_fields.evaluation import single_points
from flashmd.backmap.force_fields.hydrogens import add_hydrogens
from flashmd.backmap.force_fields.molecule import Molecule
from flashmd.backmap.quality._arrays import FloatArray
from flashmd.errors import message
from flashmd.units import ANGSTROM, KCAL

PS = 5.0
"""ps, length of the dynamics."""


def assess_energies(
    molecule: Molecule, positions: Tensor, *, dynamics: bool = False, seed: int = 0
) -> dict[str, FloatArray]:
    """Add hydrogens to structures and evaluate them; with dynamics, run 5 ps of each at 300 K.

    Args:
        molecule: which hydrogens there are.
        positions: [n_frames, n_residues, 14, 3], nm, all heavy atoms.
        dynamics: whether to run `md_check`.
        seed: of the dynamics.

    Returns:
        for each name of `quality.ENERGY_COLUMNS`, [n_frames]; NaN where there is no finite energy, infinite temperature
        where dynamics crashed.

    Raises:
        ValueError: an atom is missing.

    Example:
        >>> from flashmd.backmap.chains import Chains
        >>> molecule = Molecule.of(Chains.from_sequence("GG"))
        >>> heavy = 0.15 * torch.randn(1, 2, 14, 3, generator=torch.Generator().manual_seed(0))
        >>> sorted(assess_energies(molecule, heavy))
        ['amber14_gbn2', 'charmm36', 'largest_force']
    """
    chains = molecule.atoms.chains
    missing = positions[:, chains.mask].isnan().any(-1).any(0)
    if bool(missing.any()):
        residue = int(torch.nonzero(chains.mask)[missing][0, 0])
        got = f"none of some in residue {chains.labels[residue]}"
        fix = "complete the structure, for example with `flashmd backmap`"
        raise ValueError(message("`positions`", "all heavy atoms", got, fix))
    everything = add_hydrogens(molecule, positions).positions
    amber, charmm = (single_points(molecule, everything, name) for name in ("amber14-gbn2", "charmm36"))
    columns = {
        "amber14_gbn2": amber.per_residue / KCAL,
        "charmm36": charmm.per_residue / KCAL,
        "largest_force": amber.largest_force / KCAL * ANGSTROM,
    }
    if dynamics:
        columns["md_peak"] = md_check(molecule, everything, ps=PS, seed=seed).peak
    return {name: values.numpy() for name, values in columns.items()}
