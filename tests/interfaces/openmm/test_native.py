"""The native force: the numbers of the Python path bit for bit, on every platform, and clear refusals."""

from __future__ import annotations

import copy
import functools
import math
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch

from flashmd.errors import ExtensionNotBuiltError, MissingDependencyError, OutputError
from flashmd.interfaces.model import LoadedModel, open_model
from flashmd.interfaces.molecule import system_of, types_of
from flashmd.interfaces.openmm import native
from flashmd.nn import SchNetConfig
from flashmd.potential import AtomicEnergies, SchNetPotential, SumPotential
from flashmd.potential.priors import HarmonicBonds
from flashmd.system import System
from tests.potential.build import chain, every_prior, schnet

openmm = pytest.importorskip("openmm")
ROOT = Path(__file__).resolve().parents[3]
DTYPES = ["float32", "float64"]
BOX = [[1.9, 0.0, 0.0], [0.4, 1.8, 0.0], [-0.3, 0.5, 1.7]]
"""Triclinic and in the reduced form that OpenMM asks for, nm."""
SMALL = [[0.9, 0.0, 0.0], [0.2, 0.85, 0.0], [-0.15, 0.25, 0.8]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def platforms() -> list[str]:
    return [openmm.Platform.getPlatform(index).getName() for index in range(openmm.Platform.getNumPlatforms())]


@dataclass(frozen=True)
class Case:
    """A model with a system at reasonable positions."""

    model: LoadedModel
    system: System

    @property
    def positions(self) -> np.ndarray:
        return self.system.positions.double().numpy()

    def expected(self, positions: np.ndarray, box: list[list[float]] | None = None) -> tuple[float, np.ndarray]:
        """Energy and forces of the Python path."""
        dtype = self.system.positions.dtype
        cell = None if box is None else torch.tensor(box, dtype=torch.float64).to(dtype)
        system = System.single(
            torch.tensor(positions, dtype=torch.float64).to(dtype),
            self.system.types,
            cell=cell,
            pbc=box is not None,
            interactions=self.system.interactions,
        )
        result = self.model.evaluate(system)
        return float(result.energy), result.forces.double().numpy()

    def force(self, **options: object) -> openmm.Force:
        return native.native_force(self.model, self.system, **options)


@functools.cache
def chignolin(dtype: str = "float32") -> Case:
    """Network and priors of a shipped model, open."""
    model = open_model("chignolin-ca", dtype=dtype)
    trajectory = mdtraj.load(str(ROOT / "data" / "structures" / "chignolin_native_ca.pdb"))
    system = system_of(trajectory.topology, model.potential, dtype=model.options.dtype)
    return Case(model, system.with_positions(torch.tensor(trajectory.xyz[0], dtype=model.options.dtype)))


@functools.cache
def atoms(dtype: str = "float32", n_atoms: int = 60, cutoff: float = 0.5) -> Case:
    """Energies of atoms and two networks of different reach, without lists."""
    terms = {"atoms": AtomicEnergies({number: -1000.1 * number for number in range(4)})}
    for seed, reach in enumerate((cutoff, 0.7 * cutoff)):
        config = SchNetConfig(
            n_types=4, n_channels=20, n_filters=16, n_basis=10, n_blocks=2, readout=(8,), cutoff_upper=reach
        )
        terms[f"network{seed}"] = SchNetPotential(config, seed=seed)
    model = open_model(SumPotential(terms), dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    ticks = torch.cartesian_prod(*3 * [torch.arange(math.ceil(n_atoms ** (1 / 3)), dtype=torch.float64)])[:n_atoms]
    positions = 0.2 * ticks + 0.03 * torch.randn(n_atoms, 3, generator=generator, dtype=torch.float64)
    types = torch.randint(0, 4, (n_atoms,), generator=generator)
    return Case(model, System.single(positions.to(model.options.dtype), types))


@functools.cache
def all_priors(dtype: str = "float32") -> Case:
    """Every class of priors beside a network."""
    model = open_model(SumPotential({"network": schnet(), **every_prior()}), dtype=dtype)
    return Case(model, chain(24, dtype=model.options.dtype))


def context(
    force: openmm.Force,
    positions: np.ndarray,
    *,
    box: list[list[float]] | None = None,
    platform: str = "Reference",
    integrator: openmm.Integrator | None = None,
) -> openmm.Context:
    system = openmm.System()
    for _ in range(len(positions)):
        system.addParticle(12.0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
    system.addForce(force)
    integrator = integrator or openmm.VerletIntegrator(0.001)
    made = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
    made.setPositions(positions)
    return made


def evaluated(made: openmm.Context) -> tuple[float, np.ndarray]:
    state = made.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def assert_same_bits(made: openmm.Context, expected: tuple[float, np.ndarray]) -> None:
    energy, forces = evaluated(made)
    assert energy == expected[0]
    assert np.array_equal(forces, expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [chignolin, atoms, all_priors])
def test_open_system_has_the_bits_of_the_python_path(make, dtype) -> None:
    case = make(dtype)
    made = context(case.force(), case.positions)
    assert_same_bits(made, case.expected(case.positions))
    moved = case.positions + np.random.default_rng(0).normal(0.0, 0.01, case.positions.shape)
    made.setPositions(moved)
    assert_same_bits(made, case.expected(moved))


@pytest.mark.parametrize("dtype", DTYPES)
def test_shipped_model_of_atoms_has_the_bits_of_the_python_path(dtype) -> None:
    model = open_model("organic-gfn2", dtype=dtype)
    methane = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.063
    types = types_of("CHHHH", model.potential)
    system = System.single(torch.tensor(methane, dtype=model.options.dtype), types)
    made = context(native.native_force(model, system), system.positions.double().numpy())
    assert_same_bits(made, Case(model, system).expected(methane))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("make", "box"), [(atoms, SMALL), (all_priors, BOX)])
def test_triclinic_box_has_the_bits_of_the_python_path(make, box, dtype) -> None:
    case = make(dtype)
    made = context(case.force(periodic=True), case.positions, box=box)
    expected = case.expected(case.positions, box)
    assert_same_bits(made, expected)
    assert expected[0] != case.expected(case.positions)[0], "some pair reaches over the edge of the box"


def test_other_images_of_atoms_are_accepted() -> None:
    case = atoms("float64")
    made = context(case.force(periodic=True), case.positions, box=SMALL)
    before = evaluated(made)
    shifts = np.random.default_rng(0).integers(-3, 4, case.positions.shape)
    made.setPositions(case.positions + shifts @ np.array(SMALL))
    after = evaluated(made)
    assert after[0] == pytest.approx(before[0], rel=1e-12)
    np.testing.assert_allclose(after[1], before[1], atol=1e-8 * np.abs(before[1]).max())


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int16"])
def test_layers_in_16_bits(precision, monkeypatch) -> None:
    case = all_priors()
    compiled = case.model.potential.compile(precision=precision, tolerance=0.1)
    monkeypatch.setattr(case.model, "new_evaluator", lambda: compiled)
    expected = compiled.evaluate(case.system)
    made = context(case.force(), case.positions)
    assert_same_bits(made, (float(expected.energy), expected.forces.double().numpy()))


def test_a_box_smaller_than_the_cutoff_holds_images() -> None:
    case = atoms("float64", n_atoms=8, cutoff=0.6)
    box = np.diag([0.45, 0.5, 0.47]).tolist()
    made = context(case.force(periodic=True), case.positions, box=box)
    assert_same_bits(made, case.expected(case.positions, box))


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_do_not_depend_on_the_number_of_threads(dtype) -> None:
    case = atoms(dtype, n_atoms=700, cutoff=0.9)
    made = context(case.force(threads=3), case.positions)
    assert_same_bits(made, case.expected(case.positions))


def test_results_do_not_depend_on_the_history_of_the_list() -> None:
    case = atoms(n_atoms=400, cutoff=0.8)
    travelled = context(case.force(periodic=True), case.positions, box=BOX)
    rng = np.random.default_rng(3)
    positions = case.positions
    for _ in range(30):
        positions = positions + rng.normal(0.0, 0.01, positions.shape)
        travelled.setPositions(positions)
        result = evaluated(travelled)
        fresh = context(case.force(periodic=True), positions, box=BOX)
        assert_same_bits(fresh, result)


def test_only_the_named_particles_feel_the_force() -> None:
    case = chignolin("float64")
    order = np.random.default_rng(0).permutation(25)[: len(case.positions)]
    positions = np.random.default_rng(1).uniform(5.0, 9.0, (25, 3))
    positions[order] = case.positions
    made = context(case.force(particles=order.tolist()), positions)
    energy, forces = evaluated(made)
    expected = case.expected(case.positions)
    assert energy == expected[0]
    assert np.array_equal(forces[order], expected[1])
    assert not forces[np.setdiff1d(np.arange(25), order)].any()


@pytest.mark.parametrize("box", [None, BOX])
def test_forces_are_the_gradient_of_the_energy(box) -> None:
    case = all_priors("float64")
    made = context(case.force(periodic=box is not None), case.positions, box=box)
    forces = evaluated(made)[1]
    direction = np.random.default_rng(0).normal(size=case.positions.shape)
    step, energies = 1e-5, []
    for sign in (1, -1):
        made.setPositions(case.positions + sign * step * direction)
        energies.append(evaluated(made)[0])
    slope = (energies[0] - energies[1]) / (2 * step)
    assert slope == pytest.approx(-(forces * direction).sum(), rel=1e-6)


@pytest.mark.parametrize("platform", platforms())
def test_every_platform(platform) -> None:
    case = chignolin()
    made = context(case.force(), case.positions, platform=platform)
    energy, forces = evaluated(made)
    expected = case.expected(case.positions)
    assert energy == pytest.approx(expected[0], rel=1e-5)
    np.testing.assert_allclose(forces, expected[1], atol=2e-5 * np.abs(expected[1]).max())
    made.getIntegrator().step(10)
    assert np.isfinite(evaluated(made)[1]).all()


def test_xml_and_copies_keep_everything(tmp_path) -> None:
    case = chignolin()
    file = tmp_path / "a & b <é>.flashmd"
    force = case.force(particles=range(1, 11), periodic=True, force_group=7, threads=2, compiled_file=file)
    force.setName("fold")
    text = openmm.XmlSerializer.serialize(force)
    assert len(text) < 1000
    again = openmm.XmlSerializer.deserialize(text)
    assert openmm.XmlSerializer.serialize(again) == text
    assert openmm.XmlSerializer.serialize(copy.deepcopy(force)) == text
    assert (again.getName(), again.getForceGroup(), again.usesPeriodicBoundaryConditions()) == ("fold", 7, True)
    positions = np.concatenate([[[5.0, 5.0, 5.0]], case.positions])
    box = np.diag([9.0, 9.0, 9.0]).tolist()
    results = [evaluated(context(each, positions, box=box)) for each in (force, again)]
    assert results[0][0] == results[1][0] != 0.0
    assert np.array_equal(results[0][1], results[1][1])


def test_system_with_the_force_is_copied() -> None:
    case = chignolin()
    made = context(case.force(), case.positions)
    system = copy.deepcopy(made.getSystem())
    other = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    other.setPositions(case.positions)
    assert_same_bits(other, evaluated(made))


def test_two_contexts_in_two_threads() -> None:
    case = chignolin()
    force = case.force()

    velocities = np.random.default_rng(0).normal(0.0, 0.1, case.positions.shape)

    def run(_: int) -> np.ndarray:
        made = context(copy.deepcopy(force), case.positions)
        made.setVelocities(velocities)
        made.getIntegrator().step(500)
        return made.getState(positions=True).getPositions(asNumpy=True)._value

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(first, run(0))


def test_checkpoint_continues_bit_by_bit() -> None:
    case = chignolin()

    def start() -> openmm.Context:
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
        integrator.setRandomNumberSeed(5)
        return context(case.force(), case.positions, integrator=integrator)

    def positions(made: openmm.Context) -> np.ndarray:
        return made.getState(positions=True).getPositions(asNumpy=True)._value

    whole, other = start(), start()
    whole.getIntegrator().step(100)
    state = whole.createCheckpoint()
    whole.getIntegrator().step(100)
    other.loadCheckpoint(state)
    other.getIntegrator().step(100)
    assert np.array_equal(positions(whole), positions(other))


def test_barostat_changes_the_box() -> None:
    case = atoms(n_atoms=64)
    box = np.diag([1.2, 1.2, 1.2]).tolist()
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.0005)
    system = openmm.System()
    for _ in range(64):
        system.addParticle(12.0)
    system.setDefaultPeriodicBoxVectors(*box)
    system.addForce(case.force(periodic=True))
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0, 5))
    made = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    made.setPositions(case.positions)
    integrator.step(200)
    state = made.getState(positions=True)
    new = state.getPeriodicBoxVectors(asNumpy=True)._value
    assert new[0, 0] != 1.2
    assert_same_bits(made, case.expected(state.getPositions(asNumpy=True)._value, new.tolist()))


