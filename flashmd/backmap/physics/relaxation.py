"""Relaxation of heavy-atom structures in a force field of united atoms, many structures at once.

The energy consists of bonds, angles, planes, torsions and Lennard-Jones. Every structure descends by Gauss-Newton steps
with a damping of its own, which falls when a step succeeds and rises when one fails, until its largest force is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.physics.mechanics import Mechanics, columns_of, rows_of, spread
from flashmd.backmap.physics.newton import clipped, energies, gradient, solve
from flashmd.backmap.physics.pairs import close_pairs
from flashmd.backmap.physics.parameters import lennard_jones_table
from flashmd.backmap.physics.terms import Linear, lennard_jones, torsions
from flashmd.backmap.physics.topology import build_topology
from flashmd.backmap.residues import N_SLOTS
from flashmd.errors import message

_CUTOFF = 0.45
"""nm, of Lennard-Jones."""
_SKIN = 0.06
"""nm, pairs are looked for again when an atom has moved half as far."""
_ITERATIONS = 12
_ANCHOR = 1000.0
"""kJ/mol/nm^2, of springs between every atom and where it was: what charges and water would hold stays about there."""
_LONGEST = 0.02
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1000.0, 100.0, 1e8
_FALL, _RISE = 0.4, 8.0
_BONDED = frozenset({"bonds", "angles", "planarity", "chirality"})


@dataclass(frozen=True)
class Relaxation:
    """Structures at the bottom of their valleys.

    Attributes:
        positions: [n_frames, n_residues, 14, 3], nm.
        energy: [n_frames], float64, kJ/mol, of united atoms.
        start_energy: [n_frames], float64, kJ/mol.
        max_force: [n_frames], kJ/mol/nm, largest force on an atom that may move.
        steps: [n_frames], int64, steps taken until the forces were small, or all that were allowed.
    """

    positions: Tensor
    energy: Tensor
    start_energy: Tensor
    max_force: Tensor
    steps: Tensor


class _Valley:
    """The energy of structures, with tethers of known atoms, around any positions."""

    def __init__(self, mechanics: Mechanics, start: Tensor, tether: Tensor) -> None:
        self.mechanics, self.start, self.tether = mechanics, start, tether
        topology, terms = mechanics.topology, mechanics.topology.terms
        self.torsions = spread(terms.torsions, mechanics.n_frames, topology.n_residues)
        self.torsion_values = terms.torsion_values.to(start).repeat(1, mechanics.n_frames)
        self._look(start)

    def _look(self, columns: Tensor) -> None:
        """Look for pairs of atoms within the cutoff and its skin."""
        topology = self.mechanics.topology
        positions = columns.T.reshape(self.mechanics.n_frames, topology.n_residues, N_SLOTS, 3)
        pairs = close_pairs(positions, topology, _CUTOFF + _SKIN)
        table = lennard_jones_table().to(columns)
        self.pairs, self.seen = pairs.atoms, columns
        self.minimum, self.depth = table[:, (pairs.bonds > 3).long(), pairs.kinds[0], pairs.kinds[1]]

    def around(self, columns: Tensor) -> _Point:
        """Return terms, gradient and energies at [3, n_atoms] positions."""
        if bool((columns - self.seen).square().sum(0).max() > (_SKIN / 2) ** 2):
            self._look(columns)
        terms = self.mechanics.bonded(columns, _BONDED)
        terms.append(torsions(columns, self.torsions, self.torsion_values))
        terms.append(lennard_jones(columns, self.pairs, self.minimum, self.depth, _CUTOFF))
        frames, away = self.mechanics.n_frames, columns - self.start
        slope = (gradient(terms, columns) + self.tether * away) * self.mechanics.free
        held = 0.5 * (self.tether * away.square().sum(0)).double().reshape(frames, -1).sum(1)
        strongest = slope.square().sum(0).sqrt().reshape(frames, -1).amax(1)
        return _Point(columns, terms, slope, energies(terms, frames, columns.shape[1] // frames) + held, strongest)


@dataclass(frozen=True)
class _Point:
    """Positions with all that is known of the energy there."""

    columns: Tensor
    terms: list[Linear]
    slope: Tensor
    energy: Tensor
    strongest: Tensor


def relax(
    chains: Chains,
    positions: Tensor,
    known: Tensor,
    *,
    restraint: float | None = None,
    disulfides: Sequence[tuple[int, int]] = (),
    steps: int = 30,
    tolerance: float = 50.0,
) -> Relaxation:
    """Relax structures; frames do not influence each other.

    Args:
        chains: residues.
        positions: [n_frames, n_residues, 14, 3], nm.
        known: [n_residues, 14], bool, atoms that stay bitwise where they are, or near there with a `restraint`.
        restraint: kJ/mol/nm^2, stiffness of springs between known atoms and where they were; None holds them.
        disulfides: pairs of residues with a bond between their SG.
        steps: largest number of steps.
        tolerance: kJ/mol/nm, a structure without a larger force is done.

    Raises:
        ValueError: a stiffness, number of steps or tolerance that is not positive.

    Example:
        >>> chains = Chains.from_sequence("GA")
        >>> known = torch.zeros(2, 14, dtype=torch.bool)
        >>> known[:, 1] = True
        >>> positions = 0.2 * torch.rand(1, 2, 14, 3, generator=torch.Generator().manual_seed(1))
        >>> relaxed = relax(chains, positions, known)
        >>> bool(relaxed.energy < relaxed.start_energy), torch.equal(relaxed.positions[:, :, 1], positions[:, :, 1])
        (True, True)
    """
    for name, value in (("restraint", restraint), ("steps", steps), ("tolerance", tolerance)):
        if value is not None and not value > 0:
            raise ValueError(message(f"`{name}`", "a positive number", f"{value}", f"pass a larger `{name}`"))
    topology = build_topology(chains, torch.zeros_like(known) if restraint else known, disulfides)
    mechanics = Mechanics.of(topology, positions.shape[0], positions)
    start = columns_of(positions)
    tether = _ANCHOR + (known & chains.mask).flatten().to(start).repeat(positions.shape[0]) * (restraint or 0.0)
    valley = _Valley(mechanics, start, tether)
    first = valley.around(start)
    last, taken = _descend(valley, first, steps, tolerance)
    moved = torch.where(topology.free[:, :, None], rows_of(last.columns, positions), positions)
    return Relaxation(moved, last.energy, first.energy, last.strongest, taken)


def _descend(valley: _Valley, point: _Point, steps: int, tolerance: float) -> tuple[_Point, Tensor]:
    """Return the lowest point reached and the number of steps of every frame."""
    frames, atoms = valley.mechanics.n_frames, point.columns.shape[1] // valley.mechanics.n_frames
    damping = torch.full((frames,), _FIRST_DAMPING).to(point.columns)
    taken = torch.zeros(frames, dtype=torch.int64, device=damping.device)
    active = point.strongest > tolerance
    for _ in range(steps):
        if not bool(active.any()):
            break
        resistance = damping.repeat_interleave(atoms) + valley.tether
        step = solve(
            point.terms, point.slope, valley.mechanics.free, resistance, n_frames=frames, iterations=_ITERATIONS
        )
        trial = valley.around(
            point.columns + torch.where(active.repeat_interleave(atoms), clipped(step, _LONGEST), 0.0)
        )
        better = trial.energy < point.energy
        chosen = torch.where(better.repeat_interleave(atoms), trial.columns, point.columns)
        taken += active
        point = trial if bool((better | ~active).all()) else valley.around(chosen)
        damping = torch.where(better, (_FALL * damping).clamp_min(_LEAST_DAMPING), _RISE * damping)
        active = active & (point.strongest > tolerance) & (damping < _MOST_DAMPING)
    return point, taken
