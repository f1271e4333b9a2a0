"""Boltzmann inversion of samples drawn from known distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flashmd.train import ForceDataset, fit_angles, fit_bonds, fit_dihedrals, fit_priors, fit_repulsion
from flashmd.units import BOLTZMANN, KCAL

from .molecules import build_chain, dataset_of

N_FRAMES = 40_000
TEMPERATURES = (300.0, 400.0)
# Four beads of types 1, 2, 3, 4.
BOND_K, BOND_X0 = (40_000.0, 30_000.0, 500.0), (0.38, 0.39, 0.5)
ANGLE_K, ANGLE_X0 = (60.0, 40.0), (-0.4, -0.2)
SINES, COSINES = (2.0, -1.0), (1.5, 3.0)
# Sampling errors: 1 / sqrt(2 n) = 0.4 % of a force constant, sqrt(2 / n) kT of a harmonic's amplitude; times 4.
RELATIVE_TOLERANCE = 0.02
AMPLITUDE_TOLERANCE = 0.15


def draw(density: Tensor, grid: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw from a tabulated density by inverting its distribution function."""
    mass = torch.cumsum(density, 0) / density.sum()
    uniform = torch.rand(n, generator=generator, dtype=torch.float64)
    index = torch.searchsorted(mass, uniform).clamp(1, len(grid) - 1)
    fraction = (uniform - mass[index - 1]) / (mass[index] - mass[index - 1])
    return grid[index - 1] + fraction.clamp(0.0, 1.0) * (grid[index] - grid[index - 1])


def torsion_energy(phi: Tensor) -> Tensor:
    return sum(
        (s * torch.sin(n * phi) + c * torch.cos(n * phi) for n, s, c in zip((1, 2), SINES, COSINES, strict=True)),
        torch.zeros_like(phi),
    )


