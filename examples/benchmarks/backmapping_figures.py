"""Pictures of the benchmark of backmapping: Ramachandran plots, rotamers, overlaps and an overlay of structures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from backmapping_cases import Case
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

from flashmd.backmap.quality import overlaps, torsions
from flashmd.backmap.quality.bonded import Bonded
from flashmd.backmap.residues import N_SLOTS

mpl.use("Agg")
COLORS = ("#222222", "#1f6fb4", "#2a9d5c", "#d1495b", "#e59f3c", "#8d6bb3")
DISTANCES = np.arange(0.16, 0.301, 0.01)
"""nm, at which overlaps are counted."""
OVERLAID = 40
"""Residues of the overlay, from the first."""
Structures = Mapping[tuple[str, str], Tensor]


def draw(folder: Path, cases: Sequence[Case], made: Structures, rows: Sequence[Mapping[str, object]]) -> None:
    """Write the pictures.

    Args:
        folder: where to.
        cases: native structures.
        made: [n_samples, n_residues, 14, 3], nm, by case and method.
        rows: of the table; they tell the methods and their order.
    """
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    ramachandran(folder / "backmapping_ramachandran.png", cases, made, methods)
    rotamers(folder / "backmapping_rotamers.png", cases, made, methods)
    contacts(folder / "backmapping_overlaps.png", cases, made, methods)
    overlay(folder / "backmapping_overlay.png", cases[-1], made, methods)


def ramachandran(path: Path, cases: Sequence[Case], made: Structures, methods: Sequence[str]) -> None:
    """Draw phi against psi of all residues, one panel for each method."""
    figure, panels = _panels(methods)
    for axes, method in zip(panels, methods, strict=True):
        found = [torsions(case.chains, made[case.name, method]) for case in cases]
        phi, psi = (np.concatenate([getattr(each, name).ravel() for each in found]) for name in ("phi", "psi"))
        axes.scatter(phi, psi, s=2, alpha=0.4, linewidths=0, color=COLORS[methods.index(method)])
        axes.set(title=method, xlim=(-180, 180), ylim=(-180, 180), xticks=(-120, 0, 120), yticks=(-120, 0, 120))
        axes.set(xlabel="phi (degrees)", ylabel="psi (degrees)")
    _save(figure, path)


def rotamers(path: Path, cases: Sequence[Case], made: Structures, methods: Sequence[str]) -> None:
    """Draw the distribution of chi1."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    edges = np.linspace(0, 360, 37)
    for method, color in zip(methods, COLORS, strict=False):
        chi = np.concatenate([torsions(case.chains, made[case.name, method]).chi[..., 0].ravel() for case in cases])
        counts, _ = np.histogram(np.mod(chi[~np.isnan(chi)], 360), edges)
        axes.stairs(100 * counts / counts.sum(), edges, color=color, label=method, linewidth=1.5)
    axes.set(xlabel="chi1 (degrees)", ylabel="side chains (%)", xlim=(0, 360), xticks=range(0, 361, 60))
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def contacts(path: Path, cases: Sequence[Case], made: Structures, methods: Sequence[str]) -> None:
    """Draw how many pairs of atoms are closer than a distance."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for method, color in zip(methods, COLORS, strict=False):
        curves = [
            [overlaps(case.chains, made[case.name, method], distance).mean() for distance in DISTANCES]
            for case in cases
        ]
        axes.plot(10 * DISTANCES, np.mean(curves, axis=0), color=color, label=method)
    axes.set(xlabel="distance (A)", ylabel="closer pairs for each 1,000 atoms", yscale="symlog", xlim=(1.6, 3.0))
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def overlay(path: Path, case: Case, made: Structures, methods: Sequence[str]) -> None:
    """Draw the first sample of each method over the native structure, projected on its two longest axes."""
    figure, panels = _panels(methods)
    native = case.native[:OVERLAID].reshape(-1, 3).numpy()
    axis = np.linalg.svd(native - native.mean(axis=0), full_matrices=False)[2][:2]
    for panel, method in zip(panels, methods, strict=True):
        _sticks(panel, case, native @ axis.T, "#bbbbbb", 2.5)
        found = made[case.name, method][0, :OVERLAID].reshape(-1, 3).numpy()
        _sticks(panel, case, found @ axis.T, COLORS[methods.index(method)], 1.0)
        panel.set(title=method, aspect="equal")
        panel.axis("off")
    _save(figure, path)


def _sticks(axes: Axes, case: Case, points: np.ndarray, color: str, width: float) -> None:
    bonds = Bonded.of(case.chains).bonds
    bonds = bonds[(bonds < min(OVERLAID, case.chains.n_residues) * N_SLOTS).all(axis=1)]
    segments = np.insert(points[bonds].reshape(-1, 2, 2), 2, np.nan, axis=1).reshape(-1, 2)
    axes.plot(*segments.T, color=color, linewidth=width, solid_capstyle="round")


def _panels(methods: Sequence[str]) -> tuple[plt.Figure, list[Axes]]:
    columns = min(4, len(methods))
    n_rows = -(-len(methods) // columns)
    figure, panels = plt.subplots(n_rows, columns, figsize=(3.2 * columns, 3.2 * n_rows), squeeze=False)
    flat = list(panels.ravel())
    for unused in flat[len(methods) :]:
        unused.remove()
    return figure, flat[: len(methods)]


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
