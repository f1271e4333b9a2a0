"""Newtonian dynamics on a network and priors: the forces must be the gradient along a whole trajectory."""

from __future__ import annotations

import math

import pytest
import torch

from flashmd.md import VelocityVerlet, kinetic_energy
from flashmd.ops import edge_geometry
from flashmd.potential import SumPotential
from flashmd.system import System
from tests.potential.build import chain, every_prior, schnet

DISCONTINUOUS = ("impropers", "shifted_impropers")
"""Their energies jump where the torsion is cut open."""
CUTOFF = 0.6
SCALE = 100.0
"""A fresh network is weak; times this, its forces are like those of the priors."""


def potential() -> SumPotential:
    """Small skin and cutoff, so that pairs enter and leave within the short trajectory."""
    priors = {name: prior for name, prior in every_prior().items() if name not in DISCONTINUOUS}
    network = schnet(cutoff_upper=CUTOFF, skin=0.05)
    with torch.no_grad():
        network.network.readout.layers[-1].weight.mul_(SCALE)
    return SumPotential({"SchNet": network, **priors})


def pairs_within_cutoff(model: SumPotential, system: System) -> int:
    edges = model.potentials["SchNet"].verlet_list.update(system)
    return int((edge_geometry(system, edges)[1] < CUTOFF).sum())


def largest_energy_error(time_step: float, duration: float) -> tuple[float, set[int], int]:
    """Largest deviation of the total energy, kJ/mol, the numbers of pairs met, and the builds of the list."""
    model = potential()
    system = System.concatenate([chain(7, seed=1), chain(6, seed=5)])
    system = System(**{**vars(system), "masses": torch.full_like(system.masses, 50.0)})
    integrator = VelocityVerlet(time_step, seed=3)
    state = integrator.init(system, model, temperature=300.0)
    start, worst, pairs = state.energy + kinetic_energy(state), 0.0, set()
    for _ in range(round(duration / time_step)):
        state = integrator.step(state, model)
        worst = max(worst, float((state.energy + kinetic_energy(state) - start).abs().max()))
        pairs.add(pairs_within_cutoff(model, state.system))
    return worst, pairs, model.potentials["SchNet"].verlet_list.n_builds


def test_energy_error_is_of_second_order_in_the_time_step() -> None:
    errors = []
    for time_step in (0.002, 0.001, 0.0005):
        error, pairs, builds = largest_energy_error(time_step, 0.3)
        errors.append(error)
        assert len(pairs) > 2, "no pair crossed the cutoff: the test would not see a jump there"
        assert builds > 2
    slopes = [math.log2(errors[i] / errors[i + 1]) for i in range(2)]
    assert slopes == pytest.approx([2.0, 2.0], abs=0.15)


def test_the_network_matters_for_this_trajectory() -> None:
    model, system = potential(), chain(7, seed=1)
    network = model.potentials["SchNet"].evaluate(system).forces
    assert float(network.norm()) > 0.1 * float(model.evaluate(system).forces.norm())
