"""Formulas of the priors against numpy, their look-up of parameters, and their limits."""

from __future__ import annotations

import math

import mdtraj
import numpy as np
import pytest
import torch

from flashmd.potential import Potential
from flashmd.potential.priors import (
    FourierDihedrals,
    HarmonicAnglesRaw,
    HarmonicBonds,
    RestrictedQuartic,
    TypeTable,
)
from flashmd.potential.priors.features import ANGLE, COSINE, TORSION
from flashmd.system import System
from tests.potential.build import BACKEND, CASES, chain, prior

ORDER = {name: case[0].feature.order for name, case in CASES.items()}


def coordinate(name: str, points: np.ndarray) -> float:
    """Return the distance, the angle (rad) or the torsion (rad) by textbook formulas unlike those of the package."""
    if ORDER[name] == 2:
        return float(np.linalg.norm(points[0] - points[1]))
    if ORDER[name] == 3:
        u, v = points[0] - points[1], points[2] - points[1]
        return float(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v)))
    # Praxeolitic form: projections on the plane normal to the middle bond.
    b0, b1, b2 = points[0] - points[1], points[2] - points[1], points[3] - points[2]
    b1 = b1 / np.linalg.norm(b1)
    v, w = b0 - (b0 @ b1) * b1, b2 - (b2 @ b1) * b1
    return float(np.arctan2(np.cross(b1, v) @ w, v @ w))


def repulsion(d: float, p: dict[str, float]) -> float:
    return (p["sigma"] / d) ** 6


def exp_repulsion(d: float, p: dict[str, float]) -> float:
    return p["epsilon"] * 6.0 / p["alpha"] * math.exp(p["alpha"] * (1.0 - d / p["r0"]))


def shifted(function: object, d: float, p: dict[str, float], cutoff: float) -> float:
    if d >= cutoff:
        return 0.0
    step = 1e-6
    slope = (function(cutoff + step, p) - function(cutoff - step, p)) / (2.0 * step)
    return function(d, p) - function(cutoff, p) - (d - cutoff) * slope


def harmonic(x: float, p: dict[str, float]) -> float:
    return p["k"] * (x - p["x0"]) ** 2


def fourier(x: float, p: dict[str, float]) -> float:
    degree = (len(p) - 1) // 2
    harmonics = range(1, degree + 1)
    return p["v0"] + sum(p[f"k1_{n}"] * math.sin(n * x) + p[f"k2_{n}"] * math.cos(n * x) for n in harmonics)


def quartic(x: float, p: dict[str, float]) -> float:
    return p["v0"] + sum(p[f"k{n}"] * x**n for n in range(1, 5))


def restricted(x: float, p: dict[str, float]) -> float:
    u = math.cos(x)
    return p["a"] * u**4 + p["b"] * u**3 + p["c"] * u**2 + p["d"] * u + p["k"] / math.sin(x) ** 2 + p["v0"]


