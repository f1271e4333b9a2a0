"""Calculators of ASE and of this package in the conformance checks, and wrong ones, which the checks must find."""

from __future__ import annotations

import pytest

import tests.interfaces.ase.tools  # noqa: F401 - registers its checks
from tests.interfaces.ase.conformance import CHECKS, Subject, checks_for
from tests.interfaces.ase.subjects import subjects

CASES = [
    pytest.param(subject, name, id=f"{subject.name}-{name}") for subject in subjects() for name in checks_for(subject)
]


@pytest.mark.parametrize("subject, name", CASES)
def test_conformance(subject: Subject, name: str) -> None:
    CHECKS[name][1](subject)
