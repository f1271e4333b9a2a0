"""Where the hydrogens of hydroxyl and thiol groups point: the best of a few torsions in the field of other atoms."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flashmd.backmap.hydrogens.riding import Riding

_COULOMB = 138.935456
"""kJ/mol nm, energy of two elementary charges at 1 nm."""
_CONTACT = 0.2
"""nm, at this distance the repulsion of a hydrogen is 1 kJ/mol."""
_TURNING = tuple(range(0, 360, 30))
_PLANAR = (0, 180)


def choose_torsions(riding: Riding, heavy: Tensor, charges: Tensor) -> Tensor:
    """Return the torsions of lowest energy on a grid, 30 degrees apart, or the two in the plane of a ring.

    The energy of a candidate is that of its hydrogen with all atoms beyond its own group: sum of 138.9 q q' / r and
    (0.2 nm / r)^12. Hydrogens that turn do not see each other. The choice is discrete: no gradient passes through it.

    Args:
        riding: the riding atoms.
        heavy: [n_frames, n_heavy, 3], nm.
        charges: [n_atoms], elementary charges, see `EnergyWorkers.charges`.

    Returns:
        [n_frames, n_free], radians.

    Example:
        >>> import torch
        >>> from flashmd.backmap.hydrogens import Riding, all_atoms, choose_torsions
        >>> from flashmd.backmap.chains import Chains
        >>> riding = Riding(all_atoms(Chains.from_sequence("GYG")))
        >>> heavy = torch.randn(1, len(riding.atoms.heavy), 3, generator=torch.Generator().manual_seed(0))
        >>> choose_torsions(riding, heavy, torch.zeros(riding.atoms.n_atoms)).shape
        torch.Size([1, 1])
    """
    free = torch.tensor(riding.free, dtype=torch.int64)
    best = heavy.new_zeros(heavy.shape[0], len(riding.free))
    if not riding.free:
        return best
    seen = _seen(riding, free)
    lowest = torch.full_like(best, torch.inf)
    planar = torch.tensor(riding.planar)
    for degrees in _TURNING:
        angle = math.radians(degrees)
        everything = riding(heavy, torch.full_like(best, angle))
        distance = torch.cdist(everything[:, free], everything).clamp_min(1e-3)
        coulomb = _COULOMB * charges[free, None].to(heavy) * charges.to(heavy) / distance
        energy = ((coulomb + (_CONTACT / distance) ** 12) * seen.to(heavy)).sum(-1)
        if degrees not in _PLANAR:
            energy = torch.where(planar, torch.inf, energy)
        better = energy < lowest
        lowest = torch.where(better, energy, lowest)
        best = torch.where(better, angle, best)
    return best.detach()


def _seen(riding: Riding, free: Tensor) -> Tensor:
    """Return which atoms each turning hydrogen interacts with: [n_free, n_atoms], bool."""
    atoms = riding.atoms
    seen = torch.ones(len(free), atoms.n_atoms, dtype=torch.bool)
    seen[:, free] = False
    parents = atoms.parent[free]
    first, second = atoms.bonds[:, 0], atoms.bonds[:, 1]
    for row, parent in enumerate(parents.tolist()):
        seen[row, parent] = False
        seen[row, second[first == parent]] = False
        seen[row, first[second == parent]] = False
    return seen
