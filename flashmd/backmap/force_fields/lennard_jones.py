"""The Lennard-Jones terms of CHARMM36 in the force that OpenMM evaluates fast.

OpenMM builds them from a table for each pair of types, because a few pairs of the force field, none of them among
proteins, have parameters of their own. Its CPU platform evaluates such a force many times more slowly than one whose
pairs follow from their atoms by the rule of Lorentz and Berthelot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flashmd.backmap.quality._arrays import FloatArray

if TYPE_CHECKING:
    import openmm

TABLE_FORCE = "LennardJones"
"""Name of OpenMM's force with tables."""
RULE_TOLERANCE = 1e-6
"""Largest relative deviation of a table from the rule."""


def merge_lennard_jones(system: openmm.System) -> bool:
    """Move the table of Lennard-Jones terms into the non-bonded force, where all its pairs follow the rule.

    With the coefficients A and B of A / r^12 - B / r^6 of equal types, sigma^6 = A / B and epsilon = B^2 / (4 A).

    Args:
        system: changed in place; energies stay the same.

    Returns:
        whether there was such a table and it could be moved.

    Example:
        >>> import openmm
        >>> merge_lennard_jones(openmm.System())
        False
    """
    import openmm

    forces = list(enumerate(system.getForces()))
    found = [(index, force) for index, force in forces if force.getName() == TABLE_FORCE]
    if not found:
        return False
    index, table = found[0]
    types = [int(table.getParticleParameters(atom)[0]) for atom in range(table.getNumParticles())]
    a, b = (_values(table, place) for place in range(2))
    sigma, epsilon = _of_types(a, b)
    used = np.unique(types)
    if not _follows_rule(a, b, sigma, epsilon, used):
        return False
    nonbonded = next(force for _, force in forces if isinstance(force, openmm.NonbondedForce))
    for atom, kind in enumerate(types):
        charge = nonbonded.getParticleParameters(atom)[0]
        nonbonded.setParticleParameters(atom, charge, sigma[kind], epsilon[kind])
    system.removeForce(index)
    return True


def _values(table: openmm.CustomNonbondedForce, place: int) -> FloatArray:
    columns, rows, values = table.getTabulatedFunction(place).getFunctionParameters()
    return np.array(values, dtype=np.float64).reshape(rows, columns)


def _of_types(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return sigma (nm) and epsilon (kJ/mol) of each type; a type without interactions has epsilon 0."""
    repulsion, attraction = np.diag(a), np.diag(b)
    there = attraction > 0
    safe_a, safe_b = np.where(there, repulsion, 1.0), np.where(there, attraction, 1.0)
    return np.where(there, (safe_a / safe_b) ** (1 / 6), 1.0), np.where(there, safe_b**2 / (4 * safe_a), 0.0)


def _follows_rule(
    a: FloatArray,
    b: FloatArray,
    sigma: FloatArray,
    epsilon: FloatArray,
    used: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> bool:
    chosen = np.ix_(used, used)
    size = ((sigma[:, None] + sigma[None]) / 2) ** 6
    depth = 4 * np.sqrt(epsilon[:, None] * epsilon[None])
    pairs = ((a, depth * size**2), (b, depth * size))
    return all(np.allclose(table[chosen], rule[chosen], rtol=RULE_TOLERANCE, atol=0.0) for table, rule in pairs)
