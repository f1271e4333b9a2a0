"""What the all-atom model is trained on: small molecules, peptide models, pairs and clusters of molecules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import peptides
from ase.build import molecule
from ase.collections import g2
from ase.data import atomic_numbers, vdw_radii

TEMPERATURES = (300.0, 500.0, 750.0, 1000.0)  # K
UNSEEN = ("CH3CH2NH2", "CH3CH2OCH3", "HCOOCH3", "isobutene", "H2CCHCN")
"""Molecules that are only tested."""
_LEFT_OUT = ("CH2_s1A1d", "O3")  # a carbene and a biradical, which one closed-shell determinant describes badly
_RADII = {1: 0.11, **{z: 0.1 * vdw_radii[z] for z in (6, 7, 8)}}  # nm
_RATTLE = 0.004  # nm, of the molecules of a cluster
_PAIRS = """
    H2O:H2O H2O:CH3OH H2O:NMA H2O:CH4 CH4:CH4 CH3OH:CH3OH H2O:NH3 H2O:CH3CONH2 CH3CONH2:CH3CONH2 NMA:NMA NMA:CH4
    H2O:CH3COOH HCOOH:HCOOH H2O:CH3COCH3 H2O:H2CO H2O:C2H6 C2H6:CH4 H2O:HCN H2O:C5H5N H2O:CO2 H2O:N2 H2O:CH3CN
    NH3:NH3 CH3OH:CH4 C2H4:CH4 C6H6:CH4 C6H6:H2O CH3OCH3:H2O H3CNH2:H2O CH3NO2:H2O ALA:H2O ALA:CH4
"""
_CLUSTERS = """
    H2O:H2O:H2O H2O:H2O:H2O:H2O H2O:H2O:H2O:H2O:H2O:H2O H2O:H2O:H2O:H2O:H2O:H2O:H2O:H2O H2O:H2O:CH3OH:CH3OH
    CH3OH:CH3OH:CH3OH CH4:CH4:CH4:CH4 H2O:H2O:H2O:NMA H2O:H2O:CH4:CH4 H2O:H2O:NH3:NH3 H2O:H2O:H2O:ALA
