"""Models behind interfaces: the same numbers wherever they are opened, and the same file or an error."""

from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mdtraj
import pytest
import torch

from flashmd.errors import CheckpointError
from flashmd.interfaces.model import open_model
from flashmd.interfaces.molecule import system_of, types_of
from flashmd.nn import SchNetConfig
from flashmd.potential import SchNetPotential, load, save
from flashmd.potential.compiled.samples import draw_samples, errors_of
from flashmd.potential.resolution import particles_of
from flashmd.system import System

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "data" / "structures" / "chignolin_native_ca.pdb"
ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8}
WITHIN = 1e-5  # default relative force error of a compiled model


def small_network(seed: int = 0) -> SchNetPotential:
    config = SchNetConfig(
        n_types=9, n_channels=16, n_filters=16, n_basis=12, n_blocks=2, readout=(8,), cutoff_upper=0.5
    )
    return SchNetPotential(config, seed=seed, bead_types=ELEMENTS)


def chignolin(dtype: torch.dtype = torch.float32) -> System:
    trajectory = mdtraj.load(str(NATIVE))
    system = system_of(trajectory.topology, load("chignolin-ca"), dtype=dtype)
    return system.with_positions(torch.tensor(trajectory.xyz[0], dtype=dtype))


@pytest.mark.parametrize("backend", ["compiled", "kernel", "reference"])
def test_backends_agree(backend: str) -> None:
    system = chignolin(torch.float64)
    exact = load("chignolin-ca", dtype=torch.float64).evaluate(system)
    result = open_model("chignolin-ca", dtype="float64", backend=backend).evaluate(system)
    assert (result.forces - exact.forces).norm() <= WITHIN * exact.forces.norm()


def test_reference_runs_without_kernels() -> None:
    model = open_model(small_network(), backend="reference")
    network = model._pristine
    assert (network.backend, network.verlet_list.backend) == ("reference", "reference")


def test_standard_cluster_stands_for_molecules() -> None:
    """A model compiled without a structure is as accurate on one as it says."""
    model = load("chignolin-ca", dtype=torch.float64)
    (network,) = (term for term in model.potentials.values() if isinstance(term, SchNetPotential))
    (compiled,) = model.to(torch.float32).compile()._terms.values()
    samples = draw_samples(network.network.double(), chignolin(), n_atoms=256, seed=3, backend="kernel")
    assert errors_of(compiled.evaluator, samples)[0] <= WITHIN


def test_compiling_without_template_follows_from_the_model() -> None:
    system = chignolin()
    first, second = (load("chignolin-ca").compile().evaluate(system) for _ in range(2))
    assert torch.equal(first.forces, second.forces)
    assert torch.equal(first.energy, second.energy)


def test_cut_repulsion_needs_a_template() -> None:
    with pytest.raises(ValueError, match="`template`: expected frames on which to measure a cut repulsion"):
        load("chignolin-ca").compile(repulsion_cutoff=0.8)


def test_a_file_travels_by_path_and_hash(tmp_path: Path) -> None:
    save(small_network(), tmp_path / "model.safetensors")
    model = open_model(tmp_path / "model.safetensors")
    sent = pickle.dumps(model)
    assert len(sent) < 2000
    system = System.single(torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) * 0.4, torch.full((5,), 6))
    assert torch.equal(pickle.loads(sent).evaluate(system).forces, model.evaluate(system).forces)
    save(small_network(seed=1), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="expected sha256"):
        pickle.loads(sent)


def test_a_potential_travels_by_value() -> None:
    model = open_model(small_network(), dtype="float64")
    again = pickle.loads(pickle.dumps(model))
    system = System.single(torch.eye(3, dtype=torch.float64) * 0.2, torch.tensor([1, 6, 8]))
    assert torch.equal(again.evaluate(system).forces, model.evaluate(system).forces)
    assert (again.path, again.sha256, again.name) == (None, None, "SchNet")


def test_copies_have_lists_of_their_own() -> None:
    model, system = open_model("chignolin-ca"), chignolin()
    twin = copy.deepcopy(model)
    assert twin.potential is model.potential
    assert twin._evaluator is not model._evaluator
    far = system.with_positions(system.positions * 1.5)
    expected = model.evaluate(system).forces
    twin.evaluate(far)
    assert torch.equal(twin.evaluate(system).forces, expected)


@pytest.mark.parametrize("backend", ["compiled", "kernel", "reference"])
def test_energies_of_atoms_sum_to_the_energy(backend: str) -> None:
    model, system = open_model("chignolin-ca", dtype="float64", backend=backend), chignolin(torch.float64)
    shares = model.atom_energies(system)
    assert (shares.dtype, shares.shape, shares.requires_grad) == (torch.float64, (10,), False)
    assert float(shares.sum()) == pytest.approx(float(model.evaluate(system).energy), rel=1e-12)


@pytest.mark.parametrize("backend", ["kernel", "reference"])
def test_exact_backends_keep_no_pairs_beyond_the_cutoff(backend: str) -> None:
    """Their rounding would depend on when the list was built."""
    model = open_model(small_network(), backend=backend)
    assert model._pristine.verlet_list.skin == 0.0


def test_the_given_potential_is_left_alone() -> None:
    potential = small_network()
    open_model(potential, dtype="float64", backend="reference")
    assert (potential.network.embedding.weight.dtype, potential.backend) == (torch.float32, "kernel")


def test_threads_get_the_same_numbers() -> None:
    model, system = open_model(small_network()), chignolin()
    system = System.single(system.positions * 0.3, torch.full((system.n_atoms,), 6))
    expected = model.evaluate(system)
    with ThreadPoolExecutor(4) as pool:
        shared = list(pool.map(lambda _: model.evaluate(system).forces, range(16)))
        own = list(pool.map(lambda _: model.new_evaluator().evaluate(system).forces, range(4)))
    assert all(torch.equal(forces, expected.forces) for forces in [*shared, *own])


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`backend`: expected one of compiled, kernel, reference, got 'fast'"):
        open_model(small_network(), backend="fast")
    with pytest.raises(ValueError, match=r"`dtype`: expected 'float32' or 'float64', got 'half'"):
        open_model(small_network(), dtype="half")
    with pytest.raises(ValueError, match=r"`device`: expected a device that torch can use, got 'teapot'"):
        open_model(small_network(), device="teapot")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda() -> None:
    with pytest.raises(ValueError, match=r"`device`: expected a device that torch can use, got 'cuda'"):
        open_model(small_network(), device="cuda")


def test_neither_file_nor_potential() -> None:
    with pytest.raises(TypeError, match=r"`model`: expected a model file or a potential, got Linear\. To fix it, pass"):
        open_model(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_elements() -> None:
    assert types_of(["O", "H", "H"], small_network()).tolist() == [8, 1, 1]
    with pytest.raises(ValueError, match=re.escape("atom 1: expected an element of H, C, N, O, got 'S'")):
        types_of(["H", "S"], small_network())


def test_particles_without_beads() -> None:
    topology = mdtraj.load(str(NATIVE)).topology
    topology.add_atom("CB", mdtraj.element.carbon, topology.residue(3))
    with pytest.raises(ValueError, match=r"particle \d+ \(CB of \w+\): expected a bead of resolution 'ca', got none"):
        system_of(topology, load("chignolin-ca"), dtype=torch.float32)


def test_particles_of_models() -> None:
    assert particles_of(load("chignolin-ca")) == "ca"
    assert particles_of(small_network()) == "atoms"
    nameless = SchNetPotential(small_network().config)
    with pytest.raises(ValueError, match="the resolution of the model: expected one that its terms imply, got SchNet"):
        particles_of(nameless)
