"""The shipped all-atom model keeps its bytes, its energies and the errors that docs/guide/all_atom.md states."""

from __future__ import annotations

import re
from pathlib import Path

import mdtraj
import pytest
import torch

from flashmd import System
from flashmd.potential import Potential, SumPotential, checkpoint
from flashmd.train import MoleculeDataset, load_molecules, molecule_errors

ROOT = Path(__file__).resolve().parents[2]
SHA256 = "2d05f368169c755643e29906c6b2c34d1f55c3822ba47f101bb33504e76c1732"
ENERGIES = {"SchNet": -545.4073383364847, "atoms": -86027.22738899189}  # kJ/mol, alanine dipeptide as its PDB has it
RANGES = {"300 K": (0.0, 300.0), "500 K to 1000 K": (301.0, 1000.0)}


@pytest.fixture(scope="module")
def model() -> Potential:
    return checkpoint.load("organic-gfn2")


@pytest.fixture(scope="module")
def frames() -> MoleculeDataset:
    return load_molecules(ROOT / "data" / "datasets" / "organic_gfn2_test.npz")


def dipeptide(model: Potential, dtype: torch.dtype) -> System:
    structure = mdtraj.load(str(ROOT / "data" / "structures" / "alanine_dipeptide.pdb"))
    assert model.bead_types is not None
    types = torch.tensor([model.bead_types[atom.element.symbol] for atom in structure.topology.atoms])
    return System.single(torch.from_numpy(structure.xyz[0].copy()).to(dtype), types)


def documented() -> dict[str, list[float]]:
    """The rows of the error table: number of frames, errors of energies and forces, scale of the forces."""
    text = (ROOT / "docs" / "guide" / "all_atom.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z][^|]*) \|((?: [\d.]+ \|){6})$", text, re.MULTILINE)
    return {name: [float(word) for word in numbers.split("|")[:-1]] for name, numbers in rows}


def parts_of(frames: MoleculeDataset) -> dict[str, MoleculeDataset]:
    """The frames of each row of the table."""
    parts = {}
    for group in frames.group_names:
        every = frames.of_group(group)
        if float(every.temperature.min()) > 300.0:
            parts[group] = every
        else:
            parts |= {f"{group}, {label}": every.between(*limits) for label, limits in RANGES.items()}
    return parts


def test_it_keeps_its_bytes() -> None:
    assert checkpoint.model_hash("organic-gfn2") == SHA256


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 1e-2)])
def test_it_keeps_its_energies(dtype: torch.dtype, tolerance: float) -> None:
    model = checkpoint.load("organic-gfn2", dtype=dtype)
    terms = model.terms(dipeptide(model, dtype))
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(ENERGIES, abs=tolerance, rel=0.0)


def test_types_are_found_by_element(model: Potential) -> None:
    assert isinstance(model, SumPotential)
    assert model.bead_types == {"H": 1, "C": 2, "N": 3, "O": 4}
    system = System.single(torch.rand(2, 3), torch.tensor([1, 5]))
    with pytest.raises(ValueError, match=r"got type 5 of atom 1"):
        model.check(system)


def test_the_documented_errors_are_those_of_the_shipped_frames(model: Potential, frames: MoleculeDataset) -> None:
    table, parts = documented(), parts_of(frames)
    assert set(table) == set(parts)
    for name, part in parts.items():
        errors = molecule_errors(model, part)
        n_frames, energy_mae, energy_rmse, force_mae, force_rmse, scale = table[name]
        assert errors.n_frames == n_frames
        assert [errors.energy_mae, errors.energy_rmse] == pytest.approx([energy_mae, energy_rmse], abs=0.0051)
        found = [errors.force_mae, errors.force_rmse, errors.force_scale]
        assert found == pytest.approx([force_mae, force_rmse, scale], abs=0.51)


def test_compiled_forces_are_those_of_the_network(model: Potential, frames: MoleculeDataset) -> None:
    system = frames.of_group("peptides").subset(torch.arange(0, 160, 16)).system()
    exact, compiled = model.evaluate(system), model.compile(system).evaluate(system)
    torch.testing.assert_close(compiled.energy, exact.energy, rtol=0.0, atol=0.02)
    error = (compiled.forces - exact.forces).square().mean().sqrt()
    assert float(error) < 2e-5 * float(exact.forces.square().mean().sqrt())


def test_forces_are_the_gradient(frames: MoleculeDataset) -> None:
    model = checkpoint.load("organic-gfn2", dtype=torch.float64)
    system = frames.of_group("clusters").subset(torch.arange(0, 1000, 200)).system(dtype=torch.float64)
    direction = torch.randn(system.positions.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-6
    ends = [model.energy(system.with_positions(system.positions + s * step * direction)) for s in (1.0, -1.0)]
    work = torch.zeros(system.n_systems, dtype=torch.float64)
    work.index_add_(0, system.batch, (model.evaluate(system).forces * direction).sum(1))
    torch.testing.assert_close((ends[1] - ends[0]).detach() / (2.0 * step), work, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("direction", torch.eye(3).tolist())
def test_molecules_repel_each_other(model: Potential, direction: list[float]) -> None:
    """Two waters pushed into each other cost energy all the way, so that a periodic box of them holds."""
    water = torch.tensor([[0.0, 0.0, 0.0], [0.0757, 0.0586, 0.0], [-0.0757, 0.0586, 0.0]])
    types = torch.tensor([4, 1, 1])
    energies = []
    for distance in (0.28, 0.26, 0.24, 0.22):
        pair = torch.cat([water, water + distance * torch.tensor(direction)])
        energies.append(float(model.energy(System.single(pair, types.repeat(2))).detach()))
    assert energies == sorted(energies)
    assert energies[-1] > energies[0] + 40.0