def test_minimiser() -> None:
    case = chignolin()
    made = context(case.force(), case.positions)
    before = evaluated(made)[0]
    openmm.LocalEnergyMinimizer.minimize(made, 1.0, 50)
    assert evaluated(made)[0] < before


def test_mixture_of_two_states() -> None:
    """The force inside a CustomCVForce, as alchemical interpolation uses it."""
    case = chignolin()
    mixture = openmm.CustomCVForce("weight * model")
    mixture.addGlobalParameter("weight", 0.25)
    mixture.addCollectiveVariable("model", case.force())
    energy, forces = evaluated(context(mixture, case.positions))
    expected = case.expected(case.positions)
    assert energy == 0.25 * expected[0]
    np.testing.assert_allclose(forces, 0.25 * expected[1], rtol=1e-12)


def test_the_model_as_slow_force_of_two() -> None:
    case = chignolin()
    integrator = openmm.MTSLangevinIntegrator(300.0, 1.0, 0.002, [(0, 4), (1, 1)])
    made = context(case.force(force_group=1), case.positions, integrator=integrator)
    integrator.step(20)
    assert np.isfinite(evaluated(made)[1]).all()


def test_equal_forces_share_a_file_in_the_cache(tmp_path) -> None:
    case = chignolin()
    case.force()
    (file,) = native.cache_folder().iterdir()
    assert file.parent == tmp_path / "cache" / "flashmd"
    before = file.stat().st_mtime_ns
    chignolin.__wrapped__().force()
    assert file.stat().st_mtime_ns == before
    file.write_bytes(b"damaged")
    assert_same_bits(context(case.force(), case.positions), case.expected(case.positions))


