"""Every model file that was ever released still loads and gives the numbers it gave (made by make_golden.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flashmd.potential import Potential, checkpoint
from flashmd.potential.mlcg_import import load_any
from flashmd.system import System

DATA = Path(__file__).parent / "data"
# The golden numbers come from an independent float64 computation.
DOUBLE = 1e-11
# Rounding the weights and a few hundred additions in float32.
SINGLE = 2e-5


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """Golden numbers."""
    content: dict[str, Any] = json.loads((DATA / "golden_v1.json").read_text())
    return content


def _system(golden: dict[str, Any], frame: dict[str, Any], dtype: torch.dtype) -> System:
    return System.single(
        torch.tensor(frame["positions"], dtype=dtype),
        torch.tensor(golden["types"]),
        interactions={name: torch.tensor(index) for name, index in golden["interactions"].items()},
    )


def _compare(potential: Potential, golden: dict[str, Any], dtype: torch.dtype, tolerance: float) -> None:
    for frame in golden["frames"]:
        system = _system(golden, frame, dtype)
        terms = potential.terms(system)
        assert set(terms) == set(frame["terms"])
        for name, expected in frame["terms"].items():
            assert terms[name].item() == pytest.approx(expected, rel=tolerance)
        assert potential.evaluate(system).energy.item() == pytest.approx(sum(frame["terms"].values()), rel=tolerance)


def test_model_of_version_1(golden: dict[str, Any]) -> None:
    model = checkpoint.load(DATA / "model_v1.safetensors", dtype=torch.float64)
    _compare(model, golden, torch.float64, DOUBLE)
    assert model.metadata["purpose"] == "continuity test"


def test_model_of_version_1_in_single_precision(golden: dict[str, Any]) -> None:
    _compare(checkpoint.load(DATA / "model_v1.safetensors"), golden, torch.float32, SINGLE)


def test_foreign_file(golden: dict[str, Any]) -> None:
    imported = load_any(DATA / "foreign_v1.pt")
    assert imported.model is not None
    _compare(imported.model, golden, torch.float64, DOUBLE)
    for system, frame in zip(imported.systems, golden["frames"], strict=True):
        torch.testing.assert_close(
            system.positions, torch.tensor(frame["positions"], dtype=torch.float64), rtol=1e-15, atol=0
        )
