"""Contexts of OpenMM as energy models: boxes, refusals, and rates and committors on any force field."""

from __future__ import annotations

import dataclasses
import re

import openmm
import pytest
import torch

from flashmd.interfaces.openmm import ContextModel
from tests.interfaces.double_well import ACROSS, HEIGHT, MASS, WIDTH, agrees


def context(system: openmm.System, positions: list[list[float]]) -> openmm.Context:
    """A context on the reference platform."""
    made = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    made.setPositions(positions)
    return made


def argon(*, periodic: bool = True) -> openmm.System:
    """Two atoms in a box of 1.2 nm."""
    system = openmm.System()
    force = openmm.NonbondedForce()
    for _ in range(2):
        system.addParticle(MASS)
        force.addParticle(0.0, 0.34, 1.0)
    if periodic:
        force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(0.5)
        system.setDefaultPeriodicBoxVectors(*(1.2 * torch.eye(3)).tolist())
    system.addForce(force)
    return system


def test_kinetics_of_a_context() -> None:
    system = openmm.System()
    well = openmm.CustomExternalForce(f"{HEIGHT}*((x/{WIDTH})^2-1)^2+{ACROSS}*(y^2+z^2)")
    well.addParticle(system.addParticle(MASS))
    system.addForce(well)
    model = ContextModel(context(system, [[0.01, 0.0, 0.0]]))
    assert agrees(model, model.system)


def test_systems_in_their_own_boxes() -> None:
    """Across the face of a small box the atoms are neighbours, in a large one they are not."""
    model = ContextModel(context(argon(), [[0.05, 0.0, 0.0], [1.1, 0.0, 0.0]]))
    small = model.system
    assert small.pbc.all()
    assert small.masses.tolist() == [MASS, MASS]
    large = dataclasses.replace(small, cell=3.0 * small.cell)
    both = model.evaluate(type(small).concatenate([small, large, small]))
    assert both.energy[0] == both.energy[2] != both.energy[1]
    assert both.forces[0, 0] > 10.0
    assert both.forces[2:4].abs().max() == 0.0
    assert torch.equal(both.forces[:2], both.forces[4:])
    shift = torch.tensor([[1e-5, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    ends = [model.evaluate(small.with_positions(small.positions + sign * shift)).energy.item() for sign in (1.0, -1.0)]
    assert (ends[1] - ends[0]) / 2e-5 == pytest.approx(both.forces[0, 0].item(), rel=1e-4)


def test_an_open_box() -> None:
    model = ContextModel(context(argon(periodic=False), [[0.0, 0.0, 0.0], [0.4, 0.0, 0.0]]))
    assert not model.system.pbc.any()
    assert model.evaluate(model.system.replicate(2)).energy.shape == (2,)


def test_refusals() -> None:
    fixed = argon()
    fixed.addConstraint(0, 1, 0.3)
    still = argon()
    still.setParticleMass(1, 0.0)
    for system, got in ((fixed, "1 constraints, smallest mass 40.0 Da"), (still, "0 constraints, smallest mass 0.0")):
        with pytest.raises(ValueError, match=re.escape(f"`context`: expected particles that move freely, got {got}")):
            ContextModel(context(system, [[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]))
    model = ContextModel(context(argon(), [[0.0, 0.0, 0.0], [0.4, 0.0, 0.0]]))
    with pytest.raises(ValueError, match=re.escape("`virial`: expected False for a context of OpenMM, got True")):
        model.evaluate(model.system, virial=True)
    one = ContextModel(context(argon(), [[0.0, 0.0, 0.0], [0.4, 0.0, 0.0]])).system.replicate(1)
    alone = type(one).single(one.positions[:1], one.types[:1])
    with pytest.raises(ValueError, match=re.escape("`system`: expected 2 particles in each system, got 1 in 1")):
        model.evaluate(alone)
