"""One evaluation of many analytic terms, in closed form and without autograd.

Terms of all priors are laid out once for a batch. One compiled operator then evaluates all of them. The reference, in
plain PyTorch, gathers the displacements of all terms together, computes each internal coordinate once for all priors
that use it and each class of priors as one, and sums all forces in a fixed order: a few dozen small operations however
many priors there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from flashmd.ops import segment_sum
from flashmd.ops._extension import use_kernels
from flashmd.ops.prior_layout import PackedTerms
from flashmd.ops.prior_terms import prior_terms
from flashmd.potential.base import sum_evaluations
from flashmd.potential.identity import Identity
from flashmd.potential.priors.base import Prior, offsets
from flashmd.potential.priors.features import FEATURES, Feature
from flashmd.potential.priors.images import image_shift
from flashmd.potential.priors.kernel_forms import has_kernel, pack_priors
from flashmd.protocols import Evaluation
from flashmd.system import System


@dataclass(frozen=True)
class _Form:
    """Priors of one class: the terms [begin, end) of their feature and the joined parameters."""

    prior: type[Prior]
    begin: int
    end: int
    parameters: Tensor


@dataclass(frozen=True)
class _Group:
    """All terms of one feature: n_terms terms, whose vectors are the rows [begin, end) of all displacements."""

    feature: Feature
    begin: int
    end: int
    n_terms: int
    forms: tuple[_Form, ...]


@dataclass(frozen=True)
class _Plan:
    """The layout for one batch.

    Attributes:
        groups: terms by feature.
        ends: [2 n_vectors], int64, first atom of every displacement, then second atom.
        by_atom: [2 n_vectors], rows of (gradients, -gradients) sorted by the atom they act on.
        atom_ptr: [n_atoms + 1], bounds in `by_atom`.
        by_system: [n_terms], terms sorted by system, or None where they are sorted.
        system_ptr: [n_systems + 1], bounds in `by_system`.
        vector_system: [n_vectors], system of each displacement.
        periodic: some direction is periodic.
    """

    groups: tuple[_Group, ...]
    ends: Tensor
    by_atom: Tensor
    atom_ptr: Tensor
    by_system: Tensor
    system_ptr: Tensor
    vector_system: Tensor
    periodic: bool


class FusedPriors:
    """Evaluator of a set of priors.

    Args:
        priors: terms to evaluate together.
        backend: "kernel" or "reference", see :mod:`flashmd.ops`. Priors of classes that the compiled operator does not
            know, such as those of other packages, are evaluated in PyTorch.
    """

    def __init__(self, priors: Sequence[Prior], *, backend: str = "kernel") -> None:
        self.priors = tuple(priors)
        self.backend = backend
        kernel = use_kernels(backend)
        compiled = tuple(prior for prior in self.priors if kernel and has_kernel(prior))
        others = tuple(prior for prior in self.priors if not (kernel and has_kernel(prior)))
        self._evaluators: list[_Compiled | _ClosedForms] = []
        if compiled:
            self._evaluators.append(_Compiled(compiled))
        if others or not compiled:
            self._evaluators.append(_ClosedForms(others, backend))

    @torch.no_grad()
    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy, forces and virial of all terms together; see :meth:`flashmd.potential.Potential.evaluate`.

        Raises:
            ValueError: a list of terms is missing, the types of a term have no parameters, or, with compiled kernels, a
                term joins atoms of several systems.
        """
        return sum_evaluations([evaluator.evaluate(system, virial=virial) for evaluator in self._evaluators])


class _Compiled:
    """Evaluation by the compiled operator."""

    def __init__(self, priors: tuple[Prior, ...]) -> None:
        self._priors = priors
        self._plan: PackedTerms | None = None
        self._identity: Identity | None = None

    def evaluate(self, system: System, *, virial: bool) -> Evaluation:
        # A model has dozens of lists and tables, and this runs in every step: only their identity is looked at.
        lists = system.interactions.values()
        tables = cast("list[Tensor]", [prior._buffers["values"] for prior in self._priors])
        identity = Identity.of(system.types, system.ptr, *lists, *tables, dtype=system.positions.dtype)
        if self._plan is None or self._identity is None or not self._identity.holds(identity):
            self._plan, self._identity = pack_priors(self._priors, system), identity
        return prior_terms(system, self._plan, virial=virial)


