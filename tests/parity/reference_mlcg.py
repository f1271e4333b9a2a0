"""CGSchNet energies once more, in plain NumPy, from the tensors of a file in its own units (angstrom, kcal/mol).

Written from the equations alone and sharing no code with the package: an edge is a pair of a full distance matrix, a
parameter is an element of a dense table, and a torsion comes from the scalar triple product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"Tanh": np.tanh, "SiLU": lambda x: x / (1.0 + np.exp(-x))}


def flatten(node: Any, prefix: str = "") -> dict[str, Array]:
    """Return the state dictionary of a described module (anything with `state`) as float64 arrays."""
    state: dict[str, Array] = {}
    for table in ("_parameters", "_buffers"):
        for name, value in node.state[table].items():
            if value is not None:
                state[prefix + name] = np.asarray(value.detach(), dtype=np.float64)
    for name, child in node.state["_modules"].items():
        state |= flatten(child, f"{prefix}{name}.")
    return state


def cosine(d: Array, upper: float) -> Array:
    return np.where(d < upper, 0.5 * (np.cos(np.pi * d / upper) + 1.0), 0.0)


def schnet_energy(
    state: dict[str, Array], positions: Array, types: NDArray[np.int64], upper: float, activation: str = "Tanh"
) -> float:
    """Return the energy in kcal/mol of one configuration in angstrom."""
    act = ACTIVATIONS[activation]
    delta = positions[:, None] - positions[None]
    d = np.sqrt((delta**2).sum(-1))
    adjacent = (d <= upper) & ~np.eye(len(d), dtype=bool)
    if "rbf_layer.means" in state:
        grid = np.exp(-(5.0 / upper) * d)[..., None] - state["rbf_layer.means"]
        basis = cosine(d, upper)[..., None] * np.exp(-state["rbf_layer.betas"] * grid**2)
    else:
        basis = np.exp(state["rbf_layer.coeff"] * (d[..., None] - state["rbf_layer.offset"]) ** 2)
    x = state["embedding_layer.weight"][types]
    n_blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("interaction_blocks."))
    for block in range(n_blocks):
        p = {k.removeprefix(f"interaction_blocks.{block}."): v for k, v in state.items()}
        first, bias = p["conv.filter_network.layers.0.weight"], p["conv.filter_network.layers.0.bias"]
        filters = act(basis @ first.T + bias) @ p["conv.filter_network.layers.2.weight"].T
        filters = filters * (cosine(d, upper) * adjacent)[..., None]
        summed = np.einsum("tsf,sf->tf", filters, x @ p["conv.lin1.weight"].T)
        hidden = act(summed @ p["conv.lin2.weight"].T + p["conv.lin2.bias"])
        x = x + hidden @ p["lin.weight"].T + p["lin.bias"]
    numbers = sorted({int(k.split(".")[2]) for k in state if k.startswith("output_network.")})
    for number in numbers[:-1]:
        x = act(x @ state[f"output_network.layers.{number}.weight"].T + state[f"output_network.layers.{number}.bias"])
    return float((x @ state[f"output_network.layers.{numbers[-1]}.weight"].T).sum())


def coordinate(kind: str, x: Array) -> float:
    """Return a distance, cosine, angle or torsion of the rows of x."""
    if kind == "distance":
        return float(np.linalg.norm(x[0] - x[1]))
    if kind in {"cosine", "angle"}:
        a, b = x[0] - x[1], x[2] - x[1]
        value = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        return value if kind == "cosine" else float(np.arccos(value))
    a, b, c = x[1] - x[0], x[2] - x[1], x[3] - x[2]
    sine = np.linalg.norm(b) * (a @ np.cross(b, c))
    return float(np.arctan2(sine, np.cross(a, b) @ np.cross(b, c)))


def repulsion(d: float, p: dict[str, Any]) -> float:
    return float((p["sigma"] / d) ** 6)


def exponential(d: float, p: dict[str, Any]) -> float:
    return float(6.0 / p["alpha"] * np.exp(p["alpha"] * (1.0 - d / p["r_0"])))


def shifted(plain: Callable[[float, dict[str, Any]], float], slope: Callable[[float, dict[str, Any]], float]) -> Any:
    def energy(d: float, p: dict[str, Any]) -> float:
        rc = p["cutoff"]
        return plain(d, p) - plain(rc, p) - (d - rc) * slope(rc, p) if d < rc else 0.0

    return energy


def restricted(theta: float, p: dict[str, Any]) -> float:
    u = np.cos(theta)
    polynomial = p["a"] * u**4 + p["b"] * u**3 + p["c"] * u**2 + p["d"] * u
    return float(polynomial + p["k"] / np.sin(theta) ** 2 + p["v_0"])


def fourier(phi: float, p: dict[str, Any]) -> float:
    n = np.arange(1, len(p["k1s"]) + 1)
    return float(p["v_0"] + (p["k1s"] * np.sin(n * phi) + p["k2s"] * np.cos(n * phi)).sum())


def harmonic(x: float, p: dict[str, Any]) -> float:
    return float(p["k"] * (x - p["x_0"]) ** 2)


def harmonic_shifted(phi: float, p: dict[str, Any]) -> float:
    return harmonic(phi + 2 * np.pi - np.pi if phi < 0 else phi - np.pi, p)


def quartic(x: float, p: dict[str, Any]) -> float:
    return float(p["v_0"] + sum(k * x ** (n + 1) for n, k in enumerate(p["ks"])))


FORMS: dict[str, tuple[str, Any]] = {
    "HarmonicBonds": ("distance", harmonic),
    "GeneralBonds": ("distance", harmonic),
    "HarmonicAngles": ("cosine", harmonic),
    "GeneralAngles": ("cosine", harmonic),
    "HarmonicAnglesRaw": ("angle", harmonic),
    "HarmonicImpropers": ("torsion", harmonic),
    "ShiftedPeriodicHarmonicImpropers": ("torsion", harmonic_shifted),
    "Dihedral": ("torsion", fourier),
    "Repulsion": ("distance", repulsion),
    "CutoffRepulsion": ("distance", shifted(repulsion, lambda d, p: -6.0 * repulsion(d, p) / d)),
    "ExpRepulsion": ("distance", exponential),
    "CutoffExpRepulsion": ("distance", shifted(exponential, lambda d, p: -p["alpha"] / p["r_0"] * exponential(d, p))),
    "QuarticAngles": ("cosine", quartic),
    "QuarticRawAngles": ("angle", quartic),
    "RestrictedQuartic": ("angle", restricted),
}
SERIES = {"k1s", "k2s", "ks"}


def prior_energy(
    form: str, tables: dict[str, Any], positions: Array, types: NDArray[np.int64], terms: NDArray[np.int64]
) -> float:
    """Return the energy in kcal/mol; a table is an array over types, a callable of a tuple of types, or a number."""
    kind, function = FORMS[form]
    total = 0.0
    for term in terms:
        key = tuple(int(t) for t in types[term])
        parameters = {}
        for name, table in tables.items():
            if callable(table):
                parameters[name] = table(key)
            elif np.ndim(table) == 0:
                parameters[name] = float(table)
            else:
                parameters[name] = table[(slice(None), *key)] if name in SERIES else table[key]
        total += function(coordinate(kind, positions[term]), parameters)
    return total