"""


@dataclass(frozen=True)
class Structure:
    """Atoms of one frame.

    Attributes:
        numbers: [n_atoms] atomic numbers.
        positions: [n_atoms, 3], nm.
        members: [n_atoms] number of the molecule that an atom belongs to.
    """

    numbers: np.ndarray
    positions: np.ndarray
    members: np.ndarray


@dataclass(frozen=True)
class Ensemble:
    """One system and how it is sampled.

    Attributes:
        group: "small", "peptide", "cluster", "contact" or "unseen".
        name: of the system.
        start: makes a start structure from a source of random numbers.
        n_train: trajectories to train on at each temperature.
        n_test: trajectories to test on at each temperature.
        record: steps at which a training trajectory is recorded.
        record_test: steps at which a test trajectory is recorded.
        relax: steps downhill from the start.
        n_starts: starts of a trajectory, one after the other.
        temperatures: K.
        largest_force: frames with a larger force component are dropped, kJ/mol/nm.
    """

    group: str
    name: str
    start: Callable[[np.random.Generator], Structure]
    n_train: int
    n_test: int
    record: Sequence[int]
    record_test: Sequence[int]
    relax: int = 0
    n_starts: int = 1
    temperatures: Sequence[float] = TEMPERATURES
    largest_force: float = 1.6e4


def _single(numbers: Sequence[int], positions: np.ndarray) -> Structure:
    centred = np.asarray(positions) - np.mean(positions, axis=0)
    return Structure(np.asarray(numbers), centred, np.zeros(len(numbers), dtype=np.int64))


def _peptide(atoms: dict[tuple[str, str], np.ndarray]) -> Structure:
    return _single([atomic_numbers[name[0]] for _, name in atoms], np.array(list(atoms.values())))


def structure(name: str) -> Structure:
    """Return a molecule of the g2 collection, NMA (N-methylacetamide) or ALA (alanine dipeptide)."""
    if name in ("NMA", "ALA"):
        return _peptide(peptides.n_methylacetamide() if name == "NMA" else peptides.alanine_dipeptide())
    atoms = molecule(name)
    return _single(atoms.numbers, 0.1 * atoms.positions)


def small_molecules() -> list[str]:
    """Return the closed-shell molecules of H, C, N and O in the g2 collection."""
    names = []
    for name in g2.names:
        atoms = molecule(name)
        if set(atoms.symbols) <= set("HCNO") and not atoms.get_initial_magnetic_moments().any():
            names.append(name)
    return sorted(set(names) - set(_LEFT_OUT))


def _random_dipeptide(random: np.random.Generator) -> Structure:
    return _peptide(peptides.alanine_dipeptide(*random.uniform(-180.0, 180.0, 2)))


def _random_rotation(random: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(random.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def _contact(first: Structure, second: Structure) -> float:
    """Return the least distance between atoms of two molecules in units of the sum of their radii."""
    distance = np.linalg.norm(first.positions[:, None] - second.positions, axis=-1)
    radii = [np.array([_RADII[int(z)] for z in each.numbers]) for each in (first, second)]
    return float((distance / (radii[0][:, None] + radii[1])).min())


def _joined(first: Structure, second: Structure) -> Structure:
    return Structure(
        np.concatenate([first.numbers, second.numbers]),
        np.concatenate([first.positions, second.positions]),
        np.concatenate([first.members, second.members + first.members.max() + 1]),
    )


def cluster(names: Sequence[str], random: np.random.Generator, closest: float = 0.55) -> Structure:
    """Place molecules one after the other, each in contact with those before, some of the contacts far too close.

    Args:
        names: molecules, see `structure`.
        random: source of orientations, directions and contacts.
        closest: shortest contact in units of the sum of two radii.
    """
    whole: Structure | None = None
    for name in names:
        plain = structure(name)
        shaken = plain.positions @ _random_rotation(random) + _RATTLE * random.normal(size=plain.positions.shape)
        if whole is None:
            whole = Structure(plain.numbers, shaken, plain.members)
            continue
        direction = random.normal(size=3)
        direction /= np.linalg.norm(direction)
        wanted, distance = random.uniform(closest, 1.1), 2.0
        moved = Structure(plain.numbers, shaken + distance * direction, plain.members)
        while _contact(whole, moved) > wanted:
            distance -= 0.002
            moved = Structure(plain.numbers, shaken + distance * direction, plain.members)
        whole = _joined(whole, moved)
        whole = Structure(whole.numbers, whole.positions - whole.positions.mean(0), whole.members)
    assert whole is not None
    return whole


def _of_molecule(group: str, name: str, *, n_train: int) -> Ensemble:
    return Ensemble(group, name, lambda _: structure(name), n_train, 1, range(300, 700, 30), range(300, 700, 100))


def _of_amide(label: str, omega: float) -> Ensemble:
    start = _peptide(peptides.n_methylacetamide(omega))
    return Ensemble("peptide", f"NMA-{label}", lambda _: start, 3, 2, range(300, 700, 30), range(300, 700, 100))


def _of_cluster(name: str) -> Ensemble:
    record = [0, 5, 10, 20, 30, 45, 60, 80, 100, 130, 160, 200, 250, 300]
    return Ensemble(
        "cluster", name, lambda random: cluster(name.split(":"), random), 2, 1, record, [0, 10, 30, 60, 120, 200, 300]
    )


def _of_contacts(name: str) -> Ensemble:
    start = partial(cluster, name.split(":"), closest=0.35)
    return Ensemble(
        "contact", name, start, 1, 1, [0], [0], n_starts=60, temperatures=TEMPERATURES[-1:], largest_force=6e3
    )


def ensembles() -> list[Ensemble]:
    """Return everything that is sampled."""
    dipeptide = Ensemble("peptide", "ALA", _random_dipeptide, 22, 3, range(200, 1000, 20), range(200, 1000, 100), 100)
    return [
        *(_of_molecule("small", name, n_train=3) for name in small_molecules() if name not in UNSEEN),
        *(_of_molecule("unseen", name, n_train=0) for name in UNSEEN),
        _of_amide("trans", 180.0),
        _of_amide("cis", 0.0),
        dipeptide,
        *(_of_cluster(name) for name in (*_PAIRS.split(), *_CLUSTERS.split())),
        *(_of_contacts(name) for name in _PAIRS.split()),
    ]
