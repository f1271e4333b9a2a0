"""Small random chains with every kind of list, and one prior of every class for them."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from flashmd.nn import SchNetConfig
from flashmd.ops import _extension
from flashmd.potential import SchNetPotential
from flashmd.potential.priors import (
    CutoffExpRepulsion,
    CutoffRepulsion,
    ExpRepulsion,
    FourierDihedrals,
    HarmonicAngles,
    HarmonicAnglesRaw,
    HarmonicBonds,
    HarmonicImpropers,
    Prior,
    QuarticAngles,
    QuarticAnglesRaw,
    Repulsion,
    RestrictedQuartic,
    ShiftedPeriodicHarmonicImpropers,
)
from flashmd.system import System

BACKEND = "reference" if _extension._PROBLEM else "kernel"
BACKENDS = ["reference", BACKEND] if BACKEND == "kernel" else ["reference"]
N_TYPES = 4

# Class, columns, constants. The ranges keep every term away from the cuts of its coordinate.
CASES: dict[str, tuple[type[Prior], tuple[str, ...], dict[str, float]]] = {
    "bonds": (HarmonicBonds, ("k", "x0"), {}),
    "angles": (HarmonicAngles, ("k", "x0"), {}),
    "angles_raw": (HarmonicAnglesRaw, ("k", "x0"), {}),
    "impropers": (HarmonicImpropers, ("k", "x0"), {}),
    "shifted_impropers": (ShiftedPeriodicHarmonicImpropers, ("k", "x0"), {}),
    "dihedrals": (FourierDihedrals, ("v0", "k1_1", "k1_2", "k1_3", "k2_1", "k2_2", "k2_3"), {}),
    "short_dihedrals": (FourierDihedrals, ("v0", "k1_1", "k2_1"), {}),
    "repulsion": (Repulsion, ("sigma",), {}),
    "cutoff_repulsion": (CutoffRepulsion, ("sigma",), {"cutoff": 0.8}),
    "other_cutoff_repulsion": (CutoffRepulsion, ("sigma",), {"cutoff": 0.5}),
    "exp_repulsion": (ExpRepulsion, ("epsilon", "alpha", "r0"), {}),
    "cutoff_exp_repulsion": (CutoffExpRepulsion, ("epsilon", "alpha", "r0"), {"cutoff": 0.7}),
    "quartic": (QuarticAngles, ("v0", "k1", "k2", "k3", "k4"), {}),
    "quartic_raw": (QuarticAnglesRaw, ("v0", "k1", "k2", "k3", "k4"), {}),
    "restricted": (RestrictedQuartic, ("a", "b", "c", "d", "k", "v0"), {}),
}


def chain(n_atoms: int = 7, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> System:
    """Return a self-avoiding random chain with steps of 0.38 nm and all lists of `CASES`."""
    rng = np.random.default_rng(seed)
    points = [np.zeros(3)]
    while len(points) < n_atoms:
        step = rng.normal(size=3)
        candidate = points[-1] + 0.38 * step / np.linalg.norm(step)
        if all(np.linalg.norm(candidate - other) > 0.3 for other in points):
            points.append(candidate)
    types = torch.from_numpy(rng.integers(1, N_TYPES, n_atoms))
    return System.single(torch.tensor(np.array(points), dtype=dtype), types, interactions=lists(n_atoms))


def lists(n_atoms: int) -> dict[str, Tensor]:
    """Return the list of every case for a chain."""
    index = torch.arange(n_atoms)
    tuples = {order: torch.stack([index[k : n_atoms - order + 1 + k] for k in range(order)], 1) for order in (3, 4)}
    near = torch.stack([index[:-1], index[1:]], 1)
    far = torch.combinations(index, 2)
    far = far[far[:, 1] - far[:, 0] >= 2]
    chosen = {2: far, **tuples}
    return {name: near if name == "bonds" else chosen[case[0].feature.order] for name, case in CASES.items()}


def prior(name: str, *, seed: int = 1, dtype: torch.dtype = torch.float64, backend: str = BACKEND) -> Prior:
    """Return the prior of a case with random parameters for all tuples of types."""
    prior_class, columns, constants = CASES[name]
    rng = np.random.default_rng(seed)
    types = np.array(list(itertools.product(range(1, N_TYPES), repeat=prior_class.feature.order)))
    values = {column: torch.from_numpy(rng.uniform(0.2, 1.2, len(types))) for column in columns}
    built = prior_class(name, (torch.from_numpy(types), values), backend=backend, **constants)
    return built.to(dtype)


def every_prior(**options: object) -> dict[str, Prior]:
    """Return one prior of every case."""
    return {name: prior(name, **options) for name in CASES}


def schnet(
    *, dtype: torch.dtype = torch.float64, backend: str = BACKEND, skin: float = 0.1, **fields: object
) -> SchNetPotential:
    """Return a small SchNet with more channels than filters."""
    defaults = {"n_types": N_TYPES, "n_channels": 10, "n_filters": 6, "n_basis": 8, "n_blocks": 2, "readout": (5,)}
    config = SchNetConfig(**{**defaults, "cutoff_upper": 0.9, **fields})
    return SchNetPotential(config, seed=3, backend=backend, skin=skin).to(dtype)


def rotation(seed: int = 0) -> Tensor:
    """Return a random proper rotation, float64."""
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return torch.from_numpy(matrix * np.sign(np.linalg.det(matrix)))
