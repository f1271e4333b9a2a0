"""The scripts that map all-atom runs to beads: the data set of the training and the mean forces it is judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest

from flashmd.cg import constrained_pairs_from
from flashmd.potential import SumPotential
from flashmd.train import fit_priors, load_dataset

from .scripts import CYCLES_PER_CHUNK, Made, bead_atoms, call, chunks


@pytest.fixture(scope="module")
def mapped(made: Made) -> Path:
    """The data set of both runs."""
    output = made.ladder.parent / "mapped" / "chignolin_ca.npz"
    with pytest.MonkeyPatch.context() as patch:
        call(made.modules["map_chignolin"], [made.ladder, made.umbrella, output, "--l2", "1e5"], patch)
    return output


def test_data_set_holds_the_frames_of_all_runs_by_trajectory(made: Made, mapped: Path) -> None:
    dataset = load_dataset(mapped)
    beads = bead_atoms(made.ladder)
    runs = [(chunks(made.ladder), 0), (chunks(made.umbrella), 8)]
    assert sorted(set(dataset.trajectory.tolist())) == list(range(20))
    for run, offset in runs:
        for replica in range(8):
            frames = np.concatenate([chunk["positions"][chunk["replica"] == replica] for chunk in run])
            own = dataset.trajectory == replica + offset
            np.testing.assert_allclose(dataset.positions[own], frames[:, beads], atol=6e-4)
    assert {name: len(terms) for name, terms in dataset.interactions.items()} == {
        "bonds": 9,
        "angles": 8,
        "dihedrals": 7,
        "non_bonded": 28,
    }
    provenance = dataset.provenance
    assert provenance["sequence"] == "TYR TYR ASP PRO GLU THR GLY THR TRP TYR".split()
    assert (provenance["runs"], provenance["skipped_cycles"], provenance["stride"]) == (2, 0, 1)
    assert isinstance(fit_priors(dataset), SumPotential)


def test_optimal_map_has_less_noise_on_unseen_frames(made: Made, mapped: Path) -> None:
    dataset = load_dataset(mapped)
    unseen = dataset.trajectory % 2 == 1
    rms = dataset.provenance["force_map"]["rms_kJ_per_mol_nm"]
    assert rms["optimal"] < rms["aggregated"]
    assert rms["optimal"] < rms["slice"]
    # Forces are packed to 25 kJ/mol/nm.
    assert dataset.forces[unseen].square().mean().sqrt().item() == pytest.approx(rms["optimal"], rel=0.01)
    frames = [frame for run in (made.ladder, made.umbrella) for frame in chunks(run)]
    beads = bead_atoms(made.ladder)
    odd = np.concatenate([chunk["forces"][chunk["replica"] % 2 == 1][:, beads] for chunk in frames])
    assert rms["slice"] == pytest.approx(float(np.sqrt(np.mean(odd.astype(np.float64) ** 2))), rel=1e-5)


def test_mapping_may_skip_the_first_cycles(made: Made, mapped: Path, tmp_path: Path) -> None:
    module = made.modules["map_chignolin"]
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["--skip", CYCLES_PER_CHUNK, "--stride", 2, "--l2", "1e5"]
        call(module, [made.ladder, made.umbrella, tmp_path / "half.npz", *arguments], patch)
        with pytest.raises(SystemExit, match="error: no frames after cycle 99"):
            call(module, [made.ladder, tmp_path / "none.npz", "--skip", 99], patch)
    half, whole = load_dataset(tmp_path / "half.npz"), load_dataset(mapped)
    assert half.n_frames * 4 == whole.n_frames
    second = chunks(made.ladder)[1]["positions"][::2][:, bead_atoms(made.ladder)]
    np.testing.assert_allclose(np.sort(half.positions[half.trajectory < 8], 0), np.sort(second, 0), atol=6e-4)


def test_mean_forces_of_fixed_beads(made: Made, tmp_path: Path) -> None:
    module, sampled, ends = made.modules["chignolin_mean_forces"], [], []
    sample = module.sample

    def recorded(context: Any, *arguments: Any) -> np.ndarray:
        forces: np.ndarray = sample(context, *arguments)
        sampled.append(forces)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
        return forces

    output = tmp_path / "mean_forces.npz"
    runs = [made.ladder, made.umbrella]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "sample", recorded)
        call(module, [made.pdb, output, *runs, "--frames", 2, "--platform", "Reference"], patch)
    with np.load(output) as file:
        result = {key: file[key] for key in file.files}
    forces = np.array(sampled)
    assert forces.shape == (2, 20, 10, 3)
    assert result["temperature"] == 340.0
    np.testing.assert_allclose(result["mean_forces"], forces.mean(axis=1), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(result["noise"], forces.var(axis=1, ddof=1).mean(axis=(1, 2)), rtol=1e-4)
    halves = [forces[:, 4 * block : 4 * block + 4].mean(axis=1) for block in range(5)]
    np.testing.assert_allclose(result["standard_error"], np.std(halves, axis=0, ddof=1) / 5**0.5, rtol=1e-3, atol=1e-2)
    beads = bead_atoms(made.ladder)
    known = np.concatenate([chunk["positions"][:, beads] for run in runs for chunk in chunks(run)])
    for positions, end in zip(result["positions"], ends, strict=True):
        assert np.abs(known - positions).max(axis=(1, 2)).min() == 0.0
        assert np.abs(end[beads] - positions).max() < 1e-4
        assert np.abs(end - end[beads].mean(axis=0)).max() < 2.0


def test_constraints_are_found_in_the_data(made: Made) -> None:
    """Bonds of hydrogen are rigid, and they alone."""
    frames = np.concatenate([chunk["positions"] for chunk in chunks(made.ladder)])
    topology = mdtraj.load(made.ladder / "topology.pdb").topology
    bonds = {
        tuple(sorted((a.index, b.index))) for a, b in topology.bonds if "H" in (a.element.symbol, b.element.symbol)
    }
    assert {tuple(pair) for pair in constrained_pairs_from(frames).tolist()} == bonds
