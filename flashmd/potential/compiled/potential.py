"""Compiled potentials: networks and priors with constant parameters, evaluated without autograd's bookkeeping."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.potential.base import Potential, sum_evaluations, sum_shares
from flashmd.potential.compiled.network import CompiledNetwork, compile_network
from flashmd.potential.compiled.options import CompileOptions
from flashmd.potential.compiled.report import CompileReport
from flashmd.potential.compiled.template import standard_cluster
from flashmd.potential.priors.base import Prior
from flashmd.potential.priors.fused import FusedPriors
from flashmd.potential.repulsion_cutoff import RepulsionCutoffReport, cut_repulsion
from flashmd.potential.schnet_potential import SchNetPotential
from flashmd.potential.sum_potential import SumPotential
from flashmd.protocols import Evaluation
from flashmd.system import System


class CompiledPotential:
    """Energies and forces of a potential as it was when it was compiled; made by :meth:`Potential.compile`.

    Attributes:
        reports: accuracy of every network, by its name in the potential.
        repulsion_report: what the cutoff of the repulsion changes on the template, or None without one.
        cutoff: largest cutoff of the terms, nm.
        bead_types: integer of each bead type by name, or None.
        metadata: what the checkpoint said of its origin.

    Example:
        >>> import torch
        >>> from flashmd.nn import SchNetConfig
        >>> from flashmd.potential import SchNetPotential
        >>> from flashmd.system import System
        >>> config = SchNetConfig(n_types=3, n_channels=8, n_filters=8, n_basis=6, n_blocks=1, readout=(4,))
        >>> dimer = System.single(torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]), torch.tensor([1, 2]))
        >>> compiled = SchNetPotential(config).compile(dimer, backend="reference")
        >>> compiled.evaluate(dimer).forces.shape
        torch.Size([2, 3])
    """

    def __init__(self, potential: Potential, template: System | None, options: CompileOptions) -> None:
        like = _example_of(potential) if template is None else template.positions
        self._source = copy.deepcopy(potential).to(device=like.device, dtype=like.dtype).requires_grad_(False)
        self.repulsion_report: RepulsionCutoffReport | None = None
        if options.repulsion_cutoff is not None:
            cut = cut_repulsion(self._source, options.repulsion_cutoff, _given(template))
            self._source, self.repulsion_report = cut
        self.cutoff = potential.cutoff
        self.bead_types = self._source.bead_types
        self.metadata: dict[str, Any] = self._source.metadata
        self._terms: dict[str, CompiledNetwork | Potential] = {}
        priors = []
        originals = dict(_leaves(potential))
        for name, term in _leaves(self._source):
            original = originals[name]
            if isinstance(original, SchNetPotential):
                sample = standard_cluster(original, self.bead_types, like) if template is None else template
                self._terms[name] = compile_network(original, sample, options)
            elif isinstance(term, Prior):
                priors.append(term)
            else:
                self._terms[name] = term
        self._priors = FusedPriors(priors, backend=options.backend) if priors else None

    @property
    def reports(self) -> dict[str, CompileReport]:
        """Accuracy of every network, by its name in the potential."""
        return {name: term.report for name, term in self._terms.items() if isinstance(term, CompiledNetwork)}

    @property
    def terms(self) -> Mapping[str, CompiledNetwork | Potential]:
        """What is evaluated by itself, by its name in the potential, in the order of summation; priors come last."""
        return self._terms

    @property
    def priors(self) -> tuple[Prior, ...]:
        """What is evaluated together."""
        return () if self._priors is None else self._priors.priors

    @torch.no_grad()
    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy, forces and, on request, the virial; see :meth:`Potential.evaluate`.

        Raises:
            TypeError: the positions have another dtype than those of the template.
        """
        parts = [term.evaluate(system, virial=virial) for term in self._terms.values()]
        if self._priors is not None:
            parts.append(self._priors.evaluate(system, virial=virial))
        return sum_evaluations(parts)

    @torch.no_grad()
    def atom_energies(self, system: System) -> Tensor:
        """Return the shares [n_atoms] of the atoms in the energy, kJ/mol, float64; see `Potential.atom_energies`."""
        priors = self._priors.priors if self._priors is not None else ()
        return sum_shares([term.atom_energies(system) for term in (*self._terms.values(), *priors)])

    def check(self, system: System) -> None:
        """Refuse what any of the terms refuses; see :meth:`Potential.check`."""
        self._source.check(system)

    def list_state(self) -> dict[str, Tensor]:
        """Return the positions from which neighbour lists were built, by term; a restart needs them."""
        return {
            f"{name}/{key}": state for name, term in self._terms.items() for key, state in term.list_state().items()
        }

    def restore_lists(self, system: System, state: Mapping[str, Tensor]) -> None:
        """Rebuild neighbour lists as `list_state` saved them, so that a resumed run repeats every bit."""
        for name, term in self._terms.items():
            begin = f"{name}/"
            own = {key.removeprefix(begin): each for key, each in state.items() if key.startswith(begin)}
            term.restore_lists(system, own)


def _example_of(potential: Potential) -> Tensor:
    """Return a tensor of the dtype and on the device of a potential."""
    tensors = itertools.chain(potential.parameters(), potential.buffers())
    return next((each for each in tensors if each.is_floating_point()), torch.empty(0))


def _given(template: System | None) -> System:
    if template is None:
        fix = "pass frames such as the dynamics will visit"
        raise ValueError(message("`template`", "frames on which to measure a cut repulsion", "None", fix))
    return template


def _leaves(potential: Potential, name: str = "") -> Iterator[tuple[str, Potential]]:
    """Yield the terms of nested sums by their path, in a fixed order."""
    if not isinstance(potential, SumPotential):
        yield name or potential.name, potential
        return
    for key, term in potential.potentials.items():
        yield from _leaves(cast("Potential", term), f"{name}.{key}" if name else key)
