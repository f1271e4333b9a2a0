"""Calculators that go through the conformance checks: two of ASE, and models of this package."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from flashmd.cg import CA_TYPES
from flashmd.interfaces.ase import FlashMDCalculator, beads_to_atoms
from flashmd.nn import SchNetConfig
from flashmd.potential import SchNetPotential
from tests.interfaces.ase.conformance import Subject

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "data" / "structures" / "chignolin_native_ca.pdb"
ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8}
SKEW = np.array([[0.1, 0.2, 0.0], [0.0, 0.1, -0.2], [0.1, 0.0, 0.2]])


def rattled(atoms: Atoms, size: float, seed: int = 0) -> Atoms:
    atoms.rattle(size, seed=seed)
    return atoms


def metals() -> dict[str, Atoms]:
    """Copper and gold in all cells; EMT reaches 6 angstrom."""
    cubic = bulk("Cu", cubic=True)
    cubic.symbols[:2] = "Au"
    triclinic = bulk("Cu").repeat((2, 2, 1))
    triclinic.symbols[0] = "Au"
    triclinic.set_cell(triclinic.cell.array + SKEW, scale_atoms=True)
    slab = fcc111("Cu", (2, 2, 2), vacuum=6.0)
    slab.symbols[0] = "Au"
    slab.pbc = (True, True, False)
    cluster = Atoms("Cu3Au2", positions=2.6 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.7, 0.7, 0.7]]))
    small = bulk("Cu")
    small.set_cell(small.cell.array + SKEW, scale_atoms=True)
    made = {"open": cluster, "cubic": cubic, "triclinic": triclinic, "slab": slab}
    return {name: rattled(atoms, 0.1) for name, atoms in made.items()} | {"small": small}


def argon() -> dict[str, Atoms]:
    """The same in argon."""
    made = {}
    for name, atoms in metals().items():
        atoms.set_cell(atoms.cell.array * 1.45, scale_atoms=True)
        atoms.positions *= 1.45 if name == "open" else 1.0
        atoms.numbers[:] = 18
        made[name] = atoms
    return made


def molecules(symbols: str = "HCNO", size: float = 1.0, n_atoms: int = 8) -> dict[str, Atoms]:
    """Random atoms, no two closer than a bond, in cells around a cutoff of 5 angstrom times `size`."""
    cells: dict[str, Any] = {
        "open": None,
        "cubic": np.eye(3) * 6.1,
        "triclinic": [[6.0, 0.0, 0.0], [1.2, 5.6, 0.0], [-0.7, 0.9, 6.3]],
        "slab": np.diag([5.7, 6.0, 14.0]),
        "small": [[3.4, 0.0, 0.0], [0.5, 3.3, 0.0], [-0.2, 0.3, 3.6]],
    }
    made = {}
    for seed, (name, cell) in enumerate(cells.items()):
        rng, count = np.random.default_rng(seed), 3 if name == "small" else n_atoms
        box = np.eye(3) * 5.0 if cell is None else np.array(cell)
        box = np.diag([5.7, 6.0, 5.0]) if name == "slab" else box
        places = spread(rng, count, box)
        atoms = Atoms(rng.permutation(np.resize(list(symbols), count)), positions=size * places)
        if cell is not None:
            atoms.set_cell(size * np.array(cell))
            atoms.pbc = (True, True, name != "slab")
        made[name] = atoms
    return made


def spread(rng: np.random.Generator, count: int, box: np.ndarray) -> np.ndarray:
    """Return points in a box at least 1.3 apart, images included."""
    images = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T @ box
    points: list[np.ndarray] = []
    while len(points) < count:
        point = rng.random(3) @ box
        if all(np.linalg.norm(point - other + images, axis=1).min() > 1.3 for other in points):
            points.append(point)
    return np.array(points)


def real_molecules() -> dict[str, Atoms]:
    """Molecules near their minima in all cells."""
    pair = molecule("CH3CH2OH")
    pair.extend(Atoms("N2", positions=[[3.4, 3.2, 3.0], [3.4, 3.2, 4.1]]))
    made = {"open": molecule("CH3CONH2")}
    for name, cell in (
        ("cubic", np.eye(3) * 6.9),
        ("triclinic", [[6.9, 0.0, 0.0], [0.8, 7.0, 0.0], [-0.6, 0.7, 7.2]]),
        ("slab", np.diag([6.8, 7.0, 16.0])),
    ):
        made[name] = pair.copy()
        made[name].set_cell(cell)
        made[name].pbc = (True, True, name != "slab")
    made["small"] = molecule("H2O", cell=[[3.6, 0.0, 0.0], [0.3, 3.5, 0.0], [-0.2, 0.3, 3.7]], pbc=True)
    return {name: rattled(atoms, 0.05) for name, atoms in made.items()}


def beads() -> dict[str, Atoms]:
    """Random beads in all cells, around a cutoff of 12 angstrom."""
    made = molecules("C", size=2.4)
    for atoms in made.values():
        atoms.set_array("bead_type", np.resize(list(CA_TYPES), len(atoms)))
        atoms.set_masses(np.full(len(atoms), 100.0))
    return made


def network(n_types: int, cutoff: float, types: dict[str, int], strength: float) -> SchNetPotential:
    """Return a network of random weights with forces of a few tenths of an electronvolt per angstrom."""
    config = SchNetConfig(
        n_types=n_types, n_channels=24, n_filters=24, n_basis=16, n_blocks=2, readout=(16,), cutoff_upper=cutoff
    )
    potential = SchNetPotential(config, seed=3, bead_types=types)
    with torch.no_grad():
        potential.network.readout.layers[-1].weight *= strength
    return potential


MODELS = {
    "organic": lambda: ROOT / "data" / "models" / "organic_gfn2.safetensors",
    "chignolin": lambda: "chignolin-ca",
    "beads": lambda: network(21, 1.2, CA_TYPES, 200.0),
    "atoms": lambda: network(9, 0.5, ELEMENTS, 40.0),
}


@functools.cache
def calculator(model: str, dtype: str, backend: str = "compiled") -> FlashMDCalculator:
    """Return a calculator of which copies are used, since compiling takes a while."""
    return FlashMDCalculator(MODELS[model](), dtype=dtype, backend=backend)


def flashmd(
    model: str, structures: Mapping[str, Atoms], dtype: str, backend: str = "compiled", **options: Any
) -> Subject:
    """Return a model of this package as a subject."""
    name = f"{model}-{dtype}" if backend == "compiled" else f"{model}-{dtype}-{backend}"
    accuracy: dict[str, Any] = {}
    if dtype == "float32":
        # Differences of energies are rounded to 1e-7 of them, so they need large steps, which have errors of their own.
        accuracy = {"within": 2e-3, "stress_within": 2e-5, "rounding": 2e-5, "eps": 3e-3}
        options["excluded"] = {"total_energy_is_conserved": "rounding hides the order"} | options.get("excluded", {})
    return Subject(name, lambda: copy.deepcopy(calculator(model, dtype, backend)), structures, **accuracy, **options)


def subjects() -> list[Subject]:
    """Return all subjects."""
    unlocked = {"threads_take_turns": "keeps its neighbour list on the instance, without a lock"}
    of_emt = unlocked | {
        "results_are_no_views": "the next calculation overwrites the arrays in `results`",
        "pickling": "holds a lambda after its first calculation",
        "positions_that_are_not_numbers": "its search finds no pairs of such an atom, and the energy is a number",
    }
    of_lj = unlocked | {"swap": "knows one kind of atoms only"}
    chain = dict.fromkeys(("permutation", "swap", "addition"), "the order of the beads is the chain")
    climbing = {"optimisers": "LBFGS climbs to a saddle of this landscape of random weights"}
    folded = {"open": rattled(beads_to_atoms(NATIVE), 0.2)}
    short = functools.partial(flashmd, time_step=0.5)
    lj = functools.partial(LennardJones, sigma=3.4, epsilon=0.0104, rc=9.0, smooth=True)
    return [
        Subject("emt", EMT, metals(), memory=1e-13, excluded=of_emt),
        Subject("lj", lj, argon(), memory=1e-13, excluded=of_lj),
        flashmd("chignolin", folded, "float64", excluded=chain),
        flashmd("chignolin", folded, "float32", excluded=chain),
        flashmd("beads", beads(), "float64", excluded=climbing),
        flashmd("beads", beads(), "float32", excluded=climbing),
        short("organic", real_molecules(), "float64"),
        short("organic", real_molecules(), "float32"),
        short("atoms", molecules(), "float64"),
        short("atoms", molecules(), "float32"),
        short("atoms", molecules(), "float64", "kernel"),
        short("atoms", molecules(), "float64", "reference"),
    ]  # fmt: skip