def refusal(force: openmm.Force, n_particles: int = 10) -> str:
    with pytest.raises(openmm.OpenMMException) as caught:
        context(force, np.zeros((n_particles, 3)))
    return str(caught.value)


def test_missing_file(tmp_path) -> None:
    file = tmp_path / "model.flashmd"
    force = chignolin().force(compiled_file=file)
    file.unlink()
    assert refusal(force) == (
        f"FlashMDForce: compiled model '{file}': expected a readable file, got No such file or directory. To fix it, "
        "export the potential again, or pass the path of the file."
    )


def test_changed_file(tmp_path) -> None:
    file = tmp_path / "model.flashmd"
    force = chignolin().force(compiled_file=file)
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    text = refusal(force)
    assert re.search(r"expected the file with the SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}\. To fix it, restore", text)


def without_hash(force: openmm.Force) -> openmm.Force:
    text = re.sub('sha256="[0-9a-f]*"', 'sha256=""', openmm.XmlSerializer.serialize(force))
    return openmm.XmlSerializer.deserialize(text)


def shortened(data: bytes) -> bytes:
    return data[:-1000]


def other_version(data: bytes) -> bytes:
    return data[:8] + (2).to_bytes(8, "little") + data[16:]


def other_kind(data: bytes) -> bytes:
    return b"PK" + data[2:]


