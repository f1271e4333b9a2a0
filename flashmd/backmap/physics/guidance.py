"""Physical corrections of structures while they flow: bonds, angles, planes, overlaps, handedness and rings.

After each step of the flow the correction moves the atoms a damped Gauss-Newton step down the energy of the terms. The
damping falls as the flow ends, so corrections grow from nothing to all that is needed: at time 1 a few steps in a row
bring bonds and angles to their natural values. Known atoms never move.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.physics.chirality import repaired
from flashmd.backmap.physics.mechanics import Mechanics, columns_of, rows_of
from flashmd.backmap.physics.newton import clipped, gradient, solve
from flashmd.backmap.physics.rings import find_rings, pushed_out
from flashmd.backmap.physics.topology import build_topology
from flashmd.errors import message

TERMS = ("bonds", "angles", "planarity", "lennard_jones", "chirality", "rings")
"""Terms of `Guidance`."""
_FROM = {"bonds": 0.7, "angles": 0.7, "planarity": 0.7, "lennard_jones": 0.7, "chirality": 0.5, "rings": 0.6}
_ROUNDS = (4, 6, 6)
"""Steps at time 1 in rounds, before each of which handedness is looked at."""
_ITERATIONS = 12
_DAMPING = 1000.0
"""kJ/mol/nm^2 at time 1, of springs to where the atoms were; bonds have 250,000 and angles 50,000."""
_LONGEST = 0.03
"""nm, farthest move of an atom in a step."""
_ARRIVED = 0.001
"""nm, a frame whose atoms all move less is done."""


class Guidance:
    """Correction of positions after steps of a flow.

    Args:
        chains: residues.
        known: [n_residues, 14], bool, atoms that never move; CA should be among them.
        terms: which of "bonds", "angles", "planarity", "lennard_jones", "chirality" and "rings" act.
        disulfides: pairs of residues with a bond between their SG.

    Raises:
        ValueError: for an unknown term or a `known` of another shape.

    Example:
        >>> chains = Chains.from_sequence("GA")
        >>> known = torch.zeros(2, 14, dtype=torch.bool)
        >>> known[:, 1] = True
        >>> guidance = Guidance(chains, known, terms=("bonds",))
        >>> positions = torch.rand(3, 2, 14, 3, generator=torch.Generator().manual_seed(1))
        >>> moves = guidance(positions, 1.0, 0.1)
        >>> moves.shape, float(moves[:, :, 1].abs().max())
        (torch.Size([3, 2, 14, 3]), 0.0)
    """

    def __init__(
        self,
        chains: Chains,
        known: Tensor,
        *,
        terms: Sequence[str] = TERMS,
        disulfides: Sequence[tuple[int, int]] = (),
    ) -> None:
        if unknown := sorted(set(terms) - set(TERMS)):
            raise ValueError(
                message("`terms`", f"names among {', '.join(TERMS)}", ", ".join(unknown), "remove or correct them")
            )
        if known.shape != chains.mask.shape:
            raise ValueError(
                message(
                    "`known`", f"shape {tuple(chains.mask.shape)}", f"{tuple(known.shape)}", "pass [n_residues, 14]"
                )
            )
        self.chains = chains
        self.terms = frozenset(terms)
        self.topology = build_topology(chains, known, disulfides)
        self._rings = find_rings(chains.types)
        self._mechanics: Mechanics | None = None

    def __call__(self, positions: Tensor, t: float, dt: float) -> Tensor:
        """Return what to add to positions after a step of the flow.

        Args:
            positions: [n_frames, n_residues, 14, 3], nm.
            t: time that the step has reached, 1 for the last one.
            dt: length of the step.

        Returns:
            [n_frames, n_residues, 14, 3], nm, 0 on known atoms.
        """
        active = frozenset(name for name in self.terms if t >= _FROM[name])
        last = t > 1 - 0.5 * dt
        moved = positions
        for steps in _ROUNDS if last else (1,):
            if "chirality" in active:
                moved = repaired(self.chains, moved, self.topology.free)
            if active - {"chirality"}:
                damping = _DAMPING if last else _DAMPING * (1 + (1 - t) / dt) ** 2
                moved = self._descend(moved, active, steps, damping)
        return (moved - positions) * self.topology.free[:, :, None]

    def _for(self, positions: Tensor) -> Mechanics:
        """Return the terms for as many frames as there are, kept between the steps of a flow."""
        kept = self._mechanics
        wanted = (positions.shape[0], positions.dtype, positions.device)
        if kept is None or (kept.n_frames, kept.free.dtype, kept.free.device) != wanted:
            kept = self._mechanics = Mechanics.of(self.topology, positions.shape[0], positions)
        return kept

    def _descend(self, positions: Tensor, active: frozenset[str], steps: int, damping: float) -> Tensor:
        mechanics = self._for(positions)
        columns = columns_of(positions)
        start, frames = columns, mechanics.n_frames
        resistance = torch.full_like(columns[0], damping)
        pairs = mechanics.overlaps(positions) if "lennard_jones" in active else None
        moving = torch.ones(frames, dtype=torch.bool, device=columns.device)
        for _ in range(steps):
            terms = mechanics.bonded(columns, active)
            if pairs is not None:
                terms.append(mechanics.pushed(columns, *pairs))
            if "rings" in active:
                terms.append(pushed_out(rows_of(columns, positions), columns, self.topology, self._rings))
            slope = gradient(terms, columns) + damping * (columns - start)
            step = solve(terms, slope, mechanics.free, resistance, n_frames=frames, iterations=_ITERATIONS)
            step = torch.where(moving.repeat_interleave(columns.shape[1] // frames), clipped(step, _LONGEST), 0.0)
            columns = columns + step
            moving = step.abs().amax(0).reshape(frames, -1).amax(1) > _ARRIVED
            if not bool(moving.any()):
                break
        return rows_of(columns, positions)
