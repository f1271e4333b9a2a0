"""What the particles of a model are: beads of one of the two resolutions, or atoms of chemical elements."""

from __future__ import annotations

from typing import Literal

from flashmd.cg import CA_TYPES, FIVE_BEAD_TYPES
from flashmd.errors import message
from flashmd.potential.base import Potential
from flashmd.potential.sum_potential import SumPotential

Particles = Literal["ca", "five_bead", "atoms"]


def particles_of(model: Potential) -> Particles:
    """Return what the types by name, or else the names of the terms, imply.

    Raises:
        ValueError: they imply nothing.
    """
    known = set(model.bead_types or ())
    if known and known <= set(FIVE_BEAD_TYPES):
        # The residues are beads at both resolutions; only the finer one has backbone atoms beside them.
        backbone = set(FIVE_BEAD_TYPES) - set(CA_TYPES)
        if known & set(CA_TYPES):
            return "five_bead" if known & backbone else "ca"
    if known:
        return "atoms"
    terms = list(term_potentials(model))
    if any(term.startswith(("n_term_", "bulk_", "c_term_")) for term in terms):
        return "five_bead"
    if {"bonds", "angles"} <= set(terms):
        return "ca"
    fix = "give the model `bead_types`; on the command line, pass `--resolution ca` or `--resolution five_bead`"
    raise ValueError(message("the resolution of the model", "one that its terms imply", ", ".join(terms), fix))


def term_potentials(model: Potential) -> dict[str, Potential]:
    """Return the terms of a model by name; a model that is no sum is its own only term."""
    if not isinstance(model, SumPotential):
        return {model.name: model}
    return {name: term for name, term in model.potentials.items() if isinstance(term, Potential)}
