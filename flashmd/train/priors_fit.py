r"""Prior parameters by Boltzmann inversion of sampled coordinates.

The energy of one coordinate ``x`` with Jacobian ``J(x)`` follows from its distribution,
``U(x) = -kT ln(p(x) / J(x)) + const``. The parameters are those of maximum likelihood, which needs no bins and is exact
when the data follow the functional form:

* harmonic bonds ``k (r - x0)^2``, J = r^2: mean and variance of r under weights 1 / r^2, ``k = kT / (2 var)``;
* harmonic angles ``k (cos t - x0)^2``, J = 1 in cos t: mean and variance, ``k = kT / (2 var)``;
* dihedrals ``sum_n k1_n sin(n phi) + k2_n cos(n phi)``, J = 1: Newton's method on the convex likelihood with a weak
  ridge, which keeps barriers finite where nothing was sampled;
* repulsion ``(sigma / r)^6``: sigma such that the energy is 1 kcal/mol at a low percentile of the distances.

Terms of the same bead types, read in either direction, share parameters. A fit that fails raises; it never gives NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.potential import Potential, SumPotential
from flashmd.potential.priors import FourierDihedrals, HarmonicAngles, HarmonicBonds, Repulsion
from flashmd.potential.priors.features import COSINE, DISTANCE, TORSION, Feature
from flashmd.train.dataset import ForceDataset
from flashmd.units import BOLTZMANN, KCAL

MIN_SAMPLES = 100
REPULSION_ENERGY = KCAL
"""Energy in kJ/mol of two beads at the low percentile of their distances."""
_RIGID = 1e-6  # nm or unit of a cosine; positions in single precision hold no finer variation
_FOURIER_RIDGE = 1e-3
_NEWTON_STEPS = 100
_NEWTON_TOLERANCE = 1e-8
_GRID = 720  # points of the torsion grid; the periodic trapezoidal rule is spectrally exact
_CONTACT_RANGE = 1.0  # nm; larger distances say nothing about the size of beads


def fit_priors(dataset: ForceDataset, *, dihedral_degree: int = 5, repulsion_percentile: float = 1.0) -> SumPotential:
    """Fit bonds, angles, dihedrals and repulsion of a C-alpha model.

    Args:
        dataset: frames with the lists `bonds`, `angles`, `dihedrals` and `non_bonded`.
        dihedral_degree: harmonics of the dihedrals; 0 for no dihedral term.
        repulsion_percentile: see `fit_repulsion`.
    """
    priors: dict[str, Potential] = {"bonds": fit_bonds(dataset), "angles": fit_angles(dataset)}
    if dihedral_degree > 0:
        priors["dihedrals"] = fit_dihedrals(dataset, degree=dihedral_degree)
    priors["non_bonded"] = fit_repulsion(dataset, percentile=repulsion_percentile)
    return SumPotential(priors)


def fit_bonds(dataset: ForceDataset, name: str = "bonds") -> HarmonicBonds:
    """Fit `k` (kJ/mol/nm^2) and `x0` (nm) of harmonic bonds for each pair of bead types."""

    def fit(values: Tensor, kt: Tensor, label: str) -> dict[str, float]:
        return _harmonic(values, kt, 1.0 / values**2, label)

    return HarmonicBonds(name, _fit_by_types(dataset, name, DISTANCE, fit))


def fit_angles(dataset: ForceDataset, name: str = "angles") -> HarmonicAngles:
    """Fit `k` (kJ/mol) and `x0` of angles harmonic in the cosine for each triple of bead types."""

    def fit(values: Tensor, kt: Tensor, label: str) -> dict[str, float]:
        return _harmonic(values, kt, torch.ones_like(values), label)

    return HarmonicAngles(name, _fit_by_types(dataset, name, COSINE, fit))


def fit_dihedrals(dataset: ForceDataset, name: str = "dihedrals", *, degree: int = 5) -> FourierDihedrals:
    """Fit the Fourier series `k1_1`.. (sine) and `k2_1`.. (cosine), kJ/mol, for each quadruple of bead types."""
    if not 1 <= degree <= 12:
        raise ValueError(message("`degree`", "an integer of 1 to 12", f"{degree}", "pass 5 for C-alpha dihedrals"))

    def fit(values: Tensor, kt: Tensor, label: str) -> dict[str, float]:
        return _fourier(values, kt, degree, label)

    return FourierDihedrals(name, _fit_by_types(dataset, name, TORSION, fit))


def fit_repulsion(dataset: ForceDataset, name: str = "non_bonded", *, percentile: float = 1.0) -> Repulsion:
    """Fit `sigma` (nm) for each pair of bead types.

    Args:
        dataset: frames.
        name: list of terms.
        percentile: of the distances below 1 nm, 0 to 50. No pair takes a larger value than all pairs together: in a
            folded chain two beads are far apart for other reasons than their size.
    """
    if not 0.0 <= percentile <= 50.0:
        raise ValueError(message("`percentile`", "a number of 0 to 50", f"{percentile}", "pass 1 for the default"))
    every = _coordinates(dataset, _terms(dataset, name), DISTANCE)
    every = every[every < _CONTACT_RANGE]
    if every.shape[0] < MIN_SAMPLES:
        raise _too_few(name, every.shape[0])
    scale = REPULSION_ENERGY ** (1.0 / 6.0)
    common = _quantile(every, percentile)

    def fit(values: Tensor, kt: Tensor, label: str) -> dict[str, float]:
        del kt, label
        near = values[values < _CONTACT_RANGE]
        return {"sigma": scale * (min(common, _quantile(near, percentile)) if near.shape[0] else common)}

    return Repulsion(name, _fit_by_types(dataset, name, DISTANCE, fit))


def _fit_by_types(
    dataset: ForceDataset,
    name: str,
    feature: Feature,
    fit: Callable[[Tensor, Tensor, str], dict[str, float]],
) -> tuple[Tensor, dict[str, Tensor]]:
    terms = _terms(dataset, name)
    kt = BOLTZMANN * dataset.temperature.double()
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, key in enumerate(dataset.types[terms].tolist()):
        groups.setdefault(min(tuple(key), tuple(reversed(key))), []).append(row)
    keys: list[tuple[int, ...]] = []
    columns: dict[str, list[float]] = {}
    for key, rows in groups.items():
        values = _coordinates(dataset, terms[rows], feature)
        if values.numel() < MIN_SAMPLES:
            raise _too_few(f"{name} of bead types {key}", values.numel())
        label = f"{name} of bead types {key}"
        parameters = fit(values.reshape(-1), kt[:, None].expand_as(values).reshape(-1), label)
        for each in dict.fromkeys((key, tuple(reversed(key)))):
            keys.append(each)
            for column, value in parameters.items():
                columns.setdefault(column, []).append(_finite(value, f"{column} of {label}"))
    return torch.tensor(keys), {c: torch.tensor(v, dtype=torch.float64) for c, v in columns.items()}


def _coordinates(dataset: ForceDataset, terms: Tensor, feature: Feature) -> Tensor:
    """Return the internal coordinate of terms [n_terms, order] in every frame, [n_frames, n_terms]."""
    positions = dataset.positions.double()
    vectors = tuple(positions[:, terms[:, b]] - positions[:, terms[:, a]] for a, b in feature.ends)
    return feature.value(vectors)


def _terms(dataset: ForceDataset, name: str) -> Tensor:
    if name not in dataset.interactions:
        got = ", ".join(dataset.interactions) or "no lists"
        fix = "write the lists of `flashmd.cg.interaction_lists` into the data set"
        raise ValueError(message("`interactions`", f"a list {name!r}", got, fix))
    return dataset.interactions[name]


def _too_few(label: str, count: int) -> ValueError:
    return ValueError(
        message(label, f"at least {MIN_SAMPLES} samples", f"{count}", "add data or widen the temperatures")
    )


def _finite(value: float, label: str) -> float:
    if not math.isfinite(value):
        raise ValueError(message(label, "a finite number", f"{value}", "check the data for repeated or broken frames"))
    return value


def _quantile(values: Tensor, percentile: float) -> float:
    index = min(values.shape[0] - 1, int(values.shape[0] * percentile / 100.0))
    return float(torch.sort(values).values[index])


def _harmonic(values: Tensor, kt: Tensor, weight: Tensor, label: str) -> dict[str, float]:
    weight = weight / weight.sum()
    mean = (weight * values).sum()
    square = weight * (values - mean) ** 2
    spread = float(square.sum()) ** 0.5
    if not spread > _RIGID:
        fix = "use a prior for coordinates that vary; a constrained one needs none"
        raise ValueError(message(label, f"a standard deviation above {_RIGID:g}", f"{spread:.1e}", fix))
    # With several temperatures each sample's deviation is measured in its own kT.
    reduced = (square / kt).sum()
    return {"k": float(0.5 / reduced), "x0": float(mean)}


def _fourier(values: Tensor, kt: Tensor, degree: int, label: str) -> dict[str, float]:
    order = torch.arange(1, degree + 1, dtype=torch.float64)
    grid = torch.linspace(-math.pi, math.pi, _GRID + 1, dtype=torch.float64)[:-1]
    basis = torch.cat([torch.sin(grid[:, None] * order), torch.cos(grid[:, None] * order)], dim=1)
    scale = float(kt.mean())
    groups = []
    for level in torch.unique(kt):
        chosen = values[kt == level][:, None] * order
        mean = torch.cat([torch.sin(chosen), torch.cos(chosen)], dim=1).mean(0)
        groups.append((chosen.shape[0] / values.shape[0], scale / float(level), mean))
    ridge = _FOURIER_RIDGE * torch.cat([order, order]) ** 2
    coefficients = torch.zeros(2 * degree, dtype=torch.float64)
    for _ in range(_NEWTON_STEPS):
        step = _newton_step(coefficients, basis, groups, ridge)
        # A bounded step keeps Newton's method inside the region where the quadratic model holds.
        coefficients = coefficients - step / max(1.0, float(step.abs().max()))
        if float(step.abs().max()) < _NEWTON_TOLERANCE:
            names = [f"k{kind}_{n}" for kind in (1, 2) for n in range(1, degree + 1)]
            return {"v0": 0.0, **dict(zip(names, (scale * coefficients).tolist(), strict=True))}
    fix = "lower `degree` or check the data for broken frames"
    raise ValueError(message(label, "a convergent fit", f"none after {_NEWTON_STEPS} Newton steps", fix))


def _newton_step(
    coefficients: Tensor, basis: Tensor, groups: list[tuple[float, float, Tensor]], ridge: Tensor
) -> Tensor:
    """Newton step of the mean negative log likelihood; each group has a share, an inverse temperature and a mean."""
    gradient, hessian = 2.0 * ridge * coefficients, torch.diag(2.0 * ridge)
    for share, beta, mean in groups:
        probability = torch.softmax(-beta * (basis @ coefficients), dim=0)
        expected = probability @ basis
        covariance = (basis * probability[:, None]).T @ basis - torch.outer(expected, expected)
        gradient = gradient + share * beta * (mean - expected)
        hessian = hessian + share * beta**2 * covariance
    step: Tensor = torch.linalg.solve(hessian, gradient)
    return step