def renamed(data: bytes) -> bytes:
    return data.replace(b"term0.table", b"term0.tible")


def misplaced(data: bytes) -> bytes:
    entry = data.index(b"model.types")
    return data[: entry + 48] + (10**9).to_bytes(8, "little") + data[entry + 56 :]


def longer_directory(data: bytes) -> bytes:
    return data[:16] + (10**6).to_bytes(8, "little") + data[24:]


def two_cutoffs(data: bytes) -> bytes:
    entry = data.index(b"term0.cutoff")
    return data[: entry + 56] + (2).to_bytes(8, "little") + data[entry + 64 :]


DAMAGES = {
    longer_directory: "expected a directory within the file, got a longer one.",
    two_cutoffs: "expected one number as 'term0.cutoff', got 2.",
    shortened: "so it is truncated or too long. To fix it, export the potential again.",
    other_version: "expected version 1 of the format, got 2. To fix it, export the potential with the flashmd that",
    other_kind: "expected a compiled potential of flashmd, got a file of another kind.",
    renamed: "expected the array 'term0.table' of a known type, got none.",
    misplaced: "expected arrays within the file, got others.",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file(damage, tmp_path) -> None:
    file = tmp_path / "model.flashmd"
    force = without_hash(chignolin().force(compiled_file=file))
    file.write_bytes(damage(file.read_bytes()))
    assert DAMAGES[damage] in refusal(force)


def test_damaged_numbers_never_reach_beyond_the_arrays(tmp_path) -> None:
    """Whatever is written over the integers of a file, it is refused or evaluated."""
    case = chignolin()
    file = tmp_path / "model.flashmd"
    force = without_hash(case.force(compiled_file=file))
    intact = file.read_bytes()
    rng = np.random.default_rng(0)
    names = [b"model.types", b"term0.sizes", b"priors.index", b"priors.sections", b"priors.ranges", b"priors.slab_ptr"]
    refused = 0
    for name in names:
        entry = intact.index(name)
        offset, count = (int.from_bytes(intact[entry + at : entry + at + 8], "little") for at in (48, 56))
        width = 4 if name == b"priors.index" else 8
        for value in (-1, 10**6, -(2**31), 3):
            place = offset + width * int(rng.integers(count))
            file.write_bytes(intact[:place] + value.to_bytes(width, "little", signed=True) + intact[place + width :])
            try:
                evaluated(context(copy.deepcopy(force), case.positions))
            except openmm.OpenMMException as error:
                refused += "of consistent sizes, got others. To fix it, export the potential again." in str(error)
    assert refused > len(names)


def test_wrong_number_of_particles() -> None:
    case = chignolin()
    assert refusal(case.force(), 11) == (
        "FlashMDForce: particles of model 'chignolin_ca.safetensors': expected 10, got 11. To fix it, pass the "
        "particles that the compiled model was made for."
    )
    text = "expected different ones of the 10 of the system, got others. To fix it, list each particle once."
    assert text in refusal(case.force(particles=[0] * 10))
    assert text in refusal(case.force(particles=range(1, 11)))


def test_no_threads() -> None:
    text = "number of threads: expected at least 1, got 0. To fix it, pass a positive number."
    assert text in refusal(chignolin().force(threads=0))


def test_position_that_is_no_number() -> None:
    case = chignolin()
    made = context(case.force(particles=range(1, 11)), np.concatenate([[[5.0, 5.0, 5.0]], case.positions]))
    made.getIntegrator().step(3)
    broken = np.concatenate([[[5.0, 5.0, 5.0]], case.positions])
    broken[4] = np.nan
    made.setPositions(broken)
    with pytest.raises(openmm.OpenMMException) as caught:
        evaluated(made)
    assert str(caught.value) == (
        "FlashMDForce with model 'chignolin_ca.safetensors' at step 3: positions of particle 4: expected finite "
        "numbers within 10^9 cells, got others. To fix it, reduce the time step, or repair the coordinates."
    )
    made.setPositions(np.concatenate([[[5.0, 5.0, 5.0]], case.positions]))
    assert evaluated(made)[0] == case.expected(case.positions)[0]


def test_force_that_is_no_number() -> None:
    """Two beads in one place: the repulsion between them is infinite."""
    case = chignolin()
    broken = case.positions.copy()
    broken[6] = broken[2]
    made = context(case.force(), broken)
    with pytest.raises(openmm.OpenMMException) as caught:
        evaluated(made)
    assert re.fullmatch(
        r"FlashMDForce with model 'chignolin_ca.safetensors' at step 0: force on particle 2: expected finite numbers, "
        r"got others \(largest finite force [\d.]+ kJ/mol/nm\)\. To fix it, reduce the time step, or check that the "
        r"model covers these configurations\.",
        str(caught.value),
    )


def test_box_that_is_no_number() -> None:
    case = atoms()
    made = context(case.force(periodic=True), case.positions, box=SMALL)
    made.setPeriodicBoxVectors([math.nan, 0.0, 0.0], [0.0, math.nan, 0.0], [0.0, 0.0, math.nan])
    with pytest.raises(openmm.OpenMMException) as caught:
        evaluated(made)
    assert str(caught.value) == (
        "FlashMDForce with model 'sum' at step 0: the periodic box: expected independent box vectors, got singular "
        "ones. To fix it, set the box, or use no periodic one."
    )


def test_unknown_version_of_the_xml() -> None:
    native.load_plugin()
    with pytest.raises(openmm.OpenMMException, match="expected version 1, got 2. To fix it, use the flashmd that"):
        openmm.XmlSerializer.deserialize('<Force type="FlashMDForce" version="2"/>')


def test_model_that_is_not_compiled() -> None:
    case = chignolin()
    model = open_model("chignolin-ca", backend="reference")
    text = "`model`: expected a compiled model, got backend 'reference'. To fix it, open the model with "
    with pytest.raises(ValueError, match=re.escape(text)):
        native.native_force(model, case.system)


class OwnBonds(HarmonicBonds):
    """A prior of another package."""


def test_terms_that_the_engine_does_not_know(monkeypatch) -> None:
    case = chignolin()
    exact = case.model.potential.compile(filters="network")
    monkeypatch.setattr(case.model, "new_evaluator", lambda: exact)
    text = (
        "term 'SchNet': expected a network with tabulated filters, compiled for the CPU, got ExactNetwork. To fix it, "
        "evaluate this potential through Python."
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        case.force()
    bonds = OwnBonds("own", (torch.tensor([[1, 1]]), {"k": torch.ones(1), "x0": torch.ones(1)}))
    pair = System.single(torch.zeros(2, 3), torch.ones(2), interactions={"own": torch.tensor([[0, 1]])})
    text = (
        "term 'own': expected a prior with a compiled kernel, got OwnBonds. To fix it, evaluate this potential through"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        native.native_force(open_model(bonds), pair)


def test_another_process_writes_the_same_file_meanwhile(monkeypatch) -> None:
    def lose_the_race(file: Path, data: bytes, *, advice: str) -> None:
        file.write_bytes(data)
        raise OutputError(advice)

    monkeypatch.setattr(native, "write_atomically", lose_the_race)
    case = chignolin()
    assert_same_bits(context(case.force(), case.positions), case.expected(case.positions))


def test_openmm_is_not_installed(monkeypatch) -> None:
    case = chignolin()
    native.load_plugin.cache_clear()
    monkeypatch.setitem(sys.modules, "openmm", None)
    with pytest.raises(MissingDependencyError, match=re.escape("install it with `pip install flashmd-cg[openmm]`")):
        case.force()


def test_openmm_is_too_old(monkeypatch) -> None:
    native.load_plugin.cache_clear()
    monkeypatch.setattr(openmm.version, "version", "8.6.0")
    with pytest.raises(MissingDependencyError, match=re.escape("expected version 8.6.1 or newer, got 8.6.0")):
        native.load_plugin()


def test_several_systems() -> None:
    case = chignolin()
    with pytest.raises(ValueError, match="`system`: expected one system, got 2. To fix it, export one file for each."):
        native.native_force(case.model, case.system.replicate(2))


def test_folder_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="make the force again, or pass another `compiled_file`"):
        chignolin().force(compiled_file=tmp_path / "file" / "model.flashmd")


def test_plugin_is_not_built(tmp_path, monkeypatch) -> None:
    case = chignolin()
    native.load_plugin.cache_clear()
    monkeypatch.setattr(native, "PLUGIN", tmp_path / "libOpenMMFlashMD.so")
    with pytest.raises(ExtensionNotBuiltError) as caught:
        case.force()
    assert str(caught.value) == (
        "`libOpenMMFlashMD.so`: expected the plugin for OpenMM, got no such file. To fix it, build flashmd in an "
        "environment in which OpenMM is installed (`make setup`)."
    )