FORMULAS = {
    "bonds": harmonic,
    "angles": lambda x, p: harmonic(math.cos(x), p),
    "angles_raw": harmonic,
    "impropers": harmonic,
    "shifted_impropers": lambda x, p: harmonic((x + 2.0 * math.pi if x < 0.0 else x) - math.pi, p),
    "dihedrals": fourier,
    "short_dihedrals": fourier,
    "repulsion": repulsion,
    "cutoff_repulsion": lambda x, p: shifted(repulsion, x, p, 0.8),
    "other_cutoff_repulsion": lambda x, p: shifted(repulsion, x, p, 0.5),
    "exp_repulsion": exp_repulsion,
    "cutoff_exp_repulsion": lambda x, p: shifted(exp_repulsion, x, p, 0.7),
    "quartic": lambda x, p: quartic(math.cos(x), p),
    "quartic_raw": quartic,
    "restricted": restricted,
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", CASES)
def test_formula(name: str, seed: int) -> None:
    system, potential = chain(9, seed=seed), prior(name)
    rows = {tuple(t): v for t, v in zip(potential.types.tolist(), potential.values.tolist(), strict=True)}
    expected = 0.0
    for term in system.interactions[name].tolist():
        parameters = dict(zip(potential.column_names(), rows[tuple(system.types[term].tolist())], strict=True))
        expected += FORMULAS[name](coordinate(name, system.positions[term].numpy()), parameters)
    assert float(potential.energy(system)) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert float(potential.evaluate(system).energy) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_sign_of_the_torsion_is_that_of_mdtraj() -> None:
    system = chain(8, seed=3)
    index = system.interactions["dihedrals"]
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    for _ in range(8):
        topology.add_atom("CA", mdtraj.element.carbon, residue)
    frame = mdtraj.Trajectory(system.positions.numpy()[None], topology)
    expected = mdtraj.compute_dihedrals(frame, index.numpy(), opt=False)[0]
    vectors = tuple(system.positions[index[:, b]] - system.positions[index[:, a]] for a, b in TORSION.ends)
    np.testing.assert_allclose(TORSION.value(vectors).numpy(), expected, atol=1e-5)
    assert expected.min() < -0.1
    assert expected.max() > 0.1


def single_term(potential: Potential, points: list[list[float]], name: str, dtype: torch.dtype) -> System:
    positions = torch.tensor(points, dtype=dtype)
    n_atoms = len(points)
    lists = {name: torch.arange(n_atoms)[None]}
    return System.single(positions, torch.ones(n_atoms, dtype=torch.int64), interactions=lists)


COLLINEAR = [[0.0, 0.0, 0.0], [0.4, 0.0, 0.0], [0.8, 0.0, 0.0], [1.2, 0.1, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", [n for n in CASES if ORDER[n] > 2])
def test_collinear_atoms_have_finite_forces(name: str, fold: bool, dtype: torch.dtype) -> None:
    points = [list(point) for point in COLLINEAR[: ORDER[name]]]
    if fold:
        points[2] = [0.1, 0.0, 0.0]
    potential = prior(name, dtype=dtype)
    system = single_term(potential, points, name, dtype)
    for result in (potential.evaluate(system, virial=True), Potential.evaluate(potential, system, virial=True)):
        assert bool(torch.isfinite(result.energy).all())
        assert bool(torch.isfinite(result.forces).all())
        assert bool(torch.isfinite(result.virial).all())
        assert float(result.forces.abs().max()) < 1e5


@pytest.mark.parametrize("gap", [1e-2, 1e-3, 1e-4])
def test_angle_close_to_collinear_keeps_its_digits(gap: float) -> None:
    """The arc cosine would lose half the digits here."""
    u = torch.tensor([[-0.4, 0.0, 0.0]], dtype=torch.float32)
    v = torch.tensor([[0.4 * math.cos(gap), 0.4 * math.sin(gap), 0.0]], dtype=torch.float32)
    value, (to_u, to_v) = ANGLE.value_and_gradient((u, v))
    assert math.pi - float(value) == pytest.approx(gap, abs=3e-7)
    assert float(to_u.norm()) == pytest.approx(1.0 / 0.4, rel=1e-5)
    assert float(to_v.norm()) == pytest.approx(1.0 / 0.4, rel=1e-5)
    assert float(COSINE.value((u, v))) == pytest.approx(-math.cos(gap), abs=1e-6)


def test_restricted_bending_walls_off_the_straight_angle() -> None:
    columns = {key: torch.zeros(1) for key in ("a", "b", "c", "d", "v0")} | {"k": torch.ones(1)}
    potential = RestrictedQuartic("angles", (torch.ones(1, 3, dtype=torch.int64), columns), backend=BACKEND).double()
    points = [[0.4, 0.0, 0.0], [0.0, 0.0, 0.0], [0.4 * math.cos(0.1), 0.4 * math.sin(0.1), 0.0]]
    energy = potential.evaluate(single_term(potential, points, "angles", torch.float64)).energy
    assert float(energy) == pytest.approx(1.0 / math.sin(0.1) ** 2, rel=1e-9)


def bonds(types: list[list[int]], k: list[float], name: str = "bonds") -> HarmonicBonds:
    columns = {"k": torch.tensor(k), "x0": torch.zeros(len(k))}
    return HarmonicBonds(name, (torch.tensor(types), columns), backend=BACKEND)


def pair(first: int, second: int, distance: float = 1.0) -> System:
    positions = torch.tensor([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]])
    return System.single(positions, torch.tensor([first, second]), interactions={"bonds": torch.tensor([[0, 1]])})


def test_table_is_read_by_the_ordered_tuple() -> None:
    potential = bonds([[7, 2], [2, 7], [300, 300]], [3.0, 5.0, 11.0])
    assert float(potential.energy(pair(2, 7))) == 5.0
    assert float(potential.energy(pair(7, 2))) == 3.0
    assert float(potential.energy(pair(300, 300))) == 11.0
    assert potential.values.numel() == 6


@pytest.mark.parametrize("types", [(2, 3), (7, 301), (0, 0), (2, 10**9)])
def test_missing_types_are_named(types: tuple[int, int]) -> None:
    potential = bonds([[7, 2], [300, 300]], [3.0, 5.0])
    text = rf"HarmonicBonds 'bonds': expected parameters of every listed term, got types \({types[0]}, {types[1]}\)"
    with pytest.raises(ValueError, match=text):
        potential.energy(pair(*types))
    with pytest.raises(ValueError, match=text):
        potential.check(pair(*types))


def test_lookup_happens_once() -> None:
    potential = bonds([[1, 1]], [2.0])
    system = pair(1, 1)
    first = potential.parameters_for(system)
    assert potential.parameters_for(system.with_positions(system.positions + 1.0)) is first
    assert potential.parameters_for(pair(1, 1)) is not first


def test_changed_table_and_lists_are_seen() -> None:
    potential, system = bonds([[1, 1], [1, 2]], [2.0, 7.0]), pair(1, 1)
    assert float(potential.evaluate(system).energy) == 2.0
    with torch.no_grad():
        potential.values.mul_(2.0)
    assert float(potential.evaluate(system).energy) == 4.0
    assert float(potential.evaluate(pair(1, 2)).energy) == 14.0
    assert float(potential.double().evaluate(pair(1, 2).to(dtype=torch.float64)).energy) == 14.0


def test_empty_list_gives_zero() -> None:
    potential, system = bonds([[1, 1]], [2.0]), pair(5, 5)
    system = System.single(system.positions, system.types, interactions={"bonds": torch.zeros(0, 2, dtype=torch.int64)})
    for result in (potential.evaluate(system, virial=True), Potential.evaluate(potential, system, virial=True)):
        assert result.energy.tolist() == [0.0]
        assert not result.forces.any()
        assert not result.virial.any()
    potential.check(system)


def test_missing_and_malformed_lists_are_named() -> None:
    potential = bonds([[1, 1]], [2.0], name="spring")
    with pytest.raises(ValueError, match=r"`interactions\['spring'\]`: expected \[n_terms, 2\], got \['bonds'\]"):
        potential.energy(pair(1, 1))
    system = System.single(torch.zeros(3, 3), torch.ones(3), interactions={"spring": torch.tensor([[0, 1, 2]])})
    with pytest.raises(ValueError, match=r"`interactions\['spring'\]`: expected shape \(n_terms, 2\), got \(1, 3\)"):
        potential.check(system)


def test_positions_must_be_finite() -> None:
    with pytest.raises(ValueError, match=r"`positions` of atom 1: expected finite numbers"):
        bonds([[1, 1]], [2.0]).check(pair(1, 1, distance=float("nan")))


@pytest.mark.parametrize(
    ("types", "columns", "text"),
    [
        ([[1, 1, 1]], {"k": [1.0], "x0": [1.0]}, r"type tuples of .*: expected shape \(n_entries, 2\), got \(1, 3\)"),
        ([[1, 1]], {"k": [1.0]}, r"columns of .*: expected \['k', 'x0'\], got \['k'\]"),
        ([[1, 1]], {"k": [1.0, 2.0], "x0": [1.0]}, r"column 'k' of .*: expected shape \(1,\), got \(2,\)"),
        (
            [[1, 2]],
            {"k": [float("nan")], "x0": [1.0]},
            r"column 'k' of .*: expected finite values, got nan for types \(1, 2\)",
        ),
        ([[1, 2], [1, 2]], {"k": [1.0, 1.0], "x0": [1.0, 1.0]}, r"expected each tuple once, got \(1, 2\) twice"),
        ([[1, -2]], {"k": [1.0], "x0": [1.0]}, r"expected types >= 0, got -2"),
        ([[1, 2**32]], {"k": [1.0], "x0": [1.0]}, r"expected types whose tuples fit 63 bits, got 4294967296"),
    ],
)
def test_wrong_tables_are_refused(types: list[list[int]], columns: dict[str, list[float]], text: str) -> None:
    table = (torch.tensor(types), {name: torch.tensor(values) for name, values in columns.items()})
    with pytest.raises(ValueError, match=text):
        HarmonicBonds("bonds", table)


def test_fourier_needs_a_degree_and_shifted_terms_a_cutoff() -> None:
    with pytest.raises(ValueError, match=r"columns of FourierDihedrals 'd': expected v0, k1_n and k2_n, got \['v0'\]"):
        FourierDihedrals("d", (torch.ones(1, 4, dtype=torch.int64), {"v0": torch.ones(1)}))
    with pytest.raises(ValueError, match=r"`cutoff` of 'r': expected a positive finite length in nm, got 0.0"):
        CASES["cutoff_repulsion"][0]("r", (torch.ones(1, 2, dtype=torch.int64), {"sigma": torch.ones(1)}), cutoff=0.0)


def test_symmetrized_table() -> None:
    table = TypeTable(
        torch.tensor([[1, 2, 3], [4, 1, 4]]), {"k": torch.tensor([1.0, 2.0]), "x0": torch.tensor([0.1, 0.2])}
    )
    both = table.symmetrized()
    potential = HarmonicAnglesRaw("angles", both, backend=BACKEND)
    assert potential.types.tolist() == [[1, 2, 3], [3, 2, 1], [4, 1, 4]]
    assert potential.values[:, 0].tolist() == [1.0, 1.0, 2.0]
