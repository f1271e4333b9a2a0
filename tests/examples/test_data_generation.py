"""The all-atom scripts at tiny size on OpenMM's Reference platform, against energies and forces computed anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest

from .scripts import CYCLES_PER_CHUNK, FRAMES_PER_CYCLE, Made, bead_atoms, chunks

openmm = pytest.importorskip("openmm")

FORCE_ERROR = 0.5  # kJ/mol/nm, of forces of some 1000 at positions rounded to single precision


@dataclass(frozen=True)
class Truth:
    """Energy (kJ/mol) and forces (kJ/mol/nm) at given positions, computed anew."""

    context: Any

    def __call__(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        self.context.setPositions(positions.astype(np.float64))
        state = self.context.getState(energy=True, forces=True)
        return state.getPotentialEnergy()._value, np.array(state.getForces(asNumpy=True)._value)


def truth_of(system: Any) -> Truth:
    platform = openmm.Platform.getPlatformByName("Reference")
    return Truth(openmm.Context(system, openmm.VerletIntegrator(0.001), platform))


@pytest.mark.parametrize("name", ["ladder", "umbrella"])
def test_run_continues_from_its_checkpoint(made: Made, name: str) -> None:
    folder: Path = getattr(made, name)
    assert [path.name for path in sorted(folder.glob("chunk_*"))] == ["chunk_00001.npz", "chunk_00002.npz"]
    assert (folder / "chunk_00001.npz").read_bytes() == made.first[name]
    first, second = chunks(folder)
    states = made.modules["chignolin_allatom"].Replicas.load(folder / "checkpoint.npz")
    assert states.cycle == 2 * CYCLES_PER_CHUNK
    for replica in range(len(states.slot)):
        before, after = (chunk["positions"][chunk["replica"] == replica] for chunk in (first, second))
        # 20 fs lie between the last frame of one chunk and the first of the next, as between any two.
        assert 0.0 < np.abs(after[0] - before[-1]).max() < 0.15
        np.testing.assert_array_equal(after[-1], states.positions[replica].astype(np.float32))


@pytest.mark.parametrize(("name", "key", "values"), [("ladder", "temperature", 8), ("umbrella", "center", 12)])
def test_exchange_permutes_the_rungs(made: Made, name: str, key: str, values: int) -> None:
    for chunk in chunks(getattr(made, name)):
        assert all(np.isfinite(array).all() for array in chunk.values())
        rungs = chunk[key].reshape(CYCLES_PER_CHUNK, values, FRAMES_PER_CYCLE)
        assert len(np.unique(rungs[0])) == values
        for frame in rungs.swapaxes(1, 2).reshape(-1, values):
            np.testing.assert_array_equal(np.sort(frame), np.unique(rungs[0]))


def test_ladder_records_energies_and_forces_of_its_frames(made: Made) -> None:
    truth = truth_of(openmm.XmlSerializer.deserialize((made.ladder / "system.xml").read_text()))
    chunk = chunks(made.ladder)[1]
    for frame in (0, -1):
        energy, forces = truth(chunk["positions"][frame])
        assert chunk["potential"][frame] == pytest.approx(energy, abs=0.05)
        np.testing.assert_allclose(chunk["forces"][frame], forces, atol=FORCE_ERROR)
    # Odd replicas have been unfolded at 800 K, even ones have not: they start from the minimum.
    start = chunks(made.ladder)[0]
    beads = bead_atoms(made.ladder)
    minimum = mdtraj.load(made.ladder / "topology.pdb").xyz[0][beads]
    moved = [np.abs(start["positions"][start["replica"] == r][0][beads] - minimum).max() for r in range(8)]
    assert max(moved[::2]) < min(moved[1::2])


def test_umbrella_forces_are_those_of_the_unbiased_system(made: Made) -> None:
    module = made.modules["chignolin_umbrella"]
    topology, system, native = made.modules["chignolin_allatom"].build_system(made.pdb)
    plain = truth_of(system)
    _, biased_system, _ = made.modules["chignolin_allatom"].build_system(made.pdb)
    biased_system.addForce(module.contact_force(topology, native))
    biased = truth_of(biased_system)
    chunk = chunks(made.umbrella)[1]
    frame = int(np.argmax(np.abs(chunk["q"] - chunk["center"])))
    energy, forces = plain(chunk["positions"][frame])
    error = np.linalg.norm(chunk["forces"][frame] - forces)
    assert error < 1e-3 * np.linalg.norm(forces)
    assert chunk["potential"][frame] == pytest.approx(energy, abs=0.05)
    biased.context.setParameter("q0", float(chunk["center"][frame]))
    biased_energy, biased_forces = biased(chunk["positions"][frame])
    assert np.linalg.norm(biased_forces - forces) > 10.0 * error
    bias = 0.5 * module.SPRING * (chunk["q"][frame] - chunk["center"][frame]) ** 2
    assert biased_energy - energy == pytest.approx(bias, rel=1e-3)


def test_umbrella_records_the_fraction_of_native_contacts(made: Made) -> None:
    # Best, Hummer and Eaton's Q of the C-alpha atoms in the experimental structure, written down once more.
    native = mdtraj.load(made.pdb)
    native = native.xyz[0][native.topology.select("name CA")].astype(np.float64)
    i, j = np.triu_indices(len(native), k=3)
    r0 = np.linalg.norm(native[i] - native[j], axis=-1)
    i, j, r0 = i[r0 < 0.8], j[r0 < 0.8], r0[r0 < 0.8]
    for chunk in chunks(made.umbrella):
        beads = chunk["positions"][:, bead_atoms(made.umbrella)].astype(np.float64)
        r = np.linalg.norm(beads[:, i] - beads[:, j], axis=-1)
        q = (1.0 / (1.0 + np.exp(50.0 * (r - 1.2 * r0)))).mean(axis=1)
        np.testing.assert_allclose(chunk["q"], q, atol=1e-4)


def test_shipped_structures(made: Made, root: Path, tmp_path: Path) -> None:
    made.modules["chignolin_structures"].main(made.pdb, tmp_path)
    native, extended = (mdtraj.load(tmp_path / f"chignolin_{state}_ca.pdb") for state in ("native", "unfolded"))
    shipped = mdtraj.load(root / "data" / "structures" / "chignolin_native_ca.pdb")
    assert [str(residue) for residue in native.topology.residues] == [str(r) for r in shipped.topology.residues]
    assert mdtraj.rmsd(native, shipped)[0] < 2e-3
    bonds = np.diff(extended.xyz[0], axis=0)
    np.testing.assert_allclose(np.linalg.norm(bonds, axis=1), 0.38, atol=2e-4)
    assert (tmp_path / "chignolin_unfolded_ca.pdb").read_bytes() == (
        root / "data" / "structures" / "chignolin_unfolded_ca.pdb"
    ).read_bytes()
