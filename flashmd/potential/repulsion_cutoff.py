"""A cutoff for the repulsion between all far pairs, with what it costs in accuracy.

Priors list most pairs of a molecule, and beyond a nanometre nearly all of them push with next to nothing. A
force-shifted cutoff keeps energy and forces continuous; pairs beyond it cost no more than the test of their distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from flashmd.errors import message
from flashmd.potential.base import Potential
from flashmd.potential.priors.base import Prior
from flashmd.potential.priors.fused import FusedPriors
from flashmd.potential.priors.images import displacements
from flashmd.potential.priors.repulsion import CutoffExpRepulsion, CutoffRepulsion, ExpRepulsion, Repulsion
from flashmd.potential.sum_potential import SumPotential
from flashmd.system import System

_CUT: dict[type[Potential], type[CutoffRepulsion] | type[CutoffExpRepulsion]] = {
    Repulsion: CutoffRepulsion,
    ExpRepulsion: CutoffExpRepulsion,
}


@dataclass(frozen=True)
class RepulsionCutoffReport:
    """What a cutoff of the repulsion changes on a set of frames.

    Attributes:
        cutoff: nm.
        terms: names of the terms that were cut off.
        n_frames: number of frames.
        pairs_within: share of their pairs that lie within the cutoff.
        energy_shift: mean change of the energy of a frame, kJ/mol; a constant changes no populations.
        energy_error: root mean square deviation of the change from its mean, kJ/mol.
        force_error: norm of the change of all forces over the norm of all forces of the potential.
    """

    cutoff: float
    terms: tuple[str, ...]
    n_frames: int
    pairs_within: float
    energy_shift: float
    energy_error: float
    force_error: float

    def __str__(self) -> str:
        """Return the report in one line."""
        return (
            f"{', '.join(self.terms)} cut off at {self.cutoff:.3g} nm, {100.0 * self.pairs_within:.0f} % of the pairs "
            f"within: relative force error {self.force_error:.1e}, energy shifted by {self.energy_shift:.3g} kJ/mol "
            f"and changed by {self.energy_error:.1e} kJ/mol around that, measured on {self.n_frames} frames"
        )


@torch.no_grad()
def cut_repulsion(potential: Potential, cutoff: float, frames: System) -> tuple[Potential, RepulsionCutoffReport]:
    """Return a potential whose repulsion ends at a cutoff, and the error that this makes.

    Every :class:`~flashmd.potential.priors.Repulsion` and :class:`~flashmd.potential.priors.ExpRepulsion` becomes its
    force-shifted form; all other terms are shared with the given potential.

    Args:
        potential: a prior or a sum with priors.
        cutoff: nm.
        frames: systems on which the errors are measured, such as some frames of a trajectory.

    Raises:
        ValueError: the potential has no repulsion without a cutoff, or the cutoff is no positive length.

    Example:
        >>> import torch
        >>> from flashmd.potential import cut_repulsion
        >>> from flashmd.potential.priors import Repulsion
        >>> from flashmd.system import System
        >>> term = Repulsion("pairs", (torch.tensor([[1, 1]]), {"sigma": torch.tensor([0.3])}), backend="reference")
        >>> x = torch.tensor([[0.0, 0.0, 0.0], [0.4, 0.0, 0.0], [2.0, 0.0, 0.0]])
        >>> lists = {"pairs": torch.tensor([[0, 1], [0, 2], [1, 2]])}
        >>> cut, report = cut_repulsion(term, 1.0, System.single(x, torch.ones(3), interactions=lists))
        >>> print(f"{report.pairs_within:.2f} {report.force_error:.1e}")
        0.33 1.6e-03
    """
    plain: list[Prior] = []
    shorter: list[Prior] = []
    result = _replaced(potential, cutoff, (plain, shorter))
    if not plain:
        fix = "leave the cutoff away, or pass the whole potential"
        raise ValueError(message("`potential`", "a term of `Repulsion` or `ExpRepulsion`", "none", fix))
    before = FusedPriors(plain, backend=plain[0].backend).evaluate(frames)
    after = FusedPriors(shorter, backend=plain[0].backend).evaluate(frames)
    change = after.energy - before.energy
    total = potential.evaluate(frames).forces.to(torch.float64)
    lost = after.forces.to(torch.float64) - before.forces
    return result, RepulsionCutoffReport(
        cutoff=cutoff,
        terms=tuple(prior.name for prior in plain),
        n_frames=frames.n_systems,
        pairs_within=_share_within(plain, cutoff, frames),
        energy_shift=float(change.mean()),
        energy_error=float((change - change.mean()).square().mean().sqrt()),
        force_error=float(lost.norm() / total.norm()),
    )


def _replaced(potential: Potential, cutoff: float, found: tuple[list[Prior], list[Prior]]) -> Potential:
    """Return the potential with its repulsion cut off; collect the terms and their replacements."""
    if isinstance(potential, SumPotential):
        terms = {
            name: _replaced(term, cutoff, found)
            for name, term in potential.potentials.items()
            if isinstance(term, Potential)
        }
        result: Potential = SumPotential(terms, name=potential.name)
        result.metadata = potential.metadata
        return result
    if not isinstance(potential, Repulsion | ExpRepulsion):
        return potential
    columns = dict(zip(potential.column_names(), potential.values.unbind(1), strict=True))
    table, backend = (potential.types, columns), potential.backend
    shorter = _CUT[type(potential)](potential.name, table, cutoff=cutoff, backend=backend)
    shorter.bead_types, shorter.metadata = potential.bead_types, potential.metadata
    found[0].append(potential)
    found[1].append(shorter)
    return shorter


def _share_within(priors: list[Prior], cutoff: float, frames: System) -> float:
    pairs = torch.cat([prior.list_of(frames) for prior in priors])
    if not pairs.shape[0]:
        return 0.0
    near = priors[0].feature.value((displacements(frames, *pairs.unbind(1)),)) < cutoff
    return float(near.double().mean())
