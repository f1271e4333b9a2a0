"""The analytic terms as the compiled operator reads them: form and columns of every class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flashmd.ops.prior_layout import PackedTerms, PriorForm, TermGroup, pack_terms
from flashmd.potential.priors.base import Prior
from flashmd.potential.priors.fourier import FourierDihedrals
from flashmd.potential.priors.harmonic import (
    HarmonicAngles,
    HarmonicAnglesRaw,
    HarmonicBonds,
    HarmonicImpropers,
    ShiftedPeriodicHarmonicImpropers,
)
from flashmd.potential.priors.polynomial import QuarticAngles, QuarticAnglesRaw, RestrictedQuartic
from flashmd.potential.priors.repulsion import CutoffExpRepulsion, CutoffRepulsion, ExpRepulsion, Repulsion
from flashmd.system import System


def _same(parameters: Tensor) -> Tensor:
    return parameters


def _repulsion(parameters: Tensor) -> Tensor:
    return parameters[-1:].square()


def _exponential(parameters: Tensor) -> Tensor:
    epsilon, alpha, r0 = parameters[-3:].unbind(0)
    return torch.cat([torch.stack([epsilon * 6.0 / alpha, alpha, alpha / r0]), parameters[1:-3]])


_FORMS: dict[type[Prior], tuple[PriorForm, Callable[[Tensor], Tensor]]] = {
    HarmonicBonds: (PriorForm.HARMONIC_DISTANCE, _same),
    Repulsion: (PriorForm.REPULSION, _repulsion),
    ExpRepulsion: (PriorForm.EXP_REPULSION, _exponential),
    CutoffRepulsion: (PriorForm.CUTOFF_REPULSION, _repulsion),
    CutoffExpRepulsion: (PriorForm.CUTOFF_EXP_REPULSION, _exponential),
    HarmonicAngles: (PriorForm.HARMONIC_COSINE, _same),
    QuarticAngles: (PriorForm.QUARTIC_COSINE, _same),
    RestrictedQuartic: (PriorForm.RESTRICTED_QUARTIC, _same),
    HarmonicAnglesRaw: (PriorForm.HARMONIC_ANGLE, _same),
    QuarticAnglesRaw: (PriorForm.QUARTIC_ANGLE, _same),
    HarmonicImpropers: (PriorForm.HARMONIC_TORSION, _same),
    ShiftedPeriodicHarmonicImpropers: (PriorForm.SHIFTED_TORSION, _same),
    FourierDihedrals: (PriorForm.FOURIER, _same),
}


def has_kernel(prior: Prior) -> bool:
    """Whether the compiled operator knows the terms of exactly this class."""
    return type(prior) in _FORMS


def pack_priors(priors: Sequence[Prior], system: System, *, inverted: bool | None = None) -> PackedTerms:
    """Lay the terms of priors that the operator knows out for a batch; see :func:`flashmd.ops.prior_layout.pack_terms`.

    Raises:
        ValueError: a list of terms is missing, the types of a term have no parameters, or a term joins systems.
    """
    joined: dict[tuple[PriorForm, int, float], list[tuple[Tensor, Tensor]]] = {}
    for prior in priors:
        form, columns_of = _FORMS[type(prior)]
        parameters = columns_of(prior.parameters_for(system))
        key = form, parameters.shape[0], prior.constants().get("cutoff", 0.0)
        joined.setdefault(key, []).append((prior.list_of(system), parameters))
    groups = [
        TermGroup(form, torch.cat([index for index, _ in members]), torch.cat([each for _, each in members], 1), cutoff)
        for (form, _, cutoff), members in sorted(joined.items())
    ]
    return pack_terms(groups, system, inverted=inverted)
