"""The CUDA kernels of the analytic terms, run by the host, against the closed forms in PyTorch."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from flashmd.potential.priors.fused import FusedPriors
from flashmd.potential.priors.kernel_forms import pack_priors
from flashmd.system import System
from tests.potential.build import CASES, chain, every_prior, prior

FLOAT64_TOLERANCE = 1e-12
FLOAT32_TOLERANCE = 1e-5  # a few tens of roundings, relative to the largest number


def periodic(system: System) -> System:
    cell = torch.tensor([[1.9, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.4, 0.6, 2.1]]).to(system.positions)
    pbc = torch.tensor([[True, True, True]])
    return dataclasses.replace(system, cell=cell[None], pbc=pbc)


def evaluate(emulated, in_both_orders, priors, system, *, virial=True):
    plan = pack_priors(priors, system, inverted=True)
    arguments = (system.positions, system.ptr, system.cell, system.pbc, *plan.tensors, virial)
    return in_both_orders(lambda: emulated.prior_terms(*arguments))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_every_form(name, dtype, emulated, in_both_orders):
    system = System.concatenate([chain(9, seed=3), periodic(chain(5, seed=4)), chain(9, seed=5)])
    expected = FusedPriors([prior(name)], backend="reference").evaluate(system, virial=True)
    found = evaluate(emulated, in_both_orders, [prior(name).to(dtype)], system.to(dtype=dtype))
    bound = FLOAT64_TOLERANCE if dtype == torch.float64 else FLOAT32_TOLERANCE
    for one, other in zip(found, (expected.energy, expected.forces, expected.virial), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0.0, atol=bound * max(float(other.abs().max()), 1.0))


def test_replicas_equal_the_single_system_bit_for_bit(emulated, in_both_orders):
    priors = [each.float() for each in every_prior().values()]
    single = chain(9, seed=3, dtype=torch.float32)
    alone = evaluate(emulated, in_both_orders, priors, single)
    energy, forces, virial = evaluate(emulated, in_both_orders, priors, single.replicate(3))
    assert torch.equal(energy, alone[0].repeat(3))
    assert torch.equal(forces, alone[1].repeat(3, 1))
    assert torch.equal(virial, alone[2].repeat(3, 1, 1))


def test_nothing_to_evaluate(emulated, in_both_orders):
    system = dataclasses.replace(chain(5), interactions={"bonds": torch.zeros(0, 2, dtype=torch.int64)})
    energy, forces, virial = evaluate(emulated, in_both_orders, [prior("bonds")], system, virial=False)
    assert float(energy) == 0.0
    assert not forces.any()
    assert virial.numel() == 0
