"""The tables of ideal geometry come from their scripts and agree with structures that they were not made from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from flashmd.backmap.dataset import load_structures
from flashmd.backmap.physics import fragments, parameters
from flashmd.backmap.residues import RESIDUES
from tests.backmap.structures import SHARED

ROOT = Path(__file__).resolve().parents[3]
AGREEMENT = 0.004  # nm; medians of a few structures scatter by about this where an angle is rare


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / "data_generation" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_force_field_is_what_the_script_writes(tmp_path: Path) -> None:
    pytest.importorskip("openmm")
    script("backmap_force_field").main(tmp_path / "amber14.json")
    committed = Path(parameters.__file__).with_name("amber14.json")
    assert (tmp_path / "amber14.json").read_text() == committed.read_text()


def test_geometry_agrees_with_other_structures(tmp_path: Path) -> None:
    path = SHARED / "backmapping" / "validation_chains.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here")
    module = script("backmap_geometry")
    structures = load_structures(path)[:24:6]
    angles = module.angle_distances(structures)
    table = parameters.angle_distances()
    common = [name for name in angles if np.isfinite(angles[name])]
    assert len(common) > 150
    off = np.array([abs(angles[name] - table[name]) for name in common])
    assert np.median(off) < 0.0015
    assert np.quantile(off, 0.95) < AGREEMENT
    contacts = module.contact_distances(structures[:2])
    module.write(tmp_path / "geometry.json", angles, contacts)
    measured, shipped = np.array(contacts["4"]), parameters.contact_distances()[1].numpy()
    carbons = parameters.KINDS.index("C"), parameters.KINDS.index("O")
    assert measured[carbons] == pytest.approx(shipped[carbons], abs=0.01)


def test_lengths_of_bonds_are_those_of_proteins() -> None:
    terms = fragments.fragment(0, 0)
    assert terms.bonds.tolist() == [[2], [14]]
    assert terms.bond_values[0].tolist() == pytest.approx([0.1335])
    assert fragments.fragment(7, None).bonds.shape == (2, 3)


def test_every_pair_of_residues_has_terms() -> None:
    for first in range(20):
        for second in range(20):
            terms = fragments.fragment(first, second)
            assert terms.bonds.shape[1] == 1
            assert terms.angles.shape[1] == 3 + (RESIDUES[second] == "PRO")
            assert terms.planes.shape[1] >= 3


def test_rings_are_flat_and_turning_bonds_are_not() -> None:
    phenylalanine, lysine = (fragments.fragment(RESIDUES.index(name), None) for name in ("PHE", "LYS"))
    assert phenylalanine.planes.shape[1] > 6
    assert lysine.planes.shape[1] == 0
    assert lysine.torsions.shape[1] >= 4
