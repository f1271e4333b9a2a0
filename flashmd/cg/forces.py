r"""Linear maps of atomistic forces to beads whose mean is the gradient of the potential of mean force.

A linear map ``F_I = sum_i W[I, i] f_i`` is unbiased for beads that sit on atoms when each bead gives weight 1 to its
own atom and 0 to those of other beads, and equal weights to atoms that a rigid constraint ties together (the
displacement ``W[I]`` is then tangent to the constraints, whose forces need not be known). Among these maps the optimal
one minimises the mean square of the mapped force, hence the noise of force matching.

| equation | variable |
|---|---|
| configuration map (slice) | configuration_map |
| atom groups tied by constraints | group |
| ``Q_gh = mean_frames f_g . f_h`` of the groups' total forces | moment |

minimise ``w^T (Q + l2 P^T P) w`` with the fixed weights eliminated; see Krämer et al., J. Phys. Chem. Lett. 14, 3970
(2023), doi:10.1021/acs.jpclett.3c00444, and Ciccotti, Kapral, Vanden-Eijnden, ChemPhysChem 6, 1809 (2005),
doi:10.1002/cphc.200400669.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.csgraph
from numpy.typing import NDArray

from flashmd.errors import message

_Float = NDArray[np.float64]
_Int = NDArray[np.int64]

DEFAULT_L2 = 1e3
"""Ridge in (kJ/mol/nm)^2 for each squared weight; about a thousandth of the mean square force on an atom."""
_CONSTRAINT_TOLERANCE = 1e-4  # nm; constrained bonds fluctuate by 1e-6 to 1e-5, flexible ones by 2e-3 and more
_FRAMES_AT_ONCE = 1024


def constrained_pairs_from(positions: NDArray[np.floating], *, tolerance: float = _CONSTRAINT_TOLERANCE) -> _Int:
    """Find the atom pairs whose distance does not vary over the frames.

    Args:
        positions: [n_frames, n_atoms, 3], nm; a hundred frames spread over the data are enough.
        tolerance: largest standard deviation of a constrained distance, nm.

    Returns:
        [n_pairs, 2] atom indices, first smaller than second.

    Raises:
        ValueError: fewer than 10 frames.
    """
    frames = np.asarray(positions, dtype=np.float64)
    if frames.ndim != 3 or frames.shape[0] < 10:
        fix = "pass more frames, spread over the trajectory"
        raise ValueError(message("`positions`", "[n_frames >= 10, n_atoms, 3]", f"{frames.shape}", fix))
    pairs: list[tuple[int, int]] = []
    for i in range(frames.shape[1] - 1):
        distance = np.linalg.norm(frames[:, i + 1 :] - frames[:, i : i + 1], axis=-1)
        partners = np.flatnonzero(distance.std(axis=0) < tolerance) + i + 1
        pairs.extend((i, int(j)) for j in partners)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def aggregation_force_map(
    n_atoms: int, configuration_map: NDArray[np.integer], constrained_pairs: NDArray[np.integer]
) -> _Float:
    """Return the smallest unbiased map: each bead sums its own atom and the atoms rigidly tied to it.

    Args:
        n_atoms: number of atoms.
        configuration_map: [n_beads], atom that carries each bead.
        constrained_pairs: [n_pairs, 2], rigid pairs.

    Returns:
        [n_beads, n_atoms] weights.

    Raises:
        ValueError: two beads are tied together by constraints.
    """
    group = _groups(n_atoms, configuration_map, constrained_pairs)
    own = group[np.asarray(configuration_map)]
    weights: _Float = (group[None, :] == own[:, None]).astype(np.float64)
    return weights


def optimal_force_map(
    forces: NDArray[np.floating],
    configuration_map: NDArray[np.integer],
    constrained_pairs: NDArray[np.integer],
    *,
    l2: float = DEFAULT_L2,
) -> _Float:
    """Return the unbiased linear map of least mean square mapped force.

    Args:
        forces: [n_frames, n_atoms, 3], kJ/mol/nm, without constraint forces.
        configuration_map: [n_beads], atom that carries each bead.
        constrained_pairs: [n_pairs, 2], rigid pairs (`constrained_pairs_from` finds them).
        l2: ridge on the squared weights, (kJ/mol/nm)^2.

    Returns:
        [n_beads, n_atoms] weights.

    Raises:
        ValueError: two beads are tied together by constraints, forces are not finite, or `l2` is negative.
    """
    if l2 < 0.0:
        raise ValueError(message("`l2`", "a number of at least 0", f"{l2}", "pass 0 for no regularisation"))
    group = _groups(forces.shape[1], configuration_map, constrained_pairs)
    size = np.bincount(group)
    moment = _group_moment(forces, group) + l2 * np.diag(size.astype(np.float64))
    beads = group[np.asarray(configuration_map)]
    free = np.setdiff1d(np.arange(size.shape[0]), beads)
    weights = np.zeros((beads.shape[0], size.shape[0]))
    weights[np.arange(beads.shape[0]), beads] = 1.0
    # lstsq, not solve: without a ridge the moments of few frames are singular, and any minimiser will do.
    weights[:, free] = -scipy.linalg.lstsq(moment[np.ix_(free, free)], moment[np.ix_(free, beads)])[0].T
    return weights[:, group]


def map_forces(force_map: NDArray[np.floating], forces: NDArray[np.floating]) -> _Float:
    """Apply a force map.

    Args:
        force_map: [n_beads, n_atoms].
        forces: [n_frames, n_atoms, 3], kJ/mol/nm.

    Returns:
        [n_frames, n_beads, 3], kJ/mol/nm, float64.
    """
    mapped = np.empty((forces.shape[0], force_map.shape[0], 3))
    for begin in range(0, forces.shape[0], _FRAMES_AT_ONCE):
        part = slice(begin, begin + _FRAMES_AT_ONCE)
        mapped[part] = np.matmul(force_map, forces[part].astype(np.float64))
    return mapped


def _groups(n_atoms: int, configuration_map: NDArray[np.integer], constrained_pairs: NDArray[np.integer]) -> _Int:
    """Index of the rigid group of each atom."""
    pairs = np.asarray(constrained_pairs, dtype=np.int64).reshape(-1, 2)
    graph = scipy.sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_atoms, n_atoms))
    _, labels = scipy.sparse.csgraph.connected_components(graph, directed=False)
    group = np.asarray(labels, dtype=np.int64)
    own = group[np.asarray(configuration_map)]
    repeated = np.flatnonzero(np.bincount(own) > 1)
    if repeated.size:
        beads = np.flatnonzero(own == repeated[0]).tolist()
        fix = "map the constrained atoms to one bead, or simulate the atoms without this constraint"
        raise ValueError(message(f"beads {beads}", "no rigid constraint between beads", "tied atoms", fix))
    return group


def _group_moment(forces: NDArray[np.floating], group: _Int) -> _Float:
    """Mean over frames of the products of the groups' total forces, [n_groups, n_groups]."""
    n_groups = int(group.max()) + 1
    merge = scipy.sparse.coo_matrix((np.ones(group.shape[0]), (group, np.arange(group.shape[0])))).tocsr()
    moment: _Float = np.zeros((n_groups, n_groups))
    for begin in range(0, forces.shape[0], _FRAMES_AT_ONCE):
        part = forces[begin : begin + _FRAMES_AT_ONCE].astype(np.float64).transpose(1, 0, 2)
        total = merge @ part.reshape(group.shape[0], -1)
        moment += total @ total.T
    if not np.isfinite(moment).all():
        raise ValueError(message("`forces`", "finite numbers", "NaN or infinity", "drop the broken frames"))
    moment /= forces.shape[0]
    return moment
