"""The part of a Langevin step before the new forces: kernel against the plain tensor operations."""

from __future__ import annotations

import pytest
import torch

from flashmd.ops.langevin import LangevinRule, Motion, langevin_step

RULE = LangevinRule(half_step=0.002, keep=0.9, noise_amplitude=0.4)
SEED = (1 << 63) + 9


def motion(n_atoms, numbers, dtype=torch.float64, device="cpu"):
    vectors = [numbers(n_atoms, 3) for _ in range(3)]
    scalars = [0.5 + numbers(n_atoms, 1).abs() for _ in range(2)]
    streams = torch.arange(n_atoms) * 7919 - 5
    return Motion(*(each.to(device=device, dtype=dtype) for each in (*vectors, *scalars)), streams.to(device))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-15), (torch.float32, 3e-7)])
@pytest.mark.parametrize("n_atoms", [0, 1, 16, 37])
def test_agrees_with_the_reference(n_atoms, dtype, tolerance, numbers, device):
    state = motion(n_atoms, numbers)
    expected = langevin_step(state, RULE, seed=SEED, counter=12, backend="reference")
    narrow = Motion(*(each.to(device=device, dtype=dtype) for each in state[:5]), state.streams.to(device))
    found = langevin_step(narrow, RULE, seed=SEED, counter=12)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.cpu().double(), other, rtol=0.0, atol=10 * tolerance)


def test_inputs_stay_and_may_be_strided(numbers):
    state = motion(20, numbers)
    before = [each.clone() for each in state]
    found = langevin_step(state, RULE, seed=1, counter=3)
    assert all(torch.equal(one, other) for one, other in zip(state, before, strict=True))
    strided = Motion(*(torch.stack([each, each], -1)[..., 0] for each in state))
    again = langevin_step(strided, RULE, seed=1, counter=3)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_bit_depends_on_threads_or_on_the_place_in_the_batch(dtype, numbers):
    state = motion(3000, numbers, dtype)
    n_threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(langevin_step(state, RULE, seed=1, counter=3))
    finally:
        torch.set_num_threads(n_threads)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))
    part = langevin_step(Motion(*(each[1003:1010] for each in state)), RULE, seed=1, counter=3)
    assert all(torch.equal(whole[1003:1010], own) for whole, own in zip(results[0], part, strict=True))


def test_wrong_arguments(numbers):
    state = motion(4, numbers)
    text = r"the state: expected one row for each atom in tensors of one dtype and device, got others"
    with pytest.raises(RuntimeError, match=text):
        langevin_step(state._replace(forces=state.forces[:3]), RULE, seed=1, counter=3)
    with pytest.raises(RuntimeError, match=text):
        langevin_step(state._replace(forces=state.forces.float()), RULE, seed=1, counter=3)
    with pytest.raises(ValueError, match=r"`seed`: expected an integer of 64 bits"):
        langevin_step(state, RULE, seed=1 << 64, counter=3)


def test_traces(numbers):
    arguments = (*motion(4, numbers), 1, 3, *RULE)
    torch.library.opcheck(
        torch.ops.flashmd.langevin_step.default, arguments, test_utils=("test_schema", "test_faketensor")
    )
