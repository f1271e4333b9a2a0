"""Langevin steps that a CUDA graph can repeat."""

from __future__ import annotations

import pytest
import torch

from flashmd.md import GraphedStep, LangevinBAOAB
from flashmd.md.graphed import LangevinLoop
from flashmd.nn import SchNet, SchNetConfig
from flashmd.potential import SchNetPotential
from flashmd.protocols import Evaluation
from flashmd.system import System


class Springs:
    """Every atom on a spring to the origin, 200 kJ/mol/nm^2."""

    def evaluate(self, system, *, virial=False):
        x = system.positions
        energy = torch.stack([100.0 * part.square().sum() for part in x.split(system.ptr.diff().tolist())])
        return Evaluation(energy.double(), -200.0 * x)


def start(dtype, device="cpu"):
    generator = torch.Generator().manual_seed(4)
    x = 0.1 * torch.randn(5, 3, generator=generator, dtype=dtype)
    one = System.single(x, torch.tensor([1, 2, 1, 2, 1]), masses=torch.tensor([12.0, 14.0, 12.0, 16.0, 12.0]))
    return one.replicate(3).to(device)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_steps_are_those_of_the_integrator(dtype, tolerance, emulated, in_both_orders):
    integrator = LangevinBAOAB(0.004, 1.5, seed=(1 << 63) + 9)
    state = integrator.init(start(dtype), Springs(), temperature=300.0)
    expected = state
    for _ in range(20):
        expected = integrator.step(expected, Springs())

    def run():
        loop = LangevinLoop(integrator, state, Springs(), ops=emulated)
        for _ in range(20):
            loop.step_()
        final = loop.state(20)
        assert final.step == 20
        return final.positions, final.velocities, final.forces, final.energy

    for found, want in zip(in_both_orders(run), (expected.positions, expected.velocities), strict=False):
        assert float((found - want).abs().max()) <= tolerance * float(want.abs().max())
    assert torch.equal(state.positions, start(dtype).positions)


def test_a_state_may_start_anywhere(emulated):
    integrator = LangevinBAOAB(0.004, 1.5, seed=2)
    state = integrator.init(start(torch.float64), Springs(), temperature=300.0)
    loop = LangevinLoop(integrator, state, Springs(), ops=emulated)
    for _ in range(6):
        loop.step_()
    first = LangevinLoop(integrator, state, Springs(), ops=emulated)
    for _ in range(3):
        first.step_()
    second = LangevinLoop(integrator, first.state(3), Springs(), ops=emulated)
    for _ in range(3):
        second.step_()
    assert torch.equal(second.state(3).positions, loop.state(6).positions)
    # The same memory goes on from another state, as after an exchange.
    loop.load_(first.state(3))
    for _ in range(3):
        loop.step_()
    assert torch.equal(second.state(3).velocities, loop.state(3).velocities)
    hot = first.state(3).with_temperature(torch.full((3,), 900.0, dtype=torch.float64))
    loop.load_(hot)
    loop.step_()
    assert torch.equal(loop.state(1).temperature, hot.temperature)
    expected = integrator.step(hot, Springs())
    torch.testing.assert_close(loop.state(1).velocities, expected.velocities, rtol=1e-12, atol=1e-12)
    assert second.state(3).step == 6


def test_refused_on_the_cpu():
    integrator = LangevinBAOAB(0.004, 1.5, seed=2)
    state = integrator.init(start(torch.float64), Springs(), temperature=300.0)
    with pytest.raises(ValueError, match=r"`state`: expected tensors on a CUDA device, got cpu\. To fix it, move the"):
        GraphedStep(integrator, state, Springs())


@pytest.mark.cuda
def test_graph_of_a_whole_step():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    config = SchNetConfig(n_types=3, n_channels=32, n_filters=32, n_basis=9, cutoff_upper=0.9, n_blocks=2)
    system = start(torch.float32, "cuda")
    model = SchNetPotential(SchNet(config, seed=1)).to("cuda").compile(system)
    integrator = LangevinBAOAB(0.002, 1.5, seed=2)
    state = integrator.init(system, model, temperature=300.0)
    found, expected = GraphedStep(integrator, state, model).run(20), state
    for _ in range(20):
        expected = integrator.step(expected, model)
    torch.testing.assert_close(found.positions, expected.positions, rtol=0, atol=1e-5)
    assert found.step == 20
