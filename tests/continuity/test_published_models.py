"""Published files of the CGSchNet family keep giving the energies that their own software gives.

The numbers in kcal/mol and kcal/mol/angstrom were computed in float64 with the original software.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from flashmd.cg import build_system, map_structure
from flashmd.potential import Potential, checkpoint
from flashmd.potential.mlcg_import import load_any, load_configurations, load_model
from flashmd.system import System
from flashmd.units import ANGSTROM, KCAL

# Energies are given to 12 decimals; single terms and forces to 6 or 7.
ENERGY, TERM, FORCE = 1e-10, 5.1e-7, 2e-7
PRIOR_TERMS = {
    "n_term_bonds": 1.614335,
    "bulk_bonds": 8.699559,
    "c_term_bonds": 1.966312,
    "n_term_angles": 1.981294,
    "bulk_angles": 18.307482,
    "c_term_angles": 2.612324,
    "non_bonded": 11.047971,
    "pro_omega": -4.330353,
    "non_pro_omega": -49.784041,
    "gamma_1": -43.188919,
    "gamma_2": -59.126208,
}


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    """Folder with the published files."""
    return shared_data / "mlcg"


@pytest.fixture(scope="module")
def frames(folder: Path) -> list[System]:
    """Demonstration configurations of five-bead chignolin."""
    return load_configurations(folder / "cln_configurations_demo.pt")


def _rms(potential: Potential, system: System) -> float:
    """Return the root mean square of all force components in kcal/mol/angstrom."""
    return float(potential.evaluate(system).forces.square().mean().sqrt()) * ANGSTROM / KCAL


def test_ca_chignolin(folder: Path) -> None:
    imported = load_any(folder / "schnet_cln_ca_specialized_model_and_config.pt")
    assert imported.model is not None
    network = imported.model.get_submodule("potentials.SchNet")
    assert isinstance(network, Potential)
    assert network.energy(imported.systems[0]).item() / KCAL == pytest.approx(-8.078520660602, rel=ENERGY)
    assert _rms(network, imported.systems[0]) == pytest.approx(1.2873139, rel=FORCE)


def test_five_bead_training_checkpoint(folder: Path, frames: list[System]) -> None:
    model = load_model(folder / "schnet_train.ckpt")
    assert model.energy(frames[0]).item() / KCAL == pytest.approx(11.546255545689, rel=ENERGY)
    # The force is known to fewer digits here: 0.3289879 against 0.3289877, which finite differences confirm.
    assert _rms(model, frames[0]) == pytest.approx(0.3289879, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "structures"),
    [("prior.pt", "cln_configurations_demo.pt"), ("sparse_prior_cln_5b.pt", "structures_cln_5b.pt")],
)
def test_transferable_prior(model: str, structures: str, folder: Path) -> None:
    prior, system = load_model(folder / model), load_configurations(folder / structures)[0]
    terms = {name: energy.item() / KCAL for name, energy in prior.terms(system).items()}
    assert len(terms) == 51
    for name, expected in PRIOR_TERMS.items():
        assert terms[name] == pytest.approx(expected, abs=TERM)
    assert prior.energy(system).item() / KCAL == pytest.approx(-174.816455472965, rel=ENERGY)
    assert sum(terms.values()) == pytest.approx(-174.816455472965, rel=ENERGY)
    assert _rms(prior, system) == pytest.approx(22.0995379, rel=FORCE)
    largest = float(prior.evaluate(system).forces.abs().max()) * ANGSTROM / KCAL
    assert largest == pytest.approx(74.508584, abs=2e-6)


def test_lists_and_bead_types_agree_with_ours(folder: Path) -> None:
    published = load_configurations(folder / "structures_cln_5b.pt")[0]
    ours = build_system(map_structure(str(folder / "cln_5beads.pdb"), "five_bead"), dtype=torch.float64)
    assert torch.equal(published.types, ours.types)
    torch.testing.assert_close(published.masses, ours.masses, rtol=1e-12, atol=0.0)
    assert set(published.interactions) == set(ours.interactions)
    prior = load_model(folder / "prior.pt")
    energies = prior.terms(published)
    for name, energy in prior.terms(ours.with_positions(published.positions)).items():
        assert energy.item() == pytest.approx(energies[name].item(), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "n_beads", "counts"),
    [
        ("structures_ntl9_5b.pt", 39, {"bonds": 38, "angles": 37, "non_bonded": 666, "pseudo_ca_dihedral": 36}),
        ("structures_cln_ca.pt", 10, {"bonds": 9, "angles": 8, "non_bonded": 28, "pseudo_ca_dihedral": 7}),
    ],
)
def test_ca_structures(name: str, n_beads: int, counts: dict[str, int], folder: Path) -> None:
    systems = load_configurations(folder / name)
    assert len(systems) == 2
    for system in systems:
        assert system.n_atoms == n_beads
        assert {key: len(index) for key, index in system.interactions.items()} == counts
        torch.testing.assert_close(system.masses, torch.full((n_beads,), 12.0, dtype=torch.float64), rtol=1e-6, atol=0)
        # Consecutive C-alpha beads lie 0.38 nm apart, so lengths arrive in nm.
        first, second = system.interactions["bonds"].T
        bonds = (system.positions[first] - system.positions[second]).norm(dim=1)
        assert float((bonds - 0.38).abs().max()) < 0.03
    assert systems[0].replicate(3).interactions["bonds"].shape == (3 * counts["bonds"], 2)


def test_batch_gives_the_energies_of_its_systems(folder: Path, frames: list[System]) -> None:
    model = load_model(folder / "prior.pt")
    batch = System.concatenate(frames[:3])
    singles = torch.cat([model.energy(frame) for frame in frames[:3]])
    torch.testing.assert_close(model.energy(batch), singles, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("model", "structures"),
    [
        ("prior.pt", "structures_cln_5b.pt"),
        ("schnet_train.ckpt", "structures_cln_5b.pt"),
        ("schnet_cln_ca_specialized_model_and_config.pt", None),
    ],
)
def test_conversion_is_exact(model: str, structures: str | None, folder: Path, tmp_path: Path) -> None:
    imported = load_any(folder / model)
    assert imported.model is not None
    system = imported.systems[0] if structures is None else load_configurations(folder / structures)[0]
    checkpoint.save(imported.model, tmp_path / "model.safetensors")
    restored = checkpoint.load(tmp_path / "model.safetensors", dtype=torch.float64)
    assert restored.energy(system).item() == pytest.approx(imported.model.energy(system).item(), rel=1e-14)
    torch.testing.assert_close(
        restored.evaluate(system).forces, imported.model.evaluate(system).forces, rtol=1e-12, atol=1e-10
    )
    assert restored.metadata["source"] == model
    json.dumps(restored.metadata)


def test_restart_file(folder: Path) -> None:
    """The state of a finished demonstration run places the configurations that the run was started from."""
    described = load_any(folder / "schnet_cln_ca_specialized_model_and_config.pt").systems
    state = load_any(folder / "schnet_cln_ca_checkpoint.pt").restart
    assert state is not None
    assert state.step == 5
    for start, now in zip(described, state.place(described), strict=True):
        assert not torch.equal(now.positions, start.positions)
        # Still a chain of C-alpha atoms in nm: neither beads nor units got mixed up.
        bonds = now.positions.diff(dim=0).norm(dim=-1)
        assert ((bonds > 0.36) & (bonds < 0.41)).all()
