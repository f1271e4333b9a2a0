"""Torsions of backbones and side chains, in degrees, and how far they are from those of a reference structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flashmd.backmap.chains import Chains
from flashmd.backmap.quality._arrays import (
    ArrayLike,
    BoolArray,
    FloatArray,
    IntArray,
    as_padded,
    as_reference,
    atoms_of,
    fraction,
    mean,
)
from flashmd.backmap.residues import CHI, EQUIVALENT, N_SLOTS, RESIDUES, SLOT_C, SLOT_CA, SLOT_N, slot

CHI_TOLERANCE = 40.0
"""Degrees, within which a side-chain torsion is that of the reference."""
OMEGA_TOLERANCE = 30.0
"""Degrees, within which a peptide bond is as planar as it should be."""


@dataclass(frozen=True)
class Torsions:
    """Torsions of each residue, degrees in (-180, 180], NaN where there is none.

    Attributes:
        phi: [n_frames, n_residues], C(i-1), N, CA, C.
        psi: [n_frames, n_residues], N, CA, C, N(i+1).
        omega: [n_frames, n_residues], CA(i-1), C(i-1), N, CA: of the peptide bond before the residue.
        chi: [n_frames, n_residues, 4], along the side chain.
    """

    phi: FloatArray
    psi: FloatArray
    omega: FloatArray
    chi: FloatArray


def torsions(chains: Chains, positions: ArrayLike) -> Torsions:
    """Return the torsions of structures.

    Args:
        chains: the residues; nothing is measured across a gap.
        positions: [n_frames, n_residues, 14, 3] or without frames, nm.

    Example:
        >>> import torch
        >>> chains = Chains.from_sequence("AG")
        >>> generator = torch.Generator().manual_seed(1)
        >>> found = torsions(chains, torch.rand(3, 2, 14, 3, generator=generator))
        >>> found.phi.shape, found.chi.shape, bool(np.isnan(found.phi[:, 0]).all())
        ((3, 2), (3, 2, 4), True)
    """
    frames = as_padded(chains, positions)
    joined = chains.joined.cpu().numpy()
    start = np.arange(chains.n_residues) * N_SLOTS
    before, after = np.append(False, joined[:-1]), joined
    n, ca, c = start + SLOT_N, start + SLOT_CA, start + SLOT_C
    back, ahead = np.maximum(start - N_SLOTS, 0), np.minimum(start + N_SLOTS, start[-1])
    return Torsions(
        phi=_masked(frames, np.stack([back + SLOT_C, n, ca, c], axis=1), before),
        psi=_masked(frames, np.stack([n, ca, c, ahead + SLOT_N], axis=1), after),
        omega=_masked(frames, np.stack([back + SLOT_CA, back + SLOT_C, n, ca], axis=1), before),
        chi=_masked(frames, *_chi_indices(chains)),
    )


def difference(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the size of the difference of two angles, degrees in [0, 180].

    Example:
        >>> difference(np.array([170.0]), np.array([-170.0])).tolist()
        [20.0]
    """
    return np.asarray(np.abs((first - second + 180.0) % 360.0 - 180.0))


def backbone_errors(chains: Chains, positions: ArrayLike, reference: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the mean absolute differences of phi and of psi to a reference, [n_frames] each, degrees."""
    found, expected = _both(chains, positions, reference)
    return mean(difference(found.phi, expected.phi)), mean(difference(found.psi, expected.psi))


def omega_flips(chains: Chains, positions: ArrayLike, reference: ArrayLike | None = None) -> FloatArray:
    """Return the percentage of peptide bonds whose omega is more than 30 degrees from the reference.

    Without a reference, omega should be 0 or 180 degrees.

    Returns:
        [n_frames], percent.
    """
    if reference is None:
        omega = torsions(chains, positions).omega
        error = np.minimum(difference(omega, np.zeros(1)), difference(omega, np.full(1, 180.0)))
    else:
        found, expected = _both(chains, positions, reference)
        error = difference(found.omega, expected.omega)
    return 100.0 * fraction(error > OMEGA_TOLERANCE, ~np.isnan(error))


def cis_prolines(chains: Chains, positions: ArrayLike) -> FloatArray:
    """Return the percentage of prolines whose peptide bond is cis, [n_frames]; NaN without prolines."""
    omega = torsions(chains, positions).omega
    proline = chains.types.cpu().numpy() == RESIDUES.index("PRO")
    return 100.0 * fraction(np.abs(omega) < 90.0, proline & ~np.isnan(omega))


def chi_recovery(chains: Chains, positions: ArrayLike, reference: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return how many side chains have the torsions of a reference within 40 degrees.

    A last torsion with two equivalent ends, such as chi2 of phenylalanine, is taken modulo 180 degrees.

    Returns:
        percentage for chi1, and for chi1 and chi2 together where a residue has both: [n_frames] each.
    """
    found, expected = _both(chains, positions, reference)
    error = difference(found.chi, expected.chi)
    error = np.where(symmetric_chi(chains), np.minimum(error, 180.0 - error), error)
    right, there = error <= CHI_TOLERANCE, ~np.isnan(error)
    first = fraction(right[..., 0], there[..., 0])
    second = fraction(right[..., :2].all(axis=-1), there[..., :2].all(axis=-1))
    return 100.0 * first, 100.0 * second


def symmetric_chi(chains: Chains) -> BoolArray:
    """Return which chi end at one of two equivalent atoms: [n_residues, 4]."""
    table = np.zeros((len(RESIDUES), 4), dtype=bool)
    for kind, name in enumerate(RESIDUES):
        equivalent = {atom for pair in EQUIVALENT.get(name, ()) for atom in pair}
        for number, atoms in enumerate(CHI.get(name, ())):
            table[kind, number] = atoms[-1] in equivalent
    return np.asarray(table[chains.types.cpu().numpy()])


def _both(chains: Chains, positions: ArrayLike, reference: ArrayLike) -> tuple[Torsions, Torsions]:
    frames = as_padded(chains, positions)
    return torsions(chains, frames), torsions(chains, as_reference(chains, reference, frames.shape[0]))


def _chi_indices(chains: Chains) -> tuple[IntArray, BoolArray]:
    table = np.zeros((len(RESIDUES), 4, 4), dtype=np.int64)
    there = np.zeros((len(RESIDUES), 4), dtype=bool)
    for kind, name in enumerate(RESIDUES):
        for number, atoms in enumerate(CHI.get(name, ())):
            table[kind, number] = [slot(name, atom) for atom in atoms]
            there[kind, number] = True
    kinds = chains.types.cpu().numpy()
    return table[kinds] + N_SLOTS * np.arange(chains.n_residues)[:, None, None], there[kinds]


def _masked(frames: FloatArray, quadruples: IntArray, there: BoolArray) -> FloatArray:
    """Return torsions of quadruples of flat indices [..., 4]: [n_frames, ...], NaN where there is none."""
    a, b, c, d = np.moveaxis(atoms_of(frames, quadruples), -2, 0)
    axis = c - b
    first, second = np.cross(b - a, axis), np.cross(axis, d - c)
    sine, cosine = np.linalg.norm(axis, axis=-1) * ((b - a) * second).sum(-1), (first * second).sum(-1)
    return np.where(there, np.degrees(np.arctan2(sine, cosine)), np.nan)
