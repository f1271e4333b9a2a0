"""What the calculator of this package does beyond what every calculator must: units, beads, batches, bad input."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import BFGS

from flashmd.cg import CA_TYPES, FIVE_BEAD_TYPES, map_structure
from flashmd.errors import CheckpointError, MissingDependencyError
from flashmd.interfaces.ase import FlashMDCalculator, beads_to_atoms
from flashmd.nn import SchNetConfig
from flashmd.potential import Potential, SchNetPotential, SumPotential, load, save
from flashmd.potential.priors import HarmonicBonds
from flashmd.system import System
from tests.interfaces.ase.subjects import ELEMENTS, NATIVE, ROOT, beads, calculator, molecules, network, real_molecules

EV = 96.48533212331001  # kJ/mol
ENERGY_ROUNDING = 1e-12


def with_calculator(atoms: Atoms, model: str = "atoms", dtype: str = "float64") -> Atoms:
    atoms.calc = copy.deepcopy(calculator(model, dtype))
    return atoms


def chignolin() -> Atoms:
    return with_calculator(beads_to_atoms(NATIVE), "chignolin")


def test_units() -> None:
    """Energies, forces and the virial of the potential, converted by hand."""
    atoms = with_calculator(molecules()["triclinic"])
    model = network(9, 0.5, ELEMENTS, 40.0).double()
    types = torch.tensor([ELEMENTS[symbol] for symbol in atoms.symbols])
    cell = torch.tensor(atoms.cell.array / 10.0)
    system = System.single(torch.tensor(atoms.positions / 10.0), types, cell=cell, pbc=True)
    result = model.compile(system).evaluate(system, virial=True)
    assert result.virial is not None
    assert atoms.get_potential_energy() == pytest.approx(float(result.energy) / EV, rel=1e-6)
    np.testing.assert_allclose(atoms.get_forces(), result.forces.numpy() / 10.0 / EV, atol=1e-5)
    expected = result.virial[0].numpy() / EV / atoms.get_volume()
    np.testing.assert_allclose(atoms.get_stress(voigt=False), expected, atol=1e-7)


def test_stress_is_evaluated_where_it_is_asked_for() -> None:
    atoms = with_calculator(molecules()["cubic"])
    calc = atoms.calc
    atoms.get_forces()
    assert ("stress" in calc.results, calc.n_evaluations) == (False, 1)
    atoms.get_stress()
    assert calc.n_evaluations == 2
    # Who asks in every step, as a barostat does, pays for one evaluation.
    for step in range(3):
        atoms.positions[0, 0] += 0.01
        atoms.get_forces()
        atoms.get_stress()
        assert calc.n_evaluations == 3 + step
    atoms.positions[0, 0] += 0.01
    atoms.get_forces()
    atoms.positions[0, 0] += 0.01
    atoms.get_forces()
    assert "stress" not in calc.results


def test_cell_filters_evaluate_once_a_step() -> None:
    atoms = with_calculator(molecules()["cubic"])
    steps: list[int] = []
    search = BFGS(FrechetCellFilter(atoms), logfile=None, maxstep=0.01)
    search.attach(lambda: steps.append(atoms.calc.n_evaluations))
    search.run(fmax=1e-9, steps=6)
    assert np.diff(steps).tolist() == [1] * 6


def test_the_list_is_kept_and_energies_are_not_made_unasked() -> None:
    atoms = with_calculator(molecules()["cubic"])
    (network_term,) = atoms.calc.model._evaluator._terms.values()
    for _ in range(5):
        atoms.positions[0] += 0.02
        atoms.get_forces()
    assert network_term.verlet_list.n_builds == 1
    assert "energies" not in atoms.calc.results


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stress", [False, True])
def test_batches_are_loops_bitwise(dtype: str, stress: bool) -> None:
    images = [atoms for name, atoms in molecules().items() if name != "open" or not stress]
    images += [images[-1].copy(), molecules()["cubic"][:1]]
    images[-2].positions += 0.01
    together = calculator("atoms", dtype).batch(images, stress=stress)
    assert len(together) == len(images)
    for atoms, found in zip(images, together, strict=True):
        one = with_calculator(atoms, "atoms", dtype)
        assert found["energy"] == found["free_energy"] == one.get_potential_energy()
        np.testing.assert_array_equal(found["forces"], one.get_forces())
        assert ("stress" in found) == stress
        if stress:
            np.testing.assert_array_equal(found["stress"], one.get_stress())


def test_batches_of_beads_are_loops_bitwise() -> None:
    """Also with lists of terms, which the structures of a batch share."""
    native, unfolded = (beads_to_atoms(NATIVE.with_name(f"chignolin_{name}_ca.pdb")) for name in ("native", "unfolded"))
    half = native[:6]
    images = [native, unfolded, half, native]
    calc = calculator("chignolin", "float32")
    for atoms, found in zip(images, calc.batch(images), strict=True):
        one = with_calculator(atoms, "chignolin", "float32")
        assert found["energy"] == one.get_potential_energy()
        np.testing.assert_array_equal(found["forces"], one.get_forces())


def test_energies_of_beads_share_the_priors() -> None:
    atoms = chignolin()
    system = System.concatenate([atoms.calc._placement.place(atoms, ["numbers", "labels"])])
    shares = load("chignolin-ca", dtype=torch.float64).atom_energies(system)
    np.testing.assert_allclose(atoms.get_potential_energies(), shares.detach().numpy() / EV, atol=1e-5)
    assert atoms.calc.n_evaluations == 1


def test_energies_of_a_model_that_does_not_share() -> None:
    class Whole(Potential):
        def energy(self, system: System) -> torch.Tensor:
            return system.positions.square().sum().to(torch.float64)[None]

    whole = Whole("whole")
    whole.bead_types = ELEMENTS
    atoms = molecules()["open"]
    atoms.calc = FlashMDCalculator(whole, dtype="float64", backend="reference")
    assert atoms.get_potential_energy() == pytest.approx((atoms.positions**2).sum() / 100.0 / EV, rel=ENERGY_ROUNDING)
    with pytest.raises(PropertyNotImplementedError, match="expected a potential that shares its energy among atoms"):
        atoms.get_potential_energies()


def test_bead_types_from_everywhere() -> None:
    """Names, integers, a dictionary, an array and a PDB file give the same energy."""
    energy = chignolin().get_potential_energy()
    model = load("chignolin-ca")
    bare = Atoms("C10", positions=beads_to_atoms(NATIVE).positions)
    names = beads_to_atoms(NATIVE).arrays["bead_type"].tolist()
    known = model.bead_types or {}
    numbers = [known[name] for name in names]
    of_pdb = read(NATIVE)
    by_residue = {name: known[name] for name in names}
    cases = [(bare, names), (bare, np.array(names)), (bare, numbers), (of_pdb, None), (of_pdb, by_residue)]
    for atoms, given in cases:
        atoms.calc = FlashMDCalculator(model, dtype="float64", bead_types=given)
        assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-5)
    labelled = bare.copy()
    labelled.set_array("bead_type", np.array(numbers))
    assert with_calculator(labelled, "chignolin").get_potential_energy() == pytest.approx(energy, rel=1e-5)


def test_bead_types_by_symbol() -> None:
    atoms = molecules("CN")["cubic"]
    renamed = network(21, 0.6, {"CH3": 1, "NH2": 2}, 40.0)
    atoms.calc = FlashMDCalculator(renamed, dtype="float64", bead_types={"C": "CH3", "N": 2})
    energy = atoms.get_potential_energy()
    atoms.set_array("bead_type", np.where(atoms.numbers == 6, "CH3", "NH2"))
    atoms.calc = FlashMDCalculator(renamed, dtype="float64")
    assert atoms.get_potential_energy() == energy


def test_a_nameless_model_takes_integers() -> None:
    nameless = SchNetPotential(SchNetConfig(n_types=3, n_channels=8, n_filters=8, n_basis=6, n_blocks=1, readout=(4,)))
    atoms = molecules("CN")["open"]
    atoms.calc = FlashMDCalculator(nameless, bead_types=[1, 2] * 4)
    assert np.isfinite(atoms.get_forces()).all()
    atoms.calc = FlashMDCalculator(nameless)
    with pytest.raises(
        ValueError, match=r"the bead types: expected an array `bead_type`, .*pass `bead_types` with integers"
    ):
        atoms.get_forces()
    atoms.calc = FlashMDCalculator(nameless, bead_types=["A", "B"] * 4)
    with pytest.raises(
        ValueError, match="bead type of atom 0: expected an integer, since the model knows no names, got 'A'"
    ):
        atoms.get_forces()
    atoms.calc = FlashMDCalculator(nameless, bead_types=[1, 7] * 4)
    with pytest.raises(ValueError, match=r"`types`: expected integers from 0 to 2, got type 7 of atom 1"):
        atoms.get_forces()


def test_lists_are_made_anew_only_where_beads_change(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    labels = importlib.import_module("flashmd.interfaces.ase.labels")
    build = labels.build_system
    monkeypatch.setattr(labels, "build_system", lambda structure, **rest: made.append(1) or build(structure, **rest))
    atoms = beads_to_atoms(NATIVE)
    atoms.calc = FlashMDCalculator(bonded_model("bonds", types=CA_TYPES))
    for _ in range(3):
        atoms.positions[0] += 0.01
        atoms.get_forces()
    atoms.set_cell(np.eye(3) * 50.0)
    atoms.pbc = True
    atoms.get_stress()
    assert len(made) == 1
    atoms.arrays["chainids"][5:] = 1
    atoms.get_forces()
    assert len(made) == 2


def test_chains_and_gaps_end_bonds() -> None:
    """No bond joins two chains; without the array of chains, a gap in the numbers does it."""
    calc = FlashMDCalculator(bonded_model("bonds", types=CA_TYPES))

    def bonds(atoms: Atoms) -> int:
        return len(calc._placement.place(atoms, ["labels"]).interactions["bonds"])

    whole, two, gap, bare = (beads_to_atoms(NATIVE) for _ in range(4))
    two.arrays["chainids"][5:] = 1
    gap.arrays["residuenumbers"][5:] += 1
    del bare.arrays["chainids"], bare.arrays["residuenumbers"]
    assert [bonds(atoms) for atoms in (whole, two, gap, bare)] == [9, 8, 8, 9]


def bonded_model(*names: str, types: dict[str, int]) -> SumPotential:
    """Return bonds of equal parameters between beads of all types."""
    known = torch.tensor(sorted(types.values()))
    pairs = torch.cartesian_prod(known, known)
    table = (pairs, {"k": torch.full((len(pairs),), 100.0), "x0": torch.full((len(pairs),), 0.15)})
    total = SumPotential({name: HarmonicBonds(name, table) for name in names})
    total.bead_types = types
    return total


def five_bead_model() -> SumPotential:
    return bonded_model("n_term_bonds", "bulk_bonds", "c_term_bonds", types=FIVE_BEAD_TYPES)


def peptide(n_residues: int = 3) -> Atoms:
    """Five-bead alanine and glycine with the names of a PDB file."""
    names, residues, numbers = [], [], []
    for number in range(n_residues):
        residue = "GLY" if number == 1 else "ALA"
        own = [name for name in ("N", "CA", "CB", "C", "O") if not (residue == "GLY" and name == "CB")]
        names += own
        residues += [residue] * len(own)
        numbers += [number + 1] * len(own)
    places = 0.8 * np.arange(len(names))[:, None] * [1.0, 0.2, 0.1]
    atoms = Atoms([name[0] for name in names], positions=places)
    for key, values in (("atomtypes", names), ("residuenames", residues), ("residuenumbers", numbers)):
        atoms.set_array(key, np.array(values))
    return atoms


def test_five_beads(tmp_path: Path) -> None:
    """A PDB file read by ASE, the mapped structure and names with residue numbers give the same terms."""
    path = tmp_path / "peptide.pdb"
    peptide().write(path)
    calc = FlashMDCalculator(five_bead_model(), dtype="float64")
    atoms = read(path)
    mapped = beads_to_atoms(map_structure(path, "five_bead"))
    assert mapped.arrays["bead_type"].tolist() == "N CA ALA C O N GLY C O N CA ALA C O".split()
    assert mapped.get_masses()[:5].tolist() == [14.0, 12.0, 12.0, 12.0, 16.0]
    named = Atoms(mapped.symbols, positions=mapped.positions)
    for name in ("bead_type", "residuenumbers"):
        named.set_array(name, mapped.arrays[name])
    energies = [found["energy"] for found in calc.batch([atoms, mapped, named])]
    assert energies == [pytest.approx(energies[0], rel=1e-6)] * 3
    system = calc.batch([atoms]) and five_bead_model().terms(calc._placement.place(atoms, ["numbers", "labels"]))
    assert energies[0] == pytest.approx(sum(float(term) for term in system.values()) / EV, rel=1e-6)


def test_insertion_codes_keep_residues_apart() -> None:
    atoms = peptide()
    atoms.arrays["residuenumbers"][:] = 1
    calc = FlashMDCalculator(five_bead_model(), dtype="float64")
    system = calc._placement.place(atoms, ["numbers", "labels"])
    terms = sum(len(index) for name, index in system.interactions.items() if name.endswith("bonds"))
    assert terms == 4 + 3 + 4 + 2


def test_beads_as_atoms(tmp_path: Path) -> None:
    atoms = chignolin()
    assert atoms.arrays["residuenumbers"].tolist() == list(range(1, 11))
    assert atoms.get_masses()[0] == pytest.approx(163.176)
    structure = map_structure(NATIVE)
    np.testing.assert_allclose(atoms.positions, structure.positions[0].numpy() * 10.0, rtol=1e-6)
    assert beads_to_atoms(structure) == beads_to_atoms(NATIVE)
    energy = atoms.get_potential_energy()
    write(tmp_path / "beads.extxyz", atoms)
    again = with_calculator(read(tmp_path / "beads.extxyz"), "chignolin")
    assert again.get_potential_energy() == pytest.approx(energy, abs=1e-7)


def test_the_calculator_describes_itself() -> None:
    calc = FlashMDCalculator("chignolin-ca")
    described = json.loads(json.dumps(calc.todict()))
    assert described == {
        "model": "chignolin_ca.safetensors",
        "sha256": calc.model.sha256,
        "device": "cpu",
        "dtype": "float32",
        "backend": "compiled",
    }
    assert calc.name == "flashmd"


def test_properties_of_the_last_atoms() -> None:
    atoms = with_calculator(molecules()["cubic"])
    calc = atoms.calc
    assert calc.atoms is None
    with pytest.raises(ValueError, match="`atoms`: expected atoms, or those of an earlier call, got neither"):
        calc.get_potential_energy()
    energy = atoms.get_potential_energy()
    assert calc.get_potential_energy() == energy
    np.testing.assert_array_equal(calc.get_stress(), atoms.get_stress())
    assert calc.atoms == atoms
    calc.atoms = other = molecules()["triclinic"]
    assert calc.get_potential_energy() == with_calculator(other).get_potential_energy()
    calc.reset()
    assert (calc.atoms, calc.results) == (None, {})


def test_a_shallow_copy_has_a_cache_of_its_own() -> None:
    """It would otherwise tell the original that its results are those of the atoms that the copy saw."""
    first, second = molecules()["open"], molecules()["open"]
    second.rattle(0.05, seed=3)
    second = with_calculator(second)
    expected = second.get_potential_energy()
    original = copy.deepcopy(calculator("atoms", "float64"))
    original.get_potential_energy(first)
    twin = copy.copy(original)
    assert twin.get_potential_energy(second) == expected
    assert original.get_potential_energy(second) == expected


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="`set`: expected no parameters, got dtype. To fix it, make another"):
        calculator("atoms", "float64").set(dtype="float32")


def test_a_batch_is_a_sequence() -> None:
    with pytest.raises(TypeError, match=r"`images`: expected a sequence of ase\.Atoms, got ase\.Atoms\..*`\[atoms\]`"):
        calculator("atoms", "float64").batch(molecules()["triclinic"])


def test_stress_needs_a_volume() -> None:
    atoms = with_calculator(molecules()["open"])
    message = "the stress: expected a cell with a volume, got none"
    with pytest.raises(PropertyNotImplementedError, match=message):
        atoms.get_stress()
    with pytest.raises(PropertyNotImplementedError, match=message):
        atoms.calc.batch([atoms], stress=True)
    assert np.isfinite(atoms.get_forces()).all()


def test_atoms_that_cannot_be_evaluated() -> None:
    atoms = with_calculator(molecules()["cubic"])
    calc = atoms.calc
    energy = atoms.get_potential_energy()
    cases: list[tuple[Atoms, str]] = [
        (Atoms(), "`atoms`: expected at least one atom, got none"),
        (Atoms("HS"), "atom 1: expected an element of H, C, N, O, got 'S'"),
        (beads_to_atoms(NATIVE), "bead type of atom 0: expected one of H, C, N, O, got 'TYR'"),
        (Atoms("H2", [[0, 0, 0], [0, np.inf, 0]]), "`positions` of atom 1: expected finite numbers, got a non-finite"),
        (Atoms("H", cell=[np.nan, 1, 1]), "`cell` vector 0: expected finite numbers, got a non-finite value"),
        (Atoms("H", pbc=True), "`cell` of system 0: expected independent lattice vectors"),
    ]
    for bad, text in cases:
        with pytest.raises(ValueError, match=re.escape(text)):
            calc.get_potential_energy(bad)
        # The failure leaves nothing behind.
        assert atoms.get_potential_energy() == energy
    with pytest.raises(ValueError, match="`systems`: expected at least one system, got none"):
        calc.batch([])
    with pytest.raises(ValueError, match="got 'S'"):
        calc.calculate(Atoms("HS"))
    with pytest.raises(ValueError, match="expected atoms, or those of an earlier call"):
        calc.get_potential_energy()


def test_beads_that_the_model_does_not_know() -> None:
    model, bare = load("chignolin-ca"), Atoms("C10", positions=beads_to_atoms(NATIVE).positions)
    cases = [
        (None, "the bead types: expected an array `bead_type`, got only numbers, positions"),
        (["TYR"] * 9, "`bead_types`: expected 10 names or integers, got 9"),
        (["TYR"] * 9 + ["XYZ"], "bead type of atom 9: expected one of ALA, CYS"),
        ([20] * 9 + [99], "bead type of atom 9: expected one of 1, 2, 3"),
        ({"N": "TYR"}, "atom 0: expected one of N, got 'C'"),
        (["TRP"] * 10, "expected parameters of every listed term"),
    ]
    for given, text in cases:
        bare.calc = FlashMDCalculator(model, bead_types=given)
        with pytest.raises(ValueError, match=re.escape(text)):
            bare.get_forces()


def test_residues_that_are_incomplete() -> None:
    calc = FlashMDCalculator(five_bead_model())
    nameless = peptide()
    nameless.set_array("bead_type", np.array(["N", "CA", "ALA", "C", "O"] * 2 + ["N", "GLY", "C", "O"]))
    del nameless.arrays["residuenumbers"]
    with pytest.raises(ValueError, match="`atoms.arrays`: expected `residuenumbers`, to group beads into residues"):
        calc.get_forces(nameless)
    without = peptide()
    del without[2]
    with pytest.raises(ValueError, match="the residue of bead 0: expected one bead named after an amino acid, got 0"):
        calc.get_forces(without)


def test_atoms_of_a_pdb_file_that_are_no_beads() -> None:
    atoms = read(ROOT / "data" / "structures" / "alanine_dipeptide.pdb")
    with pytest.raises(
        ValueError, match=r"atom 0: expected a bead of resolution 'ca' \(CA of an amino acid\), got \w+ of"
    ):
        with_calculator(atoms, "chignolin").get_forces()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda() -> None:
    with pytest.raises(ValueError, match="`device`: expected a device that torch can use, got 'cuda'"):
        FlashMDCalculator("chignolin-ca", device="cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu() -> None:
    for structure in real_molecules().values():
        expected = with_calculator(structure.copy(), "organic")
        found = structure.copy()
        found.calc = FlashMDCalculator("organic-gfn2", dtype="float64", device="cuda")
        assert found.get_potential_energy() == pytest.approx(expected.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(found.get_forces(), expected.get_forces(), atol=1e-5)


def test_a_file_that_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(network(9, 0.5, ELEMENTS, 1.0), path)
    sent = pickle.dumps(FlashMDCalculator(path))
    save(network(9, 0.5, ELEMENTS, 2.0), path)
    with pytest.raises(CheckpointError, match="expected sha256"):
        pickle.loads(sent)


def test_without_ase(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("flashmd.interfaces.ase")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(MissingDependencyError, match=re.escape("pip install flashmd-cg[ase]")):
        importlib.import_module("flashmd.interfaces.ase")


def test_real_molecules_keep_their_shape() -> None:
    """The shipped all-atom model holds an ethanol molecule near its geometry."""
    atoms = with_calculator(real_molecules()["cubic"][:9], "organic")
    atoms.pbc = False
    start = atoms.copy()
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=200)
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 1e-3
    bonds = [(0, 1), (1, 2), (2, 3)]
    for pair in bonds:
        assert atoms.get_distance(*pair) == pytest.approx(start.get_distance(*pair), abs=0.2)


def test_beads_in_cells() -> None:
    """Beads of a network alone need no order and no lists."""
    atoms = with_calculator(beads()["triclinic"], "beads")
    assert not atoms.calc._placement.place(atoms, ["numbers", "labels"]).interactions
    assert np.isfinite(atoms.get_stress()).all()