class _ClosedForms:
    """Evaluation in PyTorch."""

    def __init__(self, priors: tuple[Prior, ...], backend: str) -> None:
        self.priors = priors
        self.backend = backend
        self._plan: _Plan | None = None
        self._identity: Identity | None = None

    def evaluate(self, system: System, *, virial: bool) -> Evaluation:
        plan = self._plan_for(system)
        if not plan.groups:
            energy = system.positions.new_zeros(system.n_systems, dtype=torch.float64)
            none = energy.new_zeros(system.n_systems, 3, 3) if virial else None
            return Evaluation(energy, torch.zeros_like(system.positions), none)
        vectors = _vectors(system, plan)
        energies, gradient = _closed_forms(plan, vectors)
        energy = segment_sum(energies.to(torch.float64)[plan.by_system], plan.system_ptr, backend=self.backend)
        signed = torch.cat([gradient, gradient.neg()]).index_select(0, plan.by_atom)
        forces = segment_sum(signed, plan.atom_ptr, backend=self.backend)
        return Evaluation(energy, forces, self._virial(system, plan, vectors, gradient) if virial else None)

    def _virial(self, system: System, plan: _Plan, vectors: Tensor, gradient: Tensor) -> Tensor:
        outer = (vectors[:, :, None] * gradient[:, None, :]).to(torch.float64)
        order = torch.argsort(plan.vector_system, stable=True)
        pointer = offsets(plan.vector_system, system.n_systems)
        return segment_sum(outer[order].flatten(1), pointer, backend=self.backend).view(-1, 3, 3)

    def _plan_for(self, system: System) -> _Plan:
        """Return the layout for a batch; the same types, lists, flags and tables give the same layout."""
        lists = [prior.list_of(system) for prior in self.priors]
        tables = [prior.values for prior in self.priors]
        identity = Identity.of(system.types, system.batch, system.pbc, *lists, *tables, dtype=system.positions.dtype)
        if self._plan is None or self._identity is None or not self._identity.holds(identity):
            self._plan, self._identity = _make_plan(self.priors, system), identity
        return self._plan


def _vectors(system: System, plan: _Plan) -> Tensor:
    start, end = system.positions.index_select(0, plan.ends).chunk(2)
    vectors = end - start
    if plan.periodic:
        member = plan.vector_system
        vectors = vectors - image_shift(
            vectors, system.cell.index_select(0, member), system.pbc.index_select(0, member)
        )
    return vectors


def _closed_forms(plan: _Plan, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the energies [n_terms] and the gradient with respect to every displacement [n_vectors, 3]."""
    energies: list[Tensor] = []
    gradients: list[Tensor] = []
    for group in plan.groups:
        parts = vectors[group.begin : group.end].view(-1, group.n_terms, 3).unbind(0)
        value, directions = group.feature.value_and_gradient(parts)
        slopes = []
        for form in group.forms:
            energy, slope = form.prior.term_slope(value[form.begin : form.end], form.parameters)
            energies.append(energy)
            slopes.append(slope)
        slope = slopes[0] if len(slopes) == 1 else torch.cat(slopes)
        gradients.extend(slope[:, None] * direction for direction in directions)
    return torch.cat(energies), torch.cat(gradients)


def _make_plan(priors: Sequence[Prior], system: System) -> _Plan:
    groups: list[_Group] = []
    starts: list[Tensor] = []
    ends: list[Tensor] = []
    first_atoms: list[Tensor] = []
    begin = 0
    for feature in FEATURES:
        forms, index = _forms_of(feature, priors, system)
        if not forms:
            continue
        starts.extend(index[:, a] for a, _ in feature.ends)
        ends.extend(index[:, b] for _, b in feature.ends)
        first_atoms.append(index[:, 0])
        n_terms = index.shape[0]
        stop = begin + n_terms * len(feature.ends)
        groups.append(_Group(feature, begin, stop, n_terms, forms))
        begin = stop
    empty = system.types.new_zeros(0)
    start, end = torch.cat([empty, *starts]), torch.cat([empty, *ends])
    term_system = system.batch[torch.cat([empty, *first_atoms])]
    both = torch.cat([start, end])
    return _Plan(
        groups=tuple(groups),
        ends=both,
        by_atom=torch.argsort(both, stable=True),
        atom_ptr=offsets(both, system.n_atoms),
        by_system=torch.argsort(term_system, stable=True),
        system_ptr=offsets(term_system, system.n_systems),
        vector_system=system.batch[start],
        periodic=bool(system.pbc.any()),
    )


def _forms_of(feature: Feature, priors: Sequence[Prior], system: System) -> tuple[tuple[_Form, ...], Tensor]:
    """Return the forms of one feature and the atoms of all their terms, class after class."""
    by_class: dict[type[Prior], list[Prior]] = {}
    for prior in priors:
        if prior.feature is feature and prior.list_of(system).shape[0]:
            by_class.setdefault(type(prior), []).append(prior)
    forms, lists, begin = [], [], 0
    for prior_class, members in by_class.items():
        index = torch.cat([prior.list_of(system) for prior in members])
        parameters = prior_class.joined([prior.parameters_for(system) for prior in members])
        forms.append(_Form(prior_class, begin, begin + index.shape[0], parameters.contiguous()))
        lists.append(index)
        begin += index.shape[0]
    return tuple(forms), torch.cat(lists) if lists else system.types.new_zeros(0, feature.order)
