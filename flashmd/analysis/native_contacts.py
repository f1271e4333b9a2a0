r"""Fraction of native contacts Q with smooth switching (Best, Hummer and Eaton).

A native contact is a pair of beads at least `min_separation` apart along the chain and closer than `cutoff` in the
native structure. Each contact counts between 0 and 1, by how far its distance is from the native one.

The defaults are meant for models of one bead per residue. The original form was fitted to heavy atoms, with a
tolerance of 1.8. C-alpha beads three residues apart can never be farther than about 1.1 nm, so with 1.8 the local
contacts of a small protein would count as formed even in an extended chain; 1.2 keeps them informative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from flashmd.analysis._arrays import ArrayLike, FloatArray, IntArray, as_frames, as_structure
from flashmd.errors import message


@dataclass(frozen=True)
class NativeContacts:
    """The native contacts of one structure.

    Attributes:
        pairs: [n_contacts, 2], bead indices, first < second.
        distances: [n_contacts], nm, distances in the native structure.
        n_beads: number of beads of the structure.
    """

    pairs: IntArray
    distances: FloatArray
    n_beads: int


def native_contacts(native: ArrayLike, *, cutoff: float = 0.8, min_separation: int = 3) -> NativeContacts:
    """Find the native contacts of a structure of one chain.

    Args:
        native: [n_beads, 3], nm.
        cutoff: nm, largest native distance of a contact.
        min_separation: smallest difference of two bead indices of a contact.

    Raises:
        ValueError: no pair qualifies.

    Example:
        >>> square = [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.0]]
        >>> native_contacts(square).pairs.tolist()
        [[0, 3]]
    """
    structure = as_structure(native, "native")
    first, second = np.triu_indices(structure.shape[0], k=min_separation)
    distance = np.linalg.norm(structure[first] - structure[second], axis=1)
    inside = distance < cutoff
    if not inside.any():
        expected = f"pairs at least {min_separation} beads apart within {cutoff:g} nm"
        raise ValueError(message("`native`", expected, "none", "pass a compact structure in nm or a larger `cutoff`"))
    pairs = np.stack([first[inside], second[inside]], axis=1).astype(np.int64)
    return NativeContacts(pairs, distance[inside], structure.shape[0])


def fraction_native(
    positions: ArrayLike, contacts: NativeContacts, *, steepness: float = 50.0, tolerance: float = 1.2
) -> FloatArray:
    r"""Return the fraction of native contacts of every frame.

    .. math:: Q = \frac{1}{N} \sum_{(i,j)} \frac{1}{1 + \exp[\beta (r_{ij} - \lambda r^0_{ij})]}

    =====================  ==========================
    symbol                 variable
    =====================  ==========================
    :math:`r^0_{ij}`       `contacts.distances`
    :math:`\beta`          `steepness`
    :math:`\lambda`        `tolerance`
    =====================  ==========================

    Source: R. B. Best, G. Hummer and W. A. Eaton, PNAS 110, 17874 (2013), doi:10.1073/pnas.1311599110, equation 1;
    there :math:`\beta` = 50 / nm and :math:`\lambda` = 1.8 for heavy atoms.

    Args:
        positions: [n_frames, n_beads, 3] or [n_beads, 3], nm.
        contacts: the native contacts.
        steepness: 1/nm.
        tolerance: dimensionless, factor by which a contact may stretch.

    Returns:
        [n_frames], between 0 and 1. The native structure itself has slightly less than 1.

    Raises:
        ValueError: another number of beads than in the native structure, or a non-finite coordinate.

    Example:
        >>> square = [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.0]]
        >>> float(fraction_native(square, native_contacts(square)).round(4)[0])
        0.9933
    """
    frames = as_frames(positions, "positions")
    if frames.shape[1] != contacts.n_beads:
        fix = "select the beads of the native structure"
        raise ValueError(message("`positions`", f"{contacts.n_beads} beads", f"{frames.shape[1]}", fix))
    return _fraction(frames, contacts.pairs, contacts.distances, steepness, tolerance)


@numba.njit(cache=True)
def _fraction(
    frames: FloatArray, pairs: IntArray, distances: FloatArray, steepness: float, tolerance: float
) -> FloatArray:  # pragma: no cover - compiled
    result = np.empty(frames.shape[0])
    for frame in range(frames.shape[0]):
        total = 0.0
        for contact in range(pairs.shape[0]):
            square = 0.0
            for axis in range(3):
                difference = frames[frame, pairs[contact, 0], axis] - frames[frame, pairs[contact, 1], axis]
                square += difference * difference
            excess = steepness * (np.sqrt(square) - tolerance * distances[contact])
            # exp overflows far outside, where the contact is broken anyway
            total += 1.0 / (1.0 + np.exp(min(excess, 700.0)))
        result[frame] = total / pairs.shape[0]
    return result
