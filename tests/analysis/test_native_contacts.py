from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest

from flashmd.analysis import fraction_native, native_contacts

STRUCTURES = Path(__file__).parents[2] / "data" / "structures"


@pytest.fixture(scope="module")
def hairpin() -> np.ndarray:
    return np.asarray(mdtraj.load(str(STRUCTURES / "chignolin_native_ca.pdb")).xyz[0], dtype=np.float64)


def test_contacts_of_the_hairpin_against_a_plain_loop(hairpin: np.ndarray) -> None:
    contacts = native_contacts(hairpin)
    expected = [
        [i, j]
        for i in range(10)
        for j in range(10)
        if j - i >= 3 and np.sqrt(((hairpin[i] - hairpin[j]) ** 2).sum()) < 0.8
    ]
    assert contacts.pairs.tolist() == expected
    assert len(expected) == 12
    assert [0, 9] in expected  # the ends of the hairpin meet


def test_native_structure_is_folded_and_the_extended_chain_is_not(hairpin: np.ndarray) -> None:
    contacts = native_contacts(hairpin)
    extended = mdtraj.load(str(STRUCTURES / "chignolin_unfolded_ca.pdb")).xyz
    assert fraction_native(hairpin, contacts)[0] > 0.98
    assert fraction_native(extended, contacts)[0] < 0.01


@pytest.mark.parametrize("steepness, tolerance", [(50.0, 1.2), (30.0, 1.8)])
def test_equals_the_equation_written_out(hairpin: np.ndarray, steepness: float, tolerance: float) -> None:
    frames = hairpin + np.random.default_rng(0).normal(0.0, 0.15, (20, 10, 3))
    contacts = native_contacts(hairpin, cutoff=0.65, min_separation=4)
    first, second = contacts.pairs.T
    distance = np.linalg.norm(frames[:, first] - frames[:, second], axis=2)
    native = np.linalg.norm(hairpin[first] - hairpin[second], axis=1)
    expected = (1.0 / (1.0 + np.exp(steepness * (distance - tolerance * native)))).mean(axis=1)
    result = fraction_native(frames, contacts, steepness=steepness, tolerance=tolerance)
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_a_contact_at_its_tolerance_counts_one_half() -> None:
    native = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 3.0, 0.0], [0.0, 0.5, 0.0]])
    contacts = native_contacts(native)
    stretched = native.copy()
    stretched[3, 1] = 0.6
    np.testing.assert_allclose(fraction_native(stretched, contacts), 0.5, atol=1e-12)


def test_far_contacts_do_not_overflow() -> None:
    native = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 3.0, 0.0], [0.0, 0.5, 0.0]])
    value = fraction_native(native * 1e4, native_contacts(native))
    assert 0.0 <= value[0] < 1e-300


def test_no_contacts() -> None:
    with pytest.raises(ValueError, match=r"`native`: expected pairs at least 3 beads apart within 0.8 nm, got none"):
        native_contacts(np.arange(30.0).reshape(10, 3))


def test_other_number_of_beads(hairpin: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"`positions`: expected 10 beads, got 9"):
        fraction_native(hairpin[:9], native_contacts(hairpin))
