"""What cannot work is refused when the force is made, with what to do about it; and beads as OpenMM sees them."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openmm
import openmm.app
import pytest
import torch

from flashmd.cg import CGStructure, build_system, map_structure
from flashmd.errors import CheckpointError, ExtensionNotBuiltError, OutputError
from flashmd.interfaces.model import LoadedModel, open_model
from flashmd.interfaces.openmm import coarse_grain, create_force, create_system, force
from flashmd.interfaces.openmm.native import load_plugin
from flashmd.interfaces.openmm.particles import Molecule
from flashmd.system import System

from .build import NATIVE, network, symbols_of, topology_of


@pytest.mark.parametrize(
    ("particles", "text"),
    [
        ([0, 25], r"`particles`: expected indices from 0 to 7, the particles of the topology, got 25"),
        ([-1], r"`particles`: expected indices from 0 to 7, the particles of the topology, got -1"),
        ([1, 2, 1], r"`particles`: expected at least one index and each once, got the same index twice"),
        ([], r"`particles`: expected at least one index and each once, got none"),
    ],
)
def test_particles_that_the_topology_has_not(organic: LoadedModel, particles: list[int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        create_force(organic, topology_of(symbols_of(8)), particles=particles)


def test_particles_that_are_no_indices(organic: LoadedModel) -> None:
    mask = np.array([True, True, False, False, False, False, False, False])
    with pytest.raises(TypeError, match=r"`particles`: expected integers, got .*True.*numpy\.flatnonzero"):
        create_force(organic, topology_of(symbols_of(8)), particles=mask)
    with pytest.raises(TypeError, match="`particles`: expected integers, got 0.5"):
        create_force(organic, topology_of(symbols_of(8)), particles=[1, 0.5])


@pytest.mark.parametrize("backend", ["native", "python"])
def test_particles_from_a_generator(organic: LoadedModel, backend: str) -> None:
    """They are read more than once."""
    topology = topology_of(symbols_of(8))
    text = openmm.XmlSerializer.serialize(create_force(organic, topology, particles=iter([5, 2]), backend=backend))
    again = openmm.XmlSerializer.serialize(create_force(organic, topology, particles=[5, 2], backend=backend))
    assert text == again


@pytest.mark.parametrize("option", ["cutoff", "particles"])
def test_options_that_a_system_has_not(organic: LoadedModel, option: str) -> None:
    with pytest.raises(TypeError, match=f"options: expected some of force_group, periodic, .*, got `{option}`"):
        create_system(topology_of(["O"]), organic, **{option: [0]})


def test_particles_of_a_system(organic: LoadedModel) -> None:
    given = System.single(torch.zeros(3, 3), torch.tensor([8, 1, 1]))
    with pytest.raises(ValueError, match="`particles`: expected 3 indices, got 2"):
        create_force(organic, given, particles=[4, 5])
    with pytest.raises(ValueError, match="`topology`: expected a batch of one system, got 2 systems"):
        create_force(organic, given.replicate(2))
    slab = System.single(torch.zeros(3, 3), given.types, cell=torch.eye(3), pbc=[True, True, False])
    with pytest.raises(ValueError, match="`pbc` of the topology: expected all directions or none, got some of them"):
        create_force(organic, slab)


def test_unknown_elements(organic: LoadedModel) -> None:
    topology = topology_of(["C", "S", "H"])
    with pytest.raises(ValueError, match=r"atom 1 \(S1 of MOL 1\): expected an element of H, C, N, O, got 'S'"):
        create_system(topology, organic)
    create_force(organic, topology, particles=[2, 0])
    beads, _ = coarse_grain(NATIVE)
    with pytest.raises(ValueError, match=r"atom 0 \(CA of TYR \d+\): expected an element of H, C, N, O, got None"):
        create_system(beads, organic)


def test_unknown_beads(chignolin: LoadedModel) -> None:
    with pytest.raises(ValueError, match="the structure: expected at least one amino acid, got none"):
        create_system(topology_of(["O", "H", "H"], residue="HOH"), chignolin)
    topology, _ = coarse_grain(NATIVE)
    *_, residue = topology.residues()
    topology.addAtom("CB", openmm.app.element.carbon, residue)
    with pytest.raises(ValueError, match=r"particle 10 \(CB of TYR\d+\): expected a bead of resolution 'ca', got none"):
        create_system(topology, chignolin)


def test_beads_that_the_model_was_not_made_for(chignolin: LoadedModel) -> None:
    topology = openmm.app.Topology()
    chain = topology.addChain()
    for number in range(3):
        topology.addAtom("CA", None, topology.addResidue("CYS", chain, id=str(number + 1)))
    with pytest.raises(
        ValueError, match=r"HarmonicBonds 'bonds': expected parameters of every listed term, got types \(2, 2\)"
    ):
        create_system(topology, chignolin)


@pytest.mark.parametrize("mass", [0.0, -1.0, float("nan")])
def test_missing_masses(organic: LoadedModel, mass: float) -> None:
    given = System.single(torch.zeros(2, 3), torch.tensor([8, 1]), masses=torch.tensor([16.0, mass]))
    with pytest.raises(ValueError, match=r"the mass of particle 1: expected a positive number, got"):
        create_system(given, organic)


def test_options(organic: LoadedModel) -> None:
    topology = topology_of(["O"])
    with pytest.raises(ValueError, match="`backend`: expected one of auto, native, python, torch, got 'fast'"):
        create_force(organic, topology, backend="fast")
    with pytest.raises(ValueError, match="`force_group`: expected 0 to 31, got 32"):
        create_force(organic, topology, force_group=32)
    with pytest.raises(TypeError, match=r"`topology`: expected an openmm.app.Topology or a flashmd.System, got str"):
        create_system("protein.pdb", organic)
    with pytest.raises(CheckpointError, match="the model: expected a file or one of"):
        create_force("no-such-model", topology)
    with pytest.raises(ValueError, match="`dtype`: expected 'float32' or 'float64', got 'half'"):
        create_force(network(), topology, dtype="half")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda() -> None:
    with pytest.raises(ValueError, match="`device`: expected a device that torch can use, got 'cuda'"):
        create_system(topology_of(["O"]), network(), device="cuda")


def test_native_where_it_cannot_be() -> None:
    topology = topology_of(["O"])
    with pytest.raises(ValueError, match="`model`: expected a compiled model, got backend 'kernel'"):
        create_force(open_model(network(), backend="kernel"), topology, backend="native")
    on_gpu = SimpleNamespace(model=SimpleNamespace(options=SimpleNamespace(device=torch.device("cuda"))))
    with pytest.raises(ValueError, match="`device`: expected 'cpu' for `backend='native'`, got 'cuda'"):
        force._native_force(on_gpu, None, 0)


def test_native_that_is_not_built(organic: LoadedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("flashmd.interfaces.openmm.native.PLUGIN", tmp_path / "plugin.so")
    load_plugin.cache_clear()
    with pytest.raises(ExtensionNotBuiltError, match="`plugin.so`: expected the plugin for OpenMM, got no such file"):
        create_force(organic, topology_of(["O"]), backend="native")
    load_plugin.cache_clear()


def test_a_cache_that_cannot_be_written(organic: LoadedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The plugin is left for Python, but not in silence; on request it is an error."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match=r"writing .*\.flashmd: .* Meanwhile the force runs through Python\."):
        force = create_force(organic, topology_of(["O"]))
    assert isinstance(force, openmm.PythonForce)
    with pytest.raises(OutputError, match=r"writing .*\.flashmd: expected a disk with room to write to"):
        create_force(organic, topology_of(["O"]), backend="native")


@pytest.mark.parametrize("resolution", ["ca", "five_bead"])
def test_coarse_graining(shared_data: Path, resolution: str) -> None:
    file = shared_data / "fast_folders" / "native" / "chignolin_cln025.pdb"
    if not file.is_file():
        pytest.skip(f"{file.name} is not there")
    structure = map_structure(file, resolution)
    topology, positions = coarse_grain(file, resolution)
    n_residues = len(structure.sequence)
    assert topology.getNumAtoms() == structure.n_beads
    assert [residue.name for residue in topology.residues()] == list(structure.sequence)
    # A chain of five-bead residues is a tree: N, CA, C, O and CB.
    assert topology.getNumBonds() == (n_residues if resolution == "ca" else structure.n_beads) - 1
    assert all(atom.element is None for atom in topology.atoms())
    np.testing.assert_allclose(positions.value_in_unit(openmm.unit.nanometer), structure.positions[0], atol=1e-7)
    written = io.StringIO()
    openmm.app.PDBFile.writeFile(topology, positions, written)
    assert written.getvalue().count("ATOM") == structure.n_beads


def test_a_structure_keeps_its_resolution_and_gaps() -> None:
    structure = map_structure(NATIVE)
    assert isinstance(structure, CGStructure)
    topology, _ = coarse_grain(structure, "five_bead")
    assert topology.getNumAtoms() == 10
    numbers = [residue.id for residue in topology.residues()]
    assert numbers == [str(number) for number in structure.residue_ids]


def test_names_survive_the_way_through_openmm(chignolin: LoadedModel) -> None:
    """Types, masses and lists are those of `build_system`, also for residues without a number."""
    topology, _ = coarse_grain(NATIVE)
    molecule = Molecule.of(topology, None)
    expected = build_system(map_structure(NATIVE), dtype=torch.float64)
    system = molecule.system(chignolin)
    assert torch.equal(system.types, expected.types)
    assert torch.equal(system.masses, expected.masses)
    assert all(torch.equal(system.interactions[name], terms) for name, terms in expected.interactions.items())
    for residue in topology.residues():
        residue.id = "?"
    unnumbered = Molecule.of(topology, None).system(chignolin)
    assert torch.equal(unnumbered.interactions["bonds"], expected.interactions["bonds"])


def test_order_of_beads(chignolin: LoadedModel) -> None:
    """A force may see the beads in another order than the topology; its terms follow."""
    topology, _ = coarse_grain(NATIVE)
    order = [3, 0, 9, 8, 7, 6, 5, 4, 2, 1]
    plain = Molecule.of(topology, None).system(chignolin)
    mixed = Molecule.of(topology, order).system(chignolin)
    assert torch.equal(mixed.types, plain.types[order])
    for name, terms in plain.interactions.items():
        assert torch.equal(torch.tensor(order)[mixed.interactions[name]], terms)