@pytest.fixture(scope="module")
def sampled() -> ForceDataset:
    generator = torch.Generator().manual_seed(11)
    parts = []
    for temperature in TEMPERATURES:
        beta, n = 1.0 / (BOLTZMANN * temperature), N_FRAMES // len(TEMPERATURES)
        r = torch.linspace(0.2, 1.0, 40_001, dtype=torch.float64)
        # The volume of a shell grows with r^2: it matters for the soft third bond.
        lengths = [
            draw(r**2 * torch.exp(-beta * k * (r - x0) ** 2), r, n, generator)
            for k, x0 in zip(BOND_K, BOND_X0, strict=True)
        ]
        c = torch.linspace(-1.0, 1.0, 20_001, dtype=torch.float64)
        cosines = [
            draw(torch.exp(-beta * k * (c - x0) ** 2), c, n, generator) for k, x0 in zip(ANGLE_K, ANGLE_X0, strict=True)
        ]
        phi = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)
        torsions = draw(torch.exp(-beta * torsion_energy(phi)), phi, n, generator)
        parts.append(build_chain(torch.stack(lengths, 1), torch.stack(cosines, 1), torsions[:, None]))
    kelvin = torch.tensor(TEMPERATURES).repeat_interleave(N_FRAMES // len(TEMPERATURES))
    return dataset_of(torch.cat(parts), temperature=kelvin)


def row(table: object, types: tuple[int, ...]) -> dict[str, float]:
    found = (table.types == torch.tensor(types)).all(1).nonzero().reshape(-1).tolist()  # type: ignore[attr-defined]
    assert len(found) == 1
    values = table.values[found[0]].tolist()  # type: ignore[attr-defined]
    return dict(zip(table.column_names(), values, strict=True))  # type: ignore[attr-defined]


def test_bonds_recover_parameters_including_the_jacobian(sampled: ForceDataset) -> None:
    prior = fit_bonds(sampled)
    for i, (k, x0) in enumerate(zip(BOND_K, BOND_X0, strict=True)):
        fitted = row(prior, (i + 1, i + 2))
        assert fitted["k"] == pytest.approx(k, rel=RELATIVE_TOLERANCE)
        # Without the Jacobian the soft bond would be 2 kT / (2 k x0) = 0.012 nm too long.
        assert fitted["x0"] == pytest.approx(x0, abs=2e-3)
        assert row(prior, (i + 2, i + 1)) == fitted


def test_angles_recover_parameters(sampled: ForceDataset) -> None:
    prior = fit_angles(sampled)
    for i, (k, x0) in enumerate(zip(ANGLE_K, ANGLE_X0, strict=True)):
        fitted = row(prior, (i + 1, i + 2, i + 3))
        assert fitted["k"] == pytest.approx(k, rel=RELATIVE_TOLERANCE)
        assert fitted["x0"] == pytest.approx(x0, abs=5e-3)


def test_dihedrals_recover_the_series_from_two_temperatures(sampled: ForceDataset) -> None:
    fitted = row(fit_dihedrals(sampled, degree=3), (1, 2, 3, 4))
    expected = {"k1_1": SINES[0], "k1_2": SINES[1], "k1_3": 0.0, "k2_1": COSINES[0], "k2_2": COSINES[1], "k2_3": 0.0}
    for name, value in expected.items():
        assert fitted[name] == pytest.approx(value, abs=AMPLITUDE_TOLERANCE), name


def test_dihedral_of_one_narrow_well_stays_finite() -> None:
    generator = torch.Generator().manual_seed(0)
    phi = 1.0 + 0.05 * torch.randn(2000, 1, generator=generator, dtype=torch.float64)
    chain = build_chain(torch.full((2000, 3), 0.38, dtype=torch.float64), torch.full((2000, 2), -0.3).double(), phi)
    fitted = row(fit_dihedrals(dataset_of(chain), degree=5), (1, 2, 3, 4))
    grid = torch.linspace(-math.pi, math.pi, 721, dtype=torch.float64)
    energy = sum(fitted[f"k1_{n}"] * torch.sin(n * grid) + fitted[f"k2_{n}"] * torch.cos(n * grid) for n in range(1, 6))
    assert isinstance(energy, Tensor)
    assert float(grid[energy.argmin()]) == pytest.approx(1.0, abs=0.05)
    assert 10.0 < float(energy.max() - energy.min()) < 200.0  # kJ/mol: a barrier, but a finite one


def test_repulsion_is_one_kcal_at_the_percentile(sampled: ForceDataset) -> None:
    prior = fit_repulsion(sampled, percentile=2.0)
    sigma = row(prior, (1, 4))["sigma"]
    x = sampled.positions.double()
    distance = (x[:, 3] - x[:, 0]).norm(dim=-1)
    near = torch.sort(distance[distance < 1.0]).values
    low = float(near[int(0.02 * len(near))])
    assert (sigma / low) ** 6 == pytest.approx(KCAL, rel=1e-6)


def test_no_pair_repels_farther_than_all_pairs_together() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.zeros(500, 5, 3, dtype=torch.float64)
    x[:, 1:, 0] = torch.tensor([0.35, 0.7, 0.5, 0.9]) + 0.01 * torch.randn(500, 4, generator=generator).double()
    prior = fit_repulsion(dataset_of(x), percentile=1.0)
    # Pairs (1, 4) at 0.5 nm, (1, 5) at 0.9 nm, (2, 5) at 0.55 nm: the last two are capped by the common value.
    sigmas = [row(prior, pair)["sigma"] for pair in ((1, 4), (1, 5), (2, 5))]
    assert sigmas[1] == sigmas[2]
    assert sigmas[0] <= sigmas[1] < 0.55 * KCAL ** (1 / 6)


def test_all_priors_together(sampled: ForceDataset) -> None:
    prior = fit_priors(sampled, dihedral_degree=2)
    evaluation = prior.evaluate(sampled.system(dtype=torch.float64))
    assert torch.isfinite(evaluation.energy).all()
    assert set(prior.terms(sampled.system())) == {"bonds", "angles", "dihedrals", "non_bonded"}
    assert set(fit_priors(sampled, dihedral_degree=0).terms(sampled.system())) == {"bonds", "angles", "non_bonded"}


def test_too_few_samples() -> None:
    with pytest.raises(ValueError, match=r"bonds of bead types \(1, 2\): expected at least 100 samples, got 20"):
        fit_bonds(dataset_of(torch.rand(20, 4, 3)))


def test_constant_coordinate() -> None:
    with pytest.raises(ValueError, match=r"bonds of bead types \(1, 2\): expected a standard deviation above 1e-06"):
        fit_bonds(dataset_of(torch.rand(1, 4, 3).expand(200, 4, 3)))


def test_missing_list(sampled: ForceDataset) -> None:
    with pytest.raises(ValueError, match="`interactions`: expected a list 'impropers', got bonds, angles"):
        fit_dihedrals(sampled, "impropers")


def test_arguments_out_of_range(sampled: ForceDataset) -> None:
    with pytest.raises(ValueError, match="`degree`: expected an integer of 1 to 12, got 0"):
        fit_dihedrals(sampled, degree=0)
    with pytest.raises(ValueError, match="`percentile`: expected a number of 0 to 50, got 60"):
        fit_repulsion(sampled, percentile=60.0)


def test_beads_that_never_meet() -> None:
    x = torch.arange(4.0)[:, None] * torch.tensor([0.38, 0.0, 0.0]) + 0.001 * torch.rand(200, 4, 3)
    with pytest.raises(ValueError, match="non_bonded: expected at least 100 samples, got 0"):
        fit_repulsion(dataset_of(x))
