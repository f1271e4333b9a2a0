"""Quantities with units, against values of the SI and of NIST."""

from __future__ import annotations

import pytest

from flashmd.units import BOLTZMANN, ELECTRONVOLT, KCAL, parse_quantity

AVOGADRO = 6.02214076e23
"""1/mol, exact."""


def test_constants_follow_from_the_si() -> None:
    assert pytest.approx(1.380649e-23 * AVOGADRO / 1000.0, rel=1e-15) == BOLTZMANN
    assert pytest.approx(1.602176634e-19 * AVOGADRO / 1000.0, rel=1e-15) == ELECTRONVOLT
    assert KCAL == 4.184


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("4 fs", "ps", 0.004),
        ("4fs", "ps", 0.004),
        ("2.5e-3 ns", "ps", 2.5),
        (" 1 / ps ", "1/ps", 1.0),
        ("0.5/fs", "1/ps", 500.0),
        ("300 K", "K", 300.0),
        ("1.5 nm", "nm", 1.5),
        ("15 A", "nm", 1.5),
        ("-1 kcal/mol", "kJ/mol", -4.184),
        (".5 ns", "ps", 500.0),
    ],
)
def test_quantities_are_read(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "unit"), [("4", "ps"), ("4 K", "ps"), ("fs", "ps"), ("4 fs 2", "ps"), ("1e fs", "ps")]
)
def test_other_text_is_refused(text: str, unit: str) -> None:
    with pytest.raises(ValueError, match=r"expected a number and one of ps, fs, ns, us, µs, got .* To fix it, write"):
        parse_quantity(text, unit)
