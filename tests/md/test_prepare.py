"""From files to a run that can start, and what is refused before the first step."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch

from flashmd.cg import CA_TYPES, FIVE_BEAD_TYPES
from flashmd.errors import CheckpointError, ConfigurationError
from flashmd.md import RunConfig, parse_config, prepare
from flashmd.nn import SchNetConfig
from flashmd.potential import SchNetPotential, model_hash, save
from flashmd.potential.compiled import CompiledPotential

N_BEADS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def write_model(path: Path, bead_types: dict[str, int] | None = None, n_types: int = 25) -> Path:
    config = SchNetConfig(n_types=n_types, n_channels=4, n_filters=4, n_basis=4, n_blocks=1, readout=(4,))
    save(SchNetPotential(config, backend="reference", bead_types=bead_types), path, {})
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return write_model(folder / "model.safetensors", CA_TYPES)


@pytest.fixture
def native(root: Path) -> Path:
    return root / "data" / "structures" / "chignolin_native_ca.pdb"


@pytest.fixture
def unfolded(root: Path) -> Path:
    return root / "data" / "structures" / "chignolin_unfolded_ca.pdb"


def config_of(model: Path, structure: Path, **changes: object) -> RunConfig:
    values: dict[str, object] = {
        "model": str(model),
        "structure": str(structure),
        "output": "run",
        "temperatures": ["300 K", "330 K"],
        "walkers": 2,
        "time_step": "4 fs",
        "n_steps": 10,
        "seed": 1,
    }
    return parse_config(values | changes)


def test_starts_are_dealt_to_the_walkers(model: Path, native: Path, unfolded: Path) -> None:
    """With as many walkers as starts, every ladder starts from one of them."""
    plan = prepare(config_of(model, native, initial=[str(native), str(unfolded)]))
    expected = torch.stack([torch.from_numpy(mdtraj.load(path).xyz[0]) for path in (native, unfolded)])
    dealt = plan.system.positions.reshape(2, 2, N_BEADS, 3)
    for temperature in range(2):
        torch.testing.assert_close(dealt[temperature], expected, rtol=0.0, atol=1e-6)
    assert plan.system.positions.dtype == torch.float32
    assert plan.model_hash == model_hash(model)
    assert plan.system.types[:N_BEADS].tolist() == [
        CA_TYPES[r] for r in "TYR TYR ASP PRO GLU THR GLY THR TRP TYR".split()
    ]
    assert plan.system.interactions["bonds"].shape == (4 * 9, 2)
    assert [residue.name for residue in plan.topology.residues][:4] == ["TYR", "TYR", "ASP", "PRO"]


def test_the_structure_is_the_start_by_default(model: Path, native: Path) -> None:
    plan = prepare(config_of(model, native, precision="double"))
    expected = torch.from_numpy(mdtraj.load(native).xyz[0]).to(torch.float64)
    torch.testing.assert_close(plan.system.positions.reshape(4, N_BEADS, 3), expected.expand(4, -1, -1))
    assert plan.model.evaluate(plan.system).forces.dtype == torch.float64


@pytest.mark.parametrize("one_frame", [False, True])
def test_starts_are_read_from_arrays(tmp_path: Path, model: Path, native: Path, one_frame: bool) -> None:
    frames = np.random.default_rng(1).normal(size=(3, N_BEADS, 3))
    np.savez(tmp_path / "starts.npz", positions=frames[0] if one_frame else frames)
    plan = prepare(config_of(model, native, initial=[str(tmp_path / "starts.npz")], precision="double"))
    expected = frames[[0, 0, 0, 0]] if one_frame else frames[[0, 1, 2, 0]]
    np.testing.assert_array_equal(plan.system.positions.reshape(4, N_BEADS, 3).numpy(), expected)


def test_a_missing_structure_is_explained(tmp_path: Path, model: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"structure .*none\.pdb: expected a readable file, got .*correct the path"
    ):
        prepare(config_of(model, tmp_path / "none.pdb"))


def test_a_structure_that_is_none_is_explained(tmp_path: Path, model: Path) -> None:
    (tmp_path / "bad.pdb").write_text(
        "HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O\nEND\n"
    )
    with pytest.raises(
        ConfigurationError, match=r"structure .*bad\.pdb: the structure: expected at least one amino acid"
    ):
        prepare(config_of(model, tmp_path / "bad.pdb"))


def test_a_missing_model_is_explained(tmp_path: Path, native: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the model: expected a file or one of"):
        prepare(config_of(tmp_path / "none.safetensors", native))


def test_coordinates_that_are_not_numbers_are_refused(tmp_path: Path, model: Path, native: Path) -> None:
    frames = np.zeros((1, N_BEADS, 3))
    frames[0, 7, 1] = np.nan
    np.savez(tmp_path / "starts.npz", positions=frames)
    text = r"start position of replica 1, bead 7: expected finite numbers, got a non-finite value\. To fix it, repair"
    with pytest.raises(ConfigurationError, match=text):
        prepare(config_of(model, native, initial=[str(native), str(tmp_path / "starts.npz")]))


def test_starts_of_another_molecule_are_refused(tmp_path: Path, model: Path, native: Path) -> None:
    part = mdtraj.load(native)
    part.atom_slice(range(1, 10)).save_pdb(str(tmp_path / "part.pdb"))
    with pytest.raises(
        ConfigurationError, match=r"start positions .*part\.pdb: expected the same beads, got other beads"
    ):
        prepare(config_of(model, native, initial=[str(tmp_path / "part.pdb")]))
    np.savez(tmp_path / "few.npz", positions=np.zeros((2, 9, 3)))
    with pytest.raises(ConfigurationError, match=r"expected shape \(n_frames, 10, 3\), got \(2, 9, 3\)"):
        prepare(config_of(model, native, initial=[str(tmp_path / "few.npz")]))
    np.savez(tmp_path / "other.npz", coordinates=np.zeros((2, 9, 3)))
    with pytest.raises(ConfigurationError, match=r"other\.npz: expected an array `positions`, got .*numpy\.savez"):
        prepare(config_of(model, native, initial=[str(tmp_path / "other.npz")]))


def test_a_model_of_other_bead_types_is_refused(folder: Path, native: Path) -> None:
    """A model that numbers residues in another way would run without complaint and be wrong."""
    other = write_model(folder / "other.safetensors", {name: 21 - number for name, number in CA_TYPES.items()})
    text = r"bead types of structure .* for model .*: expected ALA \(20\), .* got ASP \(3\)\. To fix it, choose a model"
    with pytest.raises(ConfigurationError, match=text):
        prepare(config_of(other, native))
    unnamed = write_model(folder / "small.safetensors", None, n_types=12)
    with pytest.raises(ConfigurationError, match=r"model .* and structure .* do not fit: `types`: expected integers"):
        prepare(config_of(unnamed, native))


def test_five_bead_structures_find_their_types(folder: Path, root: Path, shared_data: Path) -> None:
    model = write_model(folder / "five.safetensors", FIVE_BEAD_TYPES)
    structure = shared_data / "fast_folders" / "native" / "chignolin_cln025.pdb"
    plan = prepare(config_of(model, structure, resolution="five_bead"))
    assert set(plan.system.types.tolist()) <= set(FIVE_BEAD_TYPES.values())
    assert plan.topology.n_atoms * 4 == plan.system.n_atoms == 4 * 49


def test_the_model_is_compiled(model: Path, native: Path) -> None:
    plan, exact = (prepare(config_of(model, native, potential=each)) for each in ("compiled", "exact"))
    assert isinstance(plan.model, CompiledPotential)
    assert not isinstance(exact.model, CompiledPotential)
    forces = [each.model.evaluate(each.system).forces for each in (plan, exact)]
    assert 0.0 < float((forces[0] - forces[1]).norm() / forces[1].norm()) < 3e-5
    assert len(plan.notes) == 1
    assert plan.notes[0].startswith("SchNet: filters in a table of ")
    assert exact.notes == ()
    assert exact.model_hash == plan.model_hash


def test_a_model_that_cannot_be_compiled_is_explained(model: Path, native: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "far.npz", positions=10.0 * np.arange(3 * N_BEADS).reshape(1, N_BEADS, 3))
    initial = [str(tmp_path / "far.npz")]
    text = (
        r"model .*: `template`: expected atoms within the cutoff of 1.5 nm, got no pair .* `potential: exact` does not"
    )
    with pytest.raises(ConfigurationError, match=text):
        prepare(config_of(model, native, initial=initial))
    assert prepare(config_of(model, native, initial=initial, potential="exact")).notes == ()


def test_an_unknown_device_is_explained(model: Path, native: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"key `device`: expected a device that torch can use, got 'abacus' \("
    ):
        prepare(config_of(model, native, device="abacus"))


def test_threads_are_set(model: Path, native: Path) -> None:
    before = torch.get_num_threads()
    try:
        prepare(config_of(model, native, threads=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
