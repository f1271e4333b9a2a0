"""Hydrogens that ride on heavy atoms: which there are, where they stand, and how their forces come back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.force_fields import EnergyWorkers
from flashmd.backmap.hydrogens import AllAtoms, Riding, all_atoms, choose_torsions
from flashmd.backmap.residues import ATOMS, ONE_LETTER, RESIDUES
from tests.backmap.hydrogens.peptides import ALL_TYPES, helix

NATIVE = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "fast_folders" / "native"
GRADIENT = 1e-6
"""Relative error of central differences in double precision; largest found 1e-8 for steps of 1e-6 nm."""
FIXED_HYDROGENS = 0.02
"""nm, within which 95 % of the hydrogens that cannot turn agree with Modeller, which relaxes them; found 0.0145."""


def place(sequence: str | list[str], **options: object) -> tuple[Riding, Tensor]:
    chains = Chains.from_sequence(sequence)
    return Riding(all_atoms(chains, **options)), helix(chains)  # type: ignore[arg-type]


def everything(riding: Riding, heavy: Tensor) -> Tensor:
    return riding(heavy, heavy.new_full((heavy.shape[0], len(riding.free)), math.pi))


def test_protonation_of_neutral_water() -> None:
    """Charges of the force field add up to what the residues carry."""
    atoms = all_atoms(Chains.from_sequence(["GDEKRHG", "GGG"]), imidazoles={5: "HIP"})
    with EnergyWorkers("amber14-gbn2") as workers:
        charges = workers.charges(atoms)
    of_residue = torch.zeros(10, dtype=torch.float64).index_add(0, atoms.residue, charges)
    expected = torch.tensor([1, -1, -1, 1, 1, 1, -1, 1, 0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(of_residue, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", ["HID", "HIE", "HIP"])
def test_forms_of_histidine(form: str) -> None:
    atoms = all_atoms(Chains.from_sequence("GHG"), imidazoles={1: form})
    names = {name for name, residue in zip(atoms.names, atoms.residue.tolist(), strict=True) if residue == 1}
    assert ("HD1" in names, "HE2" in names) == (form != "HIE", form != "HID")


def test_disulfides_lose_two_hydrogens() -> None:
    chains = Chains.from_sequence("CGC")
    free, bound = all_atoms(chains), all_atoms(chains, disulfides=[(0, 2)])
    assert free.n_atoms - bound.n_atoms == 2
    first, second = bound.bonds[-1].tolist()
    assert (bound.names[first], bound.names[second], bound.forms[0]) == ("SG", "SG", "CYX")


@pytest.mark.parametrize("force_field", ["amber14-gbn2", "charmm36"])
def test_every_residue_is_known_to_the_force_field(force_field: str) -> None:
    chains = Chains.from_sequence([f"G{letter}G" for letter in ONE_LETTER] + ["PG", "GP"])
    riding = Riding(all_atoms(chains))
    with EnergyWorkers(force_field) as workers:  # type: ignore[arg-type]
        assert workers.charges(riding.atoms).shape == (riding.atoms.n_atoms,)


@pytest.mark.parametrize(
    "sequence, atom, expected",
    [("GAG", "HB1", 0.109), ("GFG", "HZ", 0.108), ("GSG", "HG", 0.096), ("GCG", "HG", 0.1336)],
)
def test_lengths_are_those_of_the_force_field(sequence: str, atom: str, expected: float) -> None:
    riding, heavy = place(sequence)
    placed, index = everything(riding, heavy)[0], riding.atoms.names.index(atom)
    assert (placed[index] - placed[riding.atoms.parent[index]]).norm().item() == pytest.approx(expected, abs=1e-9)


def test_ideal_tetrahedra() -> None:
    """On an ideal carbon the four bonds of CH and CH2 make angles of 109.5 degrees."""
    corners = 0.15 * torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double() / math.sqrt(3)
    riding, heavy = place("GAG")
    names = [n for n, e in zip(riding.atoms.names, riding.atoms.elements, strict=True) if e != "H" and n != "OXT"]
    start = len(ATOMS["GLY"])
    where = {name: start + offset for offset, name in enumerate(ATOMS["ALA"])}
    assert names[where["CB"]] == "CB"
    heavy[0, where["CA"]] = 0.0
    for name, corner in zip(("N", "C", "CB"), corners, strict=False):
        heavy[0, where[name]] = corner
    placed = everything(riding, heavy)[0]
    hydrogen = placed[riding.atoms.names.index("HA")]
    torch.testing.assert_close(hydrogen, 0.109 * corners[3] / 0.15, atol=1e-9, rtol=0)


def test_turns_and_shifts_with_the_molecule() -> None:
    riding, heavy = place(ALL_TYPES)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0]
    turn = turn * turn.det().sign()
    moved = everything(riding, heavy @ turn + 1.0)
    torch.testing.assert_close(moved, everything(riding, heavy) @ turn + 1.0, atol=1e-9, rtol=0)


@pytest.mark.parametrize("force_field", ["amber14-gbn2", "charmm36"])
def test_forces_come_back_to_heavy_atoms(force_field: str) -> None:
    """The pulled-back gradient is the finite difference of the energy of OpenMM over heavy atoms, all residue types."""
    riding, heavy = place(ALL_TYPES)
    torsions = torch.full((1, len(riding.free)), 1.0, dtype=torch.float64)
    with EnergyWorkers(force_field, platform="Reference") as workers:  # type: ignore[arg-type]
        gradient = riding.pull_back(heavy, torsions, workers(riding.atoms, riding(heavy, torsions)).gradient)
        step = 1e-6
        for seed in range(3):
            along = torch.randn(heavy.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            up, down = (workers(riding.atoms, riding(heavy + s * along, torsions)).energy for s in (step, -step))
            expected = (gradient * along).sum().item()
            assert ((up - down) / (2 * step)).item() == pytest.approx(expected, rel=GRADIENT)


def test_hydroxyls_point_at_what_attracts_them() -> None:
    """A turning hydrogen chooses the torsion closest to a lone negative charge."""
    riding, heavy = place("GSG")
    atoms = riding.atoms
    target = max(i for i, name in enumerate(atoms.names) if name == "N")
    charges = torch.zeros(atoms.n_atoms)
    charges[list(riding.free)], charges[target] = 0.4, -0.8
    parent = heavy[0, atoms.heavy.tolist().index(int(atoms.parent[riding.free[0]]))]
    heavy[0, atoms.heavy.tolist().index(target)] = parent + torch.tensor([0.0, 0.5, 0.0], dtype=torch.float64)
    best = choose_torsions(riding, heavy, charges)

    def distance(angle: float) -> float:
        placed = riding(heavy, torch.full((1, 1), angle, dtype=torch.float64))[0]
        return (placed[riding.free[0]] - placed[target]).norm().item()

    grid = [distance(math.radians(degrees)) for degrees in range(0, 360, 30)]
    assert distance(best.item()) == pytest.approx(min(grid), abs=1e-3)


def test_hydroxyls_of_rings_stay_in_the_plane() -> None:
    riding, heavy = place(ALL_TYPES + "Y")
    charges = torch.randn(riding.atoms.n_atoms, generator=torch.Generator().manual_seed(0))
    planar = torch.tensor(riding.planar)
    assert int(planar.sum()) == 2
    chosen = choose_torsions(riding, heavy, charges)[:, planar]
    assert set(chosen.flatten().tolist()) <= {0.0, math.pi}


@pytest.mark.parametrize(
    "options, text",
    [
        (
            {"imidazoles": {0: "HID"}},
            "`imidazoles`: expected histidines and one of HID, HIE, HIP, got 'HID' for residue 0, GLY",
        ),
        ({"imidazoles": {1: "HIS"}}, "got 'HIS' for residue 1, HIS"),
        ({"imidazoles": {7: "HID"}}, "got 'HID' for residue 7. To fix it, correct that entry"),
        ({"disulfides": [(0, 1)]}, "`disulfides`: expected pairs of different cysteines, got residue 0, GLY"),
        ({"disulfides": [(5, 9)]}, "got residue 5. To fix it, correct that pair"),
    ],
)
def test_what_no_residue_can_be(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        all_atoms(Chains.from_sequence("GHG"), **options)  # type: ignore[arg-type]


def read_native(name: str) -> tuple[Chains, Tensor]:
    from openmm import app, unit

    file = app.PDBFile(str(NATIVE / name))
    at = {(a.residue.index, a.name): p for a, p in zip(file.topology.atoms(), file.positions, strict=True)}
    names = [residue.name for residue in file.topology.residues()]
    chains = Chains.from_sequence("".join(ONE_LETTER[RESIDUES.index(name)] for name in names))
    rows = [at[i, atom].value_in_unit(unit.nanometer) for i, name in enumerate(names) for atom in ATOMS[name]]
    return chains, torch.tensor(np.array(rows))[None]


def hydrogens_of_modeller(atoms: AllAtoms, positions: Tensor) -> dict[tuple[int, str], Tensor]:
    """Let OpenMM add hydrogens to the heavy atoms and relax them."""
    import openmm
    from openmm import app, unit

    topology, chain, made = app.Topology(), None, {}
    chain = topology.addChain()
    residues = [topology.addResidue("HIS" if form[:2] == "HI" else form, chain) for form in atoms.forms]
    for i, (name, element) in enumerate(zip(atoms.names, atoms.elements, strict=True)):
        if element != "H":
            made[i] = topology.addAtom(name, app.Element.getBySymbol(element), residues[int(atoms.residue[i])])
    for first, second in atoms.bonds.tolist():
        if first in made and second in made:
            topology.addBond(made[first], made[second])
    modeller = app.Modeller(topology, positions[list(made)].numpy() * unit.nanometer)
    variants = [form if form in {"HID", "HIE", "HIP"} else None for form in atoms.forms]
    platform = openmm.Platform.getPlatformByName("CPU")
    modeller.addHydrogens(app.ForceField("amber14-all.xml", "implicit/gbn2.xml"), platform=platform, variants=variants)
    found = zip(modeller.topology.atoms(), modeller.positions, strict=True)
    return {(a.residue.index, a.name): torch.tensor(p.value_in_unit(unit.nanometer)).double() for a, p in found}


@pytest.mark.skipif(not NATIVE.is_dir(), reason="native structures of the fast folders are not here")
@pytest.mark.parametrize("name", ["chignolin_cln025.pdb", "trpcage_2jof.pdb"])
def test_agrees_with_the_hydrogens_of_modeller(name: str) -> None:
    """Hydrogens that cannot turn, each compared with the closest of its parent, since names of pairs may differ."""
    chains, heavy = read_native(name)
    riding = Riding(all_atoms(chains))
    atoms = riding.atoms
    placed = everything(riding, heavy)[0]
    theirs = hydrogens_of_modeller(atoms, placed)
    distances = []
    for i, element in enumerate(atoms.elements):
        group = [j for j in range(atoms.n_atoms) if atoms.parent[j] == atoms.parent[i] and atoms.elements[j] == "H"]
        if element == "H" and len(group) < 3 and i not in riding.free:
            distances += [min((placed[i] - theirs[int(atoms.residue[j]), atoms.names[j]]).norm().item() for j in group)]
    assert len(theirs) == atoms.n_atoms
    assert np.quantile(distances, 0.95) < FIXED_HYDROGENS
